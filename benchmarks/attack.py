"""Attacks on the program: whatever others hand to it is read or refused, and no run is lost.

    python -m benchmarks.attack
    python -m benchmarks.attack --count 1000 --kills 50 --seed 1
    python -m benchmarks.attack --kinds "fit killed" weights

Seeded: damaged pictures of all formats and kernels, records and settings of wrong types, weights,
checkpoints and folders of the diffusers library that claim anything or hold code, names that lead
elsewhere, links and pipes in place of results, forged requests to the page; and runs of `predict`
and `fit` that are killed at random moments, whose files may not grow, or that may not use a part of
their folder, after which the same command has to finish the work to the same bytes. Prints how many
of each kind were tried and survived, and what went wrong with the others; the exit status is 1
then. An attack that takes longer than `LIMIT` seconds is not survived.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pickle
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks import tables
from benchmarks.disturbed_runs import KINDS, Run, Training
from benchmarks.fuzz_images import mutated, read_in_processes
from benchmarks.odd_weights import exports, pipelines, resumptions
from d2ir_pl.errors import OutputError, PriorError, UserError
from d2ir_pl.inputs.names import result_names
from d2ir_pl.operators.kernels import read_kernel
from d2ir_pl.priors import UNetFlags, load_prior
from d2ir_pl.priors.registry import prior_file
from d2ir_pl.reports.page import write_report
from d2ir_pl.results.folder import ResultFolder, parent_made
from d2ir_pl.results.pictures import sweep_pictures
from d2ir_pl.results.record import Record
from d2ir_pl.results.settings import read_settings
from d2ir_pl.web.guard import Guard, Message

LIMIT = 20
"""Seconds of computing that one attack may take, and a tenth of those on the clock."""

_SHOWN = 20
"""Attacks that were not survived which are named at most."""

Attack = Callable[[np.random.Generator, Path], None]
"""Makes an attack in an empty folder, and raises what it found to be wrong."""

WRONG: list[Any] = [
    *(None, True, -1, 0, 1e300, 10**400, float("nan"), float("inf"), "x", "../../x", [], {}),
    *([None], [[[1]]], {"x": None}, {"dtype": 1}, [{"parts": 3}], "a" * 10_000, [1] * 1000),
]
"""Values that take the place of others."""

CONFIG: dict[str, Any] = {
    **{"image_size": 16, "in_channels": 3, "model_channels": 32, "out_channels": 3},
    **{"num_res_blocks": 1, "attention_resolutions": [], "channel_mult": [1, 2], "num_heads": 1},
}
_FLAGS = UNetFlags(16, num_channels=32, channel_mult="1,2", num_head_channels=32)
SCHEDULE = {"name": "linear", "steps": 1000, "beta_start": 1e-4, "beta_end": 0.02}
PARTS = ["a", "..", ".", "\x1b[2J", "é" * 130, "x.png", "\udcff", " ", "-", "\n", "n" * 250, "~"]


def kernels(rng: np.random.Generator, folder: Path) -> None:
    """A damaged `.npy` file is a kernel of sum 1, or refused."""
    stream = BytesIO()
    np.save(stream, rng.random((int(rng.integers(1, 9)), 5)) * 10.0 ** rng.integers(-300, 300))
    path = folder / "k.npy"
    path.write_bytes(mutated(stream.getvalue(), rng))
    try:
        kernel = read_kernel(path)
    except ValueError:
        return
    assert abs(float(kernel.sum()) - 1) < 1e-3, f"the sum of a kernel is {float(kernel.sum())}"


def records(rng: np.random.Generator, folder: Path) -> None:
    """A record of which one field is of another type or out of its range is shown, or left out."""
    results = ResultFolder(folder)
    whole = Record("a", "restored", "s", "i", height=3, width=4, sigma_y=0.1, residual=0.01)
    results.write_record(whole)
    fields = json.loads(results.json("a").read_text(encoding="utf-8"))
    fields[str(rng.choice([*fields, "more"]))] = WRONG[int(rng.integers(len(WRONG)))]
    parent_made(results.json("b")).write_text(json.dumps(fields), encoding="utf-8")
    write_report(results)
    assert "a" in {record.name for record in results.records(results.names())}


def settings(rng: np.random.Generator, folder: Path) -> None:
    """Damaged settings are read, or refused."""
    lines = [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 30)]
    bombs = ["a0: &a0 [x]\n" + "".join(lines), "a: " + "1:59" * 10_000, "a: " + "[" * 2000]
    usual = "model:\n  method: {class_path: D2IR, init_args: {a: 1}}\nseed: 0\n"
    text = bombs[int(rng.integers(3))] if rng.random() < 0.2 else usual
    (folder / "config.yaml").write_bytes(mutated(text.encode(), rng))
    try:
        read_settings(folder)
    except OutputError:
        return


def weights(rng: np.random.Generator, folder: Path) -> None:
    """A file of weights that claims anything, or is damaged, is a prior, or refused."""
    path = folder / "p.safetensors"
    if rng.random() < 0.2:
        path.write_bytes(mutated(prior_file("natural-small").read_bytes(), rng))
    else:
        described = {"config": dict(CONFIG), "schedule": dict(SCHEDULE)}
        part = described[str(rng.choice([*described]))]
        part[str(rng.choice([*part]))] = WRONG[int(rng.integers(len(WRONG)))]
        metadata = {name: json.dumps(value) for name, value in described.items()}
        save_file({"x": torch.zeros(1)}, path, metadata)
    try:
        load_prior(str(path))
    except PriorError:
        return


def names(rng: np.random.Generator, folder: Path) -> None:
    """Files of any names have results of different names inside the folder."""
    keys = {"/".join(rng.choice(PARTS[3:], int(rng.integers(1, 4)))) for _ in range(5)}
    found = result_names(sorted(keys))
    assert len(set(found)) == len(keys), f"{keys} are not told apart"
    for name in found:
        place = (folder / f"{name}.png").resolve()
        assert place.is_relative_to(folder.resolve()), f"{name!r} leads out of the folder"
        assert not set(name) & {"\x1b", "\n", "\udcff"}, f"{name!r} is no plain text"


class Forged:
    """What runs code of an attacker where it is unpickled.

    Args:
        mark: folder that the code makes.
    """

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


def pickles(rng: np.random.Generator, folder: Path) -> None:
    """A pickle in place of weights is refused, and no code in it runs."""
    mark, path = folder / "code has run", folder / "p.pt"
    held = [Forged(mark), {"state_dict": Forged(mark)}, WRONG[int(rng.integers(len(WRONG)))]]
    held += [{"state_dict": held[-1]}, {"x": torch.zeros(2), "y": held[-1]}, {}]
    content = held[int(rng.integers(len(held)))]
    if rng.random() < 0.5:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, int(rng.integers(6))))
    if rng.random() < 0.5:
        path.write_bytes(mutated(path.read_bytes(), rng))
    try:
        load_prior(str(path), _FLAGS)
    except PriorError:
        assert not mark.exists(), "the code of a pickle has run"
        return
    raise AssertionError("a pickle without weights is taken for a prior")


def folders(rng: np.random.Generator, folder: Path) -> None:
    """Whatever stands in place of a result's file, nothing outside the folder is written."""
    outside = folder / "outside"
    outside.mkdir()
    (outside / "own").write_text("of the user")
    results = ResultFolder(folder / "results")
    results.prepare()
    results.write_record(Record("a", "restored", "s", "i", height=3, width=4))
    places = [".lock", "config.yaml", "metrics.csv", "report.html", "preview", "restored"]
    places += ["restored/a.png", "degradation/a.json", "degradation/b.json", "degradation"]
    places += ["tensorboard", "preview/a.input.jpg", "restored/.a.png", "degradation/x/y.json"]
    for _ in range(int(rng.integers(1, 4))):
        _put(results.root / str(rng.choice(places)), outside, rng)
    for work in (
        lambda: results.write_settings("seed: 0\n"),
        lambda: results.lock().__enter__(),
        lambda: results.write_record(Record("b", "failed", "s", "i")),
        lambda: results.remove("a"),
        results.sweep,
        lambda: sweep_pictures(results),
        results.write_metrics,
        lambda: write_report(results),
    ):
        with suppress(UserError):
            work()
    assert [p.name for p in outside.iterdir()] == ["own"], "the folder outside is changed"
    assert (outside / "own").read_text() == "of the user", "the file outside is changed"


def _put(place: Path, outside: Path, rng: np.random.Generator) -> None:
    """Put something else where a file of the results is expected, unless it would lie outside."""
    inside = Path(os.path.realpath(outside.parent)) / "results"
    if not Path(os.path.realpath(place.parent)).is_relative_to(inside):
        return
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    elif os.path.lexists(place):
        place.unlink()
    kind = int(rng.integers(8))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if kind == 0:
            place.mkdir()
        elif kind == 1:
            os.mkfifo(place)
        elif kind == 2:
            place.write_bytes(rng.bytes(50))
        elif kind == 3:
            place.write_text("[" * 5000)
        else:
            targets = (outside, outside / "own", outside / "none", place)
            place.symlink_to(targets[kind - 4])
    except OSError:  # another thing stands in the way already
        return


def requests(rng: np.random.Generator, folder: Path) -> None:
    """A request reaches the page if all of its parts are the page's own, and only then."""
    lies = {part for part in _OWN if rng.random() < 0.2}
    told = {}
    for part in _OWN:
        offered = (_FORGED if part in lies else _OWN)[part]
        told[part] = offered[int(rng.integers(len(offered)))].replace("FILES", str(folder))
    told["origin"] = told["origin"].replace("HOST", told["host"])
    reached = _reached(told, folder)
    assert reached == (not lies), f"{told} {'reaches' if reached else 'does not reach'} the page"


def _reached(told: Mapping[str, str], files: Path) -> bool:
    """Whether a request reaches what is behind the guard."""
    scopes: list[Message] = []

    async def page(scope: Message, *_: object) -> None:
        scopes.append(scope)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        assert message["type"] in ("http.response.start", "http.response.body")

    method, _, path = told["asked"].partition(" ")
    sent = [(key.encode(), told[key].encode("latin-1")) for key in told if told[key] != _LEFT_OUT]
    scope = {"type": "http", "method": method, "path": path, "headers": sent}
    guard = Guard(page, ["localhost"], ["photos.example.org"], files)
    asyncio.run(guard(scope, receive, send))
    return bool(scopes)


_LEFT_OUT = "-"
_OWN = {
    "host": ["127.0.0.1:7860", "localhost", "[::1]:80", "photos.example.org"],
    "origin": [_LEFT_OUT, "http://HOST", "https://photos.example.org"],
    "sec-fetch-site": [_LEFT_OUT, "same-origin", "none"],
    "asked": [
        *("GET /", "GET /config", "GET /gradio_api/file=FILES/a.png", "HEAD /"),
        *("POST /gradio_api/upload", "POST /gradio_api/queue/join"),
    ],
}
"""Parts of requests that the page asks for itself."""

_FORGED = {
    "host": ["", "evil.example", "localhost.evil.example", "[::1", "127.0.0.1:1@evil.example"],
    "origin": ["null", "http://evil.example", "http://localhost:1", "http://[", ""],
    "sec-fetch-site": ["cross-site", "same-site"],
    "asked": ["GET /gradio_api/file=/etc/passwd", "PUT /config", "GET /docs", "GET /../config"]
    + [f"GET /gradio_api/file=FILES/{way}/x" for way in ("..", "%2e%2e", "%2E.", "x/../../..")]
    + [f"GET /gradio_api/{name}" for name in ("info", "proxy=http://evil.example", "call/x/1")]
    + [f"POST /gradio_api/{name}" for name in ("run/x", "call/x", "component_server", "queue/")]
    + ["GET /config\nHost: x", "POST /gradio_api/run/predict/../x", "GET //", "DELETE /"],
}
"""Parts of requests that it does not ask for."""


READ: dict[str, Attack] = {
    "kernels": kernels,
    "records": records,
    "settings": settings,
    "weights": weights,
    "pickles": pickles,
    "exports": exports,
    "resumptions": resumptions,
    "pipelines": pipelines,
    "names": names,
    "folders": folders,
    "requests": requests,
}
"""Attacks on what is read and asked, by their kinds."""


def attacked(attack: Attack, seed: int, number: int) -> str:
    """What went wrong in an attack; empty if it was survived."""

    def late(*_: object) -> None:
        raise TimeoutError(f"longer than {LIMIT} s")

    # Computing is what counts where others compute beside it; who waits for nothing computes not.
    timers = {signal.SIGPROF: signal.ITIMER_PROF, signal.SIGALRM: signal.ITIMER_REAL}
    before = {number: signal.signal(number, late) for number in timers}
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    signal.setitimer(signal.ITIMER_REAL, 10 * LIMIT)
    try:
        with TemporaryDirectory() as folder:
            attack(np.random.default_rng([seed, number]), Path(folder))
    except Exception as error:
        return f"number {number}: {error!r:.200}"
    finally:
        for kind, timer in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(kind, before[kind])
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Attack with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=500, help="attacks of each kind on reading")
    parser.add_argument("--kills", type=int, default=10, help="runs disturbed in each way")
    parser.add_argument("--seed", type=int, default=0)
    known = ["pictures", *READ, *(f"{run.command} {way}" for run in _RUNS for way in KINDS)]
    parser.add_argument("--kinds", nargs="+", choices=known, help="some kinds of attacks alone")
    options = parser.parse_args(arguments)
    print(tables.head("kind", "tried", "survived"), flush=True)
    lost = 0
    asked = options.kinds or known
    for kind, tried, wrong in campaign(options.seed, options.count, options.kills, asked):
        print(tables.row(kind, tried, tried - len(wrong)), flush=True)
        for what in wrong[:_SHOWN]:
            print(f"{kind}: {what}", file=sys.stderr)
        lost += len(wrong)
    return 1 if lost else 0


_RUNS: tuple[type[Run | Training], ...] = (Run, Training)


def campaign(
    seed: int, count: int, kills: int, kinds: Sequence[str]
) -> Iterator[tuple[str, int, list[str]]]:
    """The kinds of attacks, how many of each were tried, and what went wrong in some of them.

    Args:
        seed: seed of all of them.
        count: number of attacks of each kind on what is read.
        kills: number of runs that are disturbed in each way.
        kinds: kinds that are tried.
    """
    if "pictures" in kinds:
        tally = read_in_processes(seed, count)
        yield "pictures", count, [f"number {n}, {kind}: {what}" for n, kind, what in tally.wrong]
    for kind in (kind for kind in READ if kind in kinds):
        found = [attacked(READ[kind], seed, number) for number in range(count)]
        yield kind, count, [what for what in found if what]
    for i, made in enumerate(_RUNS if kills else ()):
        ways = [way for way in KINDS if f"{made.command} {way}" in kinds]
        if not ways:
            continue
        with TemporaryDirectory() as folder:
            run = made(Path(folder))
            for way in ways:
                rng = np.random.default_rng([seed, len(KINDS) * i + KINDS.index(way)])
                found = [run.disturbed(way, rng, number) for number in range(kills)]
                yield f"{run.command} {way}", kills, [what for what in found if what]


if __name__ == "__main__":
    sys.exit(main())

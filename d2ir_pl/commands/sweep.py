"""`predict --sweep`: the same photos under a list of settings, and one table of the results."""

from __future__ import annotations

import csv
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_only

from d2ir_pl.errors import InputError, OutputError, UsageError, UserError
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.record import METRICS, means
from d2ir_pl.schema import read_yaml

MOST_RUNS = 1000
"""Runs of a sweep, at most."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,99}")
_OPTIONS = ("--sweep", "--sweep_index", "--output")
_EXAMPLE = "such as '- {name: few, model.method.estimation.steps: 5}'"


@dataclass(frozen=True)
class Run:
    """One of the runs of a sweep.

    Attributes:
        name: what it is called; the folder of its results, below the sweep's.
        settings: its options and their values, over those of the command line.
    """

    name: str
    settings: dict[str, Any]

    @property
    def arguments(self) -> list[str]:
        """The settings as arguments of `predict`."""
        pairs = ((f"--{key}", _written(value)) for key, value in self.settings.items())
        return list(itertools.chain.from_iterable(pairs))


@dataclass(frozen=True)
class Request:
    """What the command line asks of a sweep.

    Attributes:
        file: the YAML file with the runs.
        index: number of the one run that is to be done, from 0; None for all.
        output: folder for the results of all runs.
        arguments: the other arguments, which all runs share.
    """

    file: Path
    index: int | None
    output: Path
    arguments: list[str]


def asked(arguments: Sequence[str]) -> Request | None:
    """The sweep that a command line asks for; None if it asks for none.

    Raises:
        UsageError: if an option lacks its value, or the index is no number.
    """
    found: dict[str, str] = {}
    others: list[str] = []
    words = list(arguments)
    while words:
        name, equals, value = words.pop(0).partition("=")
        if name not in _OPTIONS:
            others.append(name + equals + value)
            continue
        if not equals:
            if not words:
                raise UsageError(f"{name} has no value: give one behind it")
            value = words.pop(0)
        found[name] = value
    if "--sweep" not in found:
        if "--sweep_index" in found:
            raise UsageError("--sweep_index needs --sweep: give the file with the runs")
        return None
    index = found.get("--sweep_index", "null")
    if index not in ("null", "none", "") and not index.isdecimal():
        raise UsageError(f"--sweep_index {index!r} is no number: give that of a run, from 0")
    number = int(index) if index.isdecimal() else None
    output = Path(found.get("--output", "results"))
    return Request(Path(found["--sweep"]), number, output, others)


def runs_in(file: Path) -> list[Run]:
    """The runs that a YAML file describes.

    It is a list, each entry with options and their values, and a `name` or none; or a mapping of
    options to lists of values, all combinations of which are runs.

    Raises:
        InputError: if there is no such file, or it describes no runs.
    """
    if not file.is_file():
        raise InputError(f"sweep file {file} does not exist: give a YAML file with a list of runs")
    try:
        content = read_yaml(file)
    except ValueError as error:
        raise InputError(f"sweep file {file} {error}") from None
    if isinstance(content, dict):
        entries = _combinations(file, content)
    elif isinstance(content, list):
        entries = content
    else:
        raise InputError(f"sweep file {file} is neither a list of runs nor a mapping: {_EXAMPLE}")
    if not 1 <= len(entries) <= MOST_RUNS:
        raise InputError(f"sweep file {file} has {len(entries)} runs: give 1 to {MOST_RUNS}")
    runs = [_run(file, entry) for entry in entries]
    names = [run.name for run in runs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"sweep file {file} has two runs called {twice}: give each a name")
    return runs


def _combinations(file: Path, content: dict[Any, Any]) -> list[dict[Any, Any]]:
    """The combinations of the values of several options."""
    for key, values in content.items():
        if not isinstance(values, list) or not values:
            raise InputError(
                f"sweep file {file} has {key}: {values!r:.80}, no list of values: give those of "
                "each option, or a list of runs"
            )
    keys = list(content)
    return [dict(zip(keys, row, strict=True)) for row in itertools.product(*content.values())]


def _run(file: Path, entry: Any) -> Run:
    if not isinstance(entry, dict) or not all(isinstance(key, str) for key in entry):
        raise InputError(f"sweep file {file} has {entry!r:.80}, no run: {_EXAMPLE}")
    settings = {key.removeprefix("--"): value for key, value in entry.items() if key != "name"}
    for key in settings:
        if f"--{key}" in _OPTIONS or key in ("overwrite", "data.inputs"):
            raise InputError(
                f"sweep file {file} sets {key}, which all runs share: give it on the command line"
            )
    own = (f"{key.rpartition('.')[2]}={_written(value)}" for key, value in settings.items())
    usual = re.sub(r"[^A-Za-z0-9._=+-]+", "-", ",".join(own).replace(",", "+"))[:100] or "base"
    name = str(entry.get("name", usual))
    if not _NAME.fullmatch(name):
        raise InputError(
            f"sweep file {file} has a run called {name!r:.80}: give it a name of letters, digits "
            "and . _ = + -"
        )
    return Run(name, settings)


def _written(value: Any) -> str:
    """A value as it stands on a command line."""
    return value if isinstance(value, str) else json.dumps(value)


def sweep(request: Request, predict: Callable[[list[str]], int]) -> int:
    """Do the runs of a sweep, each into a folder of its own, and print the table of what is there.

    What is complete is not done again, so that several processes may each do some of the runs, and
    the whole sweep afterwards only prints the table.

    Args:
        request: what the command line asks for.
        predict: the command, which gets the arguments of each run.

    Returns:
        0 if every run restored all of its photos, 1 if some failed, 2 if a run could not be done.

    Raises:
        UsageError: if there is no run of the given index.
    """
    runs = runs_in(request.file)
    chosen = runs
    if request.index is not None:
        if request.index >= len(runs):
            raise UsageError(
                f"--sweep_index {request.index} is beyond the {len(runs)} runs of {request.file}: "
                f"give 0 to {len(runs) - 1}"
            )
        chosen = [runs[request.index]]
    status = 0
    for run in chosen:
        _say(f"\n{run.name}:")
        folder = request.output / run.name
        own = [*request.arguments, *run.arguments, "--output", str(folder)]
        if len(chosen) > 1 and _spreads(request.arguments):
            command = [sys.executable, "-m", "d2ir_pl", "predict", *own]
            status = max(status, subprocess.run(command, check=False).returncode)
            continue
        try:
            status = max(status, predict(own))
        except UserError as error:  # of this run; the others may do
            if len(chosen) == 1:
                raise
            print(f"{run.name}: {error}", file=sys.stderr, flush=True)
            status = max(status, 2)
    rows = [_row(run, request.output) for run in chosen]
    _say(f"\n{_table(rows)}")
    if request.index is None:
        place = request.output / "sweep.csv"
        _write(place, rows)
        _say(f"\ntable: {place}; curves and HPARAMS: tensorboard --logdir {request.output}")
    return status


def _say(text: str) -> None:
    """Print something once, also where several processes restore."""
    if getattr(rank_zero_only, "rank", 0) == 0:
        print(text, flush=True)


def _spreads(arguments: Sequence[str]) -> bool:
    """Whether Lightning may start processes of its own, which do what their parent was told.

    Each run then has to be a program of its own.
    """
    words = ("--trainer.devices", "--trainer.strategy", "--trainer.num_nodes")
    return torch.cuda.device_count() > 1 or any(word.startswith(words) for word in arguments)


def _row(run: Run, output: Path) -> dict[str, str]:
    """What came out of a run: its settings, how many photos, and the means of their scores."""
    folder = ResultFolder(output / run.name)
    records = folder.records(folder.names())
    restored = [record for record in records if record.status == "restored"]
    found = means(restored, METRICS)
    row = {"run": run.name, "restored": str(len(restored))}
    row["failed"] = str(len(records) - len(restored))
    row |= {name: f"{found[name]:.4g}" if name in found else "" for name in METRICS}
    return {**row, **{key: _written(value) for key, value in run.settings.items()}}


def _table(rows: Sequence[dict[str, str]]) -> str:
    """The rows as a table in Markdown, without columns that are empty everywhere."""
    columns = [name for name in _columns(rows) if any(row.get(name) for row in rows)]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(row.get(name, '') for name in columns)} |" for row in rows]
    return "\n".join(lines)


def _columns(rows: Sequence[dict[str, str]]) -> list[str]:
    return list(dict.fromkeys(itertools.chain.from_iterable(rows)))


def _write(place: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write the table as a CSV file.

    Raises:
        OutputError: if it cannot be written.
    """
    try:
        with place.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, _columns(rows), restval="")
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise OutputError(
            f"{place} cannot be written ({error.strerror}): let --output name a folder that you "
            "can write to"
        ) from None

"""Nothing that one photo does ends a run: faults of all kinds at every step of its way."""

import json
import os
import signal
import struct
import sys
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photos import files, save, save_all
from program import pixels, predict, state_of
from torch import Tensor

from d2ir_pl.batches import observation as observing
from d2ir_pl.batches import part as parts
from d2ir_pl.batches import plan as planning
from d2ir_pl.batches import restoring
from d2ir_pl.batches.amount import Amount
from d2ir_pl.image_io import apart, image_size, read_image, write_png
from d2ir_pl.prediction import module as modules
from d2ir_pl.prediction import outcome as accounts
from d2ir_pl.prediction.callbacks import event_files, previews, writing
from d2ir_pl.restoration import D2IR

QUIET = ("--report", "false", "--tensorboard", "false")


class Bad:
    """Lets functions fail when they are called for the photo b, and for no other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        self.monkeypatch = monkeypatch
        self.error = error

    def make(self, owner: Any, name: str, concerns: Callable[..., bool]) -> None:
        """Let a function fail where its arguments concern the photo."""
        usual = getattr(owner, name)

        def failing(*arguments: Any, **options: Any) -> Any:
            if concerns(*arguments):
                raise self.error
            return usual(*arguments, **options)

        self.monkeypatch.setattr(owner, name, failing)


def dark(images: Tensor) -> bool:
    """Whether b, the only photo that is almost black, is among some."""
    return bool((images.flatten(1).mean(1) < -0.9).any())


def put_together(bad: Bad) -> None:
    """Let the restoration of a part of the photo find no way back."""
    for name, value in (("CONTEXT", 2), ("LEAST", 8), ("GRID", 1)):
        bad.monkeypatch.setattr(parts, name, value)
    bad.make(restoring, "within_the_whole", lambda part, *_: dark(part.y))


def reconsider(bad: Bad) -> None:
    """Let the second opinion fail, which is content with the others."""
    bad.monkeypatch.setattr(restoring, "reconsidered", lambda first, _, plan, *__: (first, plan))
    bad.make(restoring, "reconsidered", lambda _, observation, *__: dark(observation.y))


STEPS: dict[str, Callable[[Bad], None]] = {
    "read": lambda bad: bad.make(apart, "read_image", lambda path: path.name == "b.png"),
    "measure": lambda bad: bad.make(planning, "propose", lambda y, *_: dark(y[None])),
    "sample": lambda bad: bad.make(restoring, "as_sampled", lambda o, *_: dark(o.y)),
    "find the region": lambda bad: bad.make(Amount, "part_of", lambda _, o: dark(o.y)),
    "put together": put_together,
    "keep in part": lambda bad: bad.make(Amount, "applied", lambda _, made, o, *__: dark(o.y)),
    "prepare": lambda bad: bad.make(observing, "observed_pixels", lambda _, y, *__: dark(y[None])),
    "restore": lambda bad: bad.make(D2IR, "solve", lambda _, problem, *__: dark(problem.y)),
    "account": lambda bad: bad.make(modules, "image_result", lambda made, *_: dark(made.y)),
    "write": lambda bad: bad.make(writing, "write_result", lambda _, made, *__: made.name == "b"),
}
"""Faults that cost the photo, by the step in which they happen."""

ASKED = {
    "measure": ("--model.degradation", "auto"),
    "find the region": ("--model.region", "[0, 0, 9, 9]"),
    "put together": ("--model.region", "[0, 0, 9, 9]"),
    "keep in part": ("--model.strength", "0.5"),
}
"""Options that lead to a step which not every run takes."""

OUTPUTS: dict[str, Callable[[Bad], None]] = {
    "it has no scores": lambda bad: bad.make(accounts, "score", lambda _, y, *__: dark(y)),
    "its pictures for the report": lambda bad: bad.make(
        previews, "as_picture", lambda image: dark(image[None])
    ),
    "a second opinion could not be had": reconsider,
    "its curves": lambda bad: bad.make(event_files, "last_pictures", lambda made: made.name == "b"),
}
"""Faults that cost a part of its results, by the note about that."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the photos a and c without any fault, and those of b."""
    root = tmp_path_factory.mktemp("sound")
    save_all(root / "in", ["a.png", "c.png"])
    write_png(root / "in" / "b.png", torch.full((3, 24, 32), -0.95))
    assert predict(root / "in", root / "out", *QUIET) == 0
    return root


def require_sound(output: Path, sound: Path, names: str) -> None:
    """Check that photos were restored as they are without any fault, and no others were."""
    assert files(output / "restored") == {f"{name}.png" for name in names}
    for name in names:
        ours, theirs = (pixels(f / "restored" / f"{name}.png") for f in (output, sound / "out"))
        assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize(
    ("step", "size", "error"),
    [
        *((step, "3", KeyError("key")) for step in STEPS),
        *((step, "1", MemoryError()) for step in ("read", "measure", "restore", "write")),
    ],
    ids=lambda value: {"1": "alone", "3": "batch"}.get(str(value)),
)
def test_a_fault_in_any_step_costs_its_photo_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sound: Path,
    step: str,
    size: str,
    error: Exception,
) -> None:
    asked = ASKED.get(step, ())
    options = ("--data.batch_size", size, *QUIET, *asked)
    with monkeypatch.context() as patched:
        STEPS[step](Bad(patched, error))
        assert predict(sound / "in", tmp_path / "out", *options) == 1
    shown = capsys.readouterr().err
    assert shown.count("failed: b: ") == 1
    assert "Traceback" not in shown
    record = json.loads((tmp_path / "out" / "degradation" / "b.json").read_text())
    assert record["status"] == "failed"
    assert ("memory ran out" if size == "1" else "KeyError") in record["reason"] + record["trace"]
    if asked:
        assert files(tmp_path / "out" / "restored") == {"a.png", "c.png"}
    else:
        require_sound(tmp_path / "out", sound, "ac")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere photos are read in the program")
@pytest.mark.parametrize(("size", "workers"), [("1", "0"), ("3", "0"), ("1", "1")])
def test_a_photo_that_ends_the_process_that_decodes_it_costs_itself_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sound: Path,
    size: str,
    workers: str,
) -> None:
    usual = {name: getattr(apart, name) for name in ("read_image", "image_size")}

    def crashing(name: str, path: Path, **options: Any) -> Any:
        if path.name == "b.png":
            os.kill(os.getpid(), signal.SIGSEGV)
        return usual[name](path, **options)

    with monkeypatch.context() as patched:
        for name in usual:
            patched.setattr(apart, name, partial(crashing, name))
        options = ("--data.batch_size", size, "--data.num_workers", workers, *QUIET)
        assert predict(sound / "in", tmp_path / "out", *options) == 1
    shown = " ".join(capsys.readouterr().err.split())
    assert shown.count("failed: b: ") == 1
    assert "b.png takes more memory or time than its pixels need, or breaks the program" in shown
    assert "has ended" not in shown  # the process that reads ahead lives on
    require_sound(tmp_path / "out", sound, "ac")


@pytest.mark.parametrize("note", [*OUTPUTS])
def test_a_fault_in_what_is_made_beside_a_photo_is_a_note_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sound: Path, note: str
) -> None:
    with monkeypatch.context() as patched:
        OUTPUTS[note](Bad(patched, TypeError("3 is no text")))
        options = ("--data.batch_size", "3", "--model.second_opinion", "true")
        assert predict(sound / "in", tmp_path / "out", *options) == 0
    require_sound(tmp_path / "out", sound, "abc")
    for name in "abc":
        record = json.loads((tmp_path / "out" / "degradation" / f"{name}.json").read_text())
        assert any(note in text and "3 is no text" in text for text in record["notes"]) == (
            name == "b"
        )


def lying_png(path: Path) -> None:
    """A PNG file that says it is turned where Pillow finds that only behind the pixels."""
    save(path, 9)
    text = b"XML:com.adobe.xmp" + bytes(5) + b'<x:xmpmeta tiff:Orientation="6"/>'
    chunk = struct.pack(">I", len(text)) + b"iTXt" + text
    chunk += struct.pack(">I", zlib.crc32(b"iTXt" + text))
    content = path.read_bytes()
    path.write_bytes(content[:-12] + chunk + content[-12:])


def test_a_header_tells_the_size_of_what_is_read(tmp_path: Path) -> None:
    lying_png(tmp_path / "b.png")
    assert image_size(tmp_path / "b.png") == read_image(tmp_path / "b.png").pixels.shape[1:]


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_photo_that_is_replaced_while_others_are_restored_is_restored_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sound: Path, workers: str
) -> None:
    save_all(tmp_path / "in", ["a.png", "c.png"])
    save(tmp_path / "in" / "b.png", 5)
    sizes = image_size

    def replaced(path: Path) -> tuple[int, int]:
        size = sizes(path)
        if path.name == "c.png":  # the last one whose header is read
            save(tmp_path / "in" / "b.png", 5, 30, 20)
        return size

    monkeypatch.setattr(apart, "image_size", replaced)
    options = ("--data.batch_size", "3", "--data.num_workers", workers)
    assert predict(tmp_path / "in", tmp_path / "out", *options) == 0
    assert pixels(tmp_path / "out" / "restored" / "b.png").shape == (30, 20, 3)
    for name in "ac":
        ours, theirs = (
            pixels(f / "restored" / f"{name}.png") for f in (tmp_path / "out", sound / "out")
        )
        assert np.abs(ours.astype(int) - theirs).max() <= 1
    assert files(tmp_path / "out" / "preview") >= {f"{name}.input.jpg" for name in "abc"}


def test_a_photo_that_was_damaged_since_it_was_restored_keeps_no_old_result(
    tmp_path: Path, sound: Path
) -> None:
    save_all(tmp_path / "in", ["a.png", "b.png"])
    output = tmp_path / "out"
    assert predict(tmp_path / "in", output, "--model.num_samples", "2") == 0
    before = state_of(output / "restored")
    assert {"uncertainty/b.png", "preview/b.input.jpg"} <= files(output)
    (tmp_path / "in" / "b.png").write_bytes(b"no image")
    assert predict(tmp_path / "in", output, "--model.num_samples", "2") == 1
    assert {name for name in files(output) if Path(name).stem.split(".")[0] == "b"} == {
        "degradation/b.json"
    }
    assert not list((output / "tensorboard" / "b").glob("*"))
    assert state_of(output / "restored") == {"a.png": before["a.png"]}


def test_what_a_run_does_not_write_is_not_left_from_another_one(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png")
    output = tmp_path / "out"
    assert predict(tmp_path / "in", output) == 0
    assert predict(tmp_path / "in", output, "--overwrite", "true", "--seed", "1", *QUIET) == 0
    assert not files(output / "preview")
    assert not [name for name in files(output / "tensorboard") if name.startswith("a/")]


def test_names_that_are_a_file_and_a_folder_do_not_meet(tmp_path: Path) -> None:
    names = ["x.jpg", "x.png/y.png", "x.json/y.png", "x.input.jpg/y.png", "z.png"]
    save_all(tmp_path / "in", names)
    assert predict(tmp_path / "in", tmp_path / "out") == 0
    assert len(files(tmp_path / "out" / "restored")) == len(names)
    assert "x.png" in files(tmp_path / "out" / "restored")


def test_a_path_too_long_for_results_costs_its_photo_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = ["d" * 200] * 19  # with the folder of the results, over 4096 bytes
    inputs = tmp_path / "i"
    save(inputs / "a.png")
    deep = inputs.joinpath(*parts)
    spare = 4000 - len(str(deep))
    deep = deep / ("e" * spare) if spare > 0 else deep
    save(deep / "b.png")
    assert predict(inputs, tmp_path / ("out" + "o" * 200)) == 1
    assert files(tmp_path / ("out" + "o" * 200) / "restored") == {"a.png"}
    shown = capsys.readouterr().err
    assert "1 restored, 1 failed" in shown
    assert "Traceback" not in shown

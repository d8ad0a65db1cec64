"""Each file is opened once in a run: pixels, digest and JPEG tables are read together.

Headers are looked at before where batches are formed, or where the photos may take a CPU so long
that it is announced. Photos are read in this process here, where it can be counted.
"""

import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from photos import save, save_all
from PIL import Image

from d2ir_pl.cli import main
from d2ir_pl.image_io import apart, read_image

QUICK = ["--model.method.estimation.steps", "2", "--model.method.stages", "estimation"]
QUICK += ["--trainer.accelerator", "cpu", "--trainer.precision", "32-true"]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file is opened, by the last two parts of its path."""

    def no_process(*_: object) -> None:
        raise apart._NoProcessError

    monkeypatch.setattr(apart, "_each", no_process)
    count: Counter[str] = Counter()

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(file: Any, *arguments: Any, **options: Any) -> Any:
            if not isinstance(file, int):
                count["/".join(Path(os.fsdecode(file)).parts[-2:])] += 1
            return function(file, *arguments, **options)

        return wrapper

    # Path.open goes through io.open.
    monkeypatch.setattr(io, "open", counted(io.open))
    monkeypatch.setattr("builtins.open", counted(open))
    monkeypatch.setattr(os, "open", counted(os.open))
    return count


def predict(folder: Path, *options: str) -> int:
    where = ["--data.inputs", str(folder / "in"), "--output", str(folder / "out")]
    return main(["predict", *where, *QUICK, *options])


def test_inputs_and_references_are_opened_once(tmp_path: Path, opened: Counter[str]) -> None:
    save_all(tmp_path / "in", ["a.png", "b.png"])
    save_all(tmp_path / "clean", ["a.tif", "b.tif"])
    assert predict(tmp_path, "--data.references", str(tmp_path / "clean")) == 0
    for name in ("in/a.png", "in/b.png", "clean/a.tif", "clean/b.tif"):
        assert opened[name] == 1


@pytest.mark.parametrize("options", [["--config", "auto"], ["--config", "jpeg"]])
def test_the_tables_of_a_jpeg_need_no_second_opening(
    tmp_path: Path, opened: Counter[str], options: list[str]
) -> None:
    picture = Image.open(save(tmp_path / "a.png", height=48, width=64))
    (tmp_path / "in").mkdir()
    picture.save(tmp_path / "in" / "a.jpg", quality=30)
    opened.clear()
    quick = ["--trainer.accelerator", "cpu", "--trainer.precision", "32-true"]
    where = ["--data.inputs", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert main(["predict", *options, *where, *quick]) == 0
    assert opened["in/a.jpg"] == 1


def test_where_batches_are_formed_headers_are_looked_at_first(
    tmp_path: Path, opened: Counter[str]
) -> None:
    save_all(tmp_path / "in", ["a.png", "b.png"])
    assert predict(tmp_path, "--data.batch_size", "2") == 0
    assert opened["in/a.png"] == opened["in/b.png"] == 2


def test_what_takes_long_is_announced_by_its_headers(
    tmp_path: Path, opened: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("d2ir_pl.prediction.run.LARGE", 1)
    save_all(tmp_path / "in", ["a.png", "b.png"])
    assert predict(tmp_path) == 0
    assert opened["in/a.png"] == opened["in/b.png"] == 2


def test_masks_are_opened_for_the_digest_of_the_settings_and_for_use(
    tmp_path: Path, opened: Counter[str]
) -> None:
    save_all(tmp_path / "in", ["a.png", "b.png"])
    (tmp_path / "masks").mkdir()
    hole = Image.new("L", Image.open(tmp_path / "in" / "a.png").size, 255)
    hole.paste(0, (2, 3, 8, 9))
    for name in ("a.bmp", "b.bmp"):
        hole.save(tmp_path / "masks" / name)
    opened.clear()
    mask = ("--model.degradation", "Mask", "--model.degradation.source", str(tmp_path / "masks"))
    assert predict(tmp_path, *mask) == 0
    assert opened["in/a.png"] == opened["in/b.png"] == 1
    assert opened["masks/a.bmp"] == opened["masks/b.bmp"] == 2


def test_what_is_complete_is_opened_for_its_digest_only(
    tmp_path: Path, opened: Counter[str]
) -> None:
    save_all(tmp_path / "in", ["a.bmp"])
    assert predict(tmp_path) == 0
    assert opened["in/a.bmp"] == 1
    assert predict(tmp_path) == 0
    assert opened["in/a.bmp"] == 2


def test_a_photo_knows_the_digest_of_its_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    assert read_image(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()

"""How inputs become batches, and which settings of the data are refused."""

from pathlib import Path

import pytest
import torch
from photos import save, save_all

from d2ir_pl.image_io import read_image
from d2ir_pl.inputs.finding import find_items, group_by_size
from d2ir_pl.inputs.items import Item
from d2ir_pl.prediction.data import Batch, RestorationDataModule


def names(items: list[Item]) -> list[str]:
    return [item.name for item in items]


# ---- Mistakes ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": None}, "^inputs: no input is given"),
        ({"inputs": "{}/missing"}, "missing does not exist: give a file, a folder or a quoted"),
        ({"inputs": "{}/empty"}, r"empty is a folder without image files \(.*\.png"),
        ({"inputs": "{}/*.gif"}, r"\*\.gif matches no image files: check the pattern"),
        ({"inputs": "{}/*.txt"}, r"\*\.txt matches no image files: check the pattern"),
        ({"references": "{}/missing"}, "missing is not a folder: give the folder of clean"),
        ({"references": "{}/a.png"}, r"a\.png is not a folder: give the folder of clean"),
        ({"batch_size": 0}, "^batch_size 0 must be at least 1$"),
        ({"limit": 0}, "^limit 0 must be at least 1$"),
        ({"limit": -3}, "^limit -3 must be at least 1$"),
        ({"num_workers": -1}, "^num_workers -1 must be at least 0$"),
        ({"degrade": True, "references": "{}"}, "^degrade true .*: leave out references"),
        ({"degrade": True, "scenes": True}, "^degrade true .*: leave out scenes"),
        ({"degrade_noise": 1.0}, "^degrade_noise 1.0 must be at least 0 and below 1$"),
        ({"degrade_noise": -0.1}, "^degrade_noise -0.1 must be at least 0 and below 1$"),
    ],
)
def test_mistakes_are_one_sentence_with_the_remedy(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    filled = {k: v.format(tmp_path) if isinstance(v, str) else v for k, v in options.items()}
    with pytest.raises(ValueError, match=message) as caught:
        RestorationDataModule(**{"inputs": str(tmp_path), **filled})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


# ---- Batches ----


def items_of_sizes(folder: Path, sizes: list[tuple[int, int]]) -> list[Item]:
    for i, (height, width) in enumerate(sizes):
        save(folder / f"{i}.png", i, height, width)
    return find_items(str(folder), None)


def test_batches_hold_each_image_once_and_one_size_only(tmp_path: Path) -> None:
    sizes = [(24, 32), (32, 24), (24, 32), (24, 32), (32, 24), (24, 32)]
    items = items_of_sizes(tmp_path, sizes)
    batches = group_by_size(items, batch_size=3)
    assert sorted(names([i for batch in batches for i in batch])) == names(items)
    assert all(len({sizes[int(i.name)] for i in batch}) == 1 for batch in batches)
    assert [names(batch) for batch in batches] == [["0", "2", "3"], ["1", "4"], ["5"]]


def test_unreadable_files_stand_alone(tmp_path: Path) -> None:
    items = items_of_sizes(tmp_path, [(24, 32)] * 3)
    items[1].path.write_bytes(b"not an image")
    assert [names(b) for b in group_by_size(items, 4)] == [["0", "2"], ["1"]]


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_loader_yields_what_the_files_hold(tmp_path: Path, batch_size: int) -> None:
    items_of_sizes(tmp_path, [(24, 32), (24, 32), (40, 24), (24, 32), (24, 32)])
    data = RestorationDataModule(str(tmp_path), batch_size=batch_size)
    batches: list[Batch] = list(data.predict_dataloader())
    seen = [(s.item, pixels) for b in batches for s, pixels in zip(b.samples, b.y, strict=True)]
    assert sorted(item.name for item, _ in seen) == ["0", "1", "2", "3", "4"]
    for item, pixels in seen:
        assert torch.equal(pixels, read_image(item.path).pixels)
    assert all(len(b.samples) <= batch_size and not b.failures for b in batches)


def test_limit_takes_the_first_images(tmp_path: Path) -> None:
    items_of_sizes(tmp_path, [(24, 32)] * 4)
    assert names(RestorationDataModule(str(tmp_path), limit=2).items) == ["0", "1"]
    assert names(RestorationDataModule(str(tmp_path), limit=9).items) == ["0", "1", "2", "3"]


def test_broken_file_in_a_batch_is_a_failure_beside_its_neighbours(tmp_path: Path) -> None:
    items_of_sizes(tmp_path, [(24, 32)] * 3)
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[: len(whole) // 2])  # the header still tells the size
    data = RestorationDataModule(str(tmp_path), batch_size=3)
    (batch,) = data.predict_dataloader()
    assert [s.item.name for s in batch.samples] == ["0", "2"]
    assert batch.y.shape == (2, 3, 24, 32)
    (failure,) = batch.failures
    assert failure.item.name == "1"
    assert "1.png is damaged, truncated" in failure.reason


def test_batch_of_failures_only_has_no_images(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (batch,) = RestorationDataModule(str(tmp_path)).predict_dataloader()
    assert (len(batch.y), len(batch.samples), len(batch.failures)) == (0, 0, 1)


def test_limit_does_not_change_names(tmp_path: Path) -> None:
    save_all(tmp_path, ["same.jpg", "same.png", "z.png"])
    data = RestorationDataModule(str(tmp_path), limit=1)
    assert names(data.items) == ["same.jpg"]

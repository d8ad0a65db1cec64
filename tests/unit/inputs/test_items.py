"""Inputs as they are read: pixels, references and digests."""

from pathlib import Path

import torch
from photos import photo, save

from d2ir_pl.inputs.digest import file_digest, joint_digest
from d2ir_pl.inputs.items import Failure, Item
from d2ir_pl.inputs.samples import Sample, read_sample


def test_unreadable_reference_is_a_failure_that_names_it(tmp_path: Path) -> None:
    path, reference = save(tmp_path / "a.png"), tmp_path / "clean.png"
    reference.write_bytes(b"")
    result = read_sample(Item(path, "a.png", "a", reference))
    assert isinstance(result, Failure)
    assert "clean.png is empty" in result.reason


def test_sample_carries_pixels_reference_and_digest(tmp_path: Path) -> None:
    path, reference = save(tmp_path / "a.png", 1), save(tmp_path / "clean.png", 2)
    sample = read_sample(Item(path, "a.png", "a", reference))
    assert isinstance(sample, Sample)
    assert sample.reference is not None
    assert (sample.photo.pixels - photo(1)).abs().max() <= 1.01 / 255
    assert (sample.reference.pixels - photo(2)).abs().max() <= 1.01 / 255
    before = sample.digest
    save(path, 3)
    assert file_digest(path) != before
    save(path, 1)
    assert file_digest(path) == before
    assert file_digest(tmp_path / "missing.png") == ""


def test_photos_of_a_scene_are_one_sample_of_equal_sizes(tmp_path: Path) -> None:
    first, second = save(tmp_path / "a.png", 1), save(tmp_path / "b.png", 2)
    item = Item(first, "scene", "scene", None, (second,))
    sample = read_sample(item)
    assert isinstance(sample, Sample)
    assert torch.equal(sample.y[0], sample.photo.pixels)
    assert sample.y.shape == (2, 3, 24, 32)
    assert sample.digest == item.digest() == joint_digest([file_digest(first), file_digest(second)])
    failure = sample.failed("too dark")
    assert (failure.item, failure.reason, failure.digest) == (item, "too dark", sample.digest)
    save(second, 2, 20, 30)
    other = read_sample(item)
    assert isinstance(other, Failure)
    assert other.reason == f"{second} is 20x30, not 24x32 as the first of its scene"
    second.unlink()
    assert item.digest() == ""

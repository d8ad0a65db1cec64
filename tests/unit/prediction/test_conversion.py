"""What a DataLoader of one's own may give, and what it may not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from photos import photo
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from d2ir_pl.errors import InputError
from d2ir_pl.prediction.conversion import as_batch


def unit(count: int = 2, channels: int = 3, height: int = 6, width: int = 8) -> Tensor:
    """Photos in [0, 1]."""
    images = torch.stack([photo(seed, height, width) for seed in range(count)])
    return ((images + 1) / 2)[:, :channels]


def first(dataset: Any) -> Any:
    """The first batch that a DataLoader makes of a data set."""
    return next(iter(DataLoader(dataset, batch_size=2)))


X, CLEAN = unit(), unit(2, 3, 12, 16)
MASK = torch.ones(2, 1, 6, 8)


@pytest.mark.parametrize(
    "data",
    [
        X,
        X.double(),
        [X],
        (X, ["0", "1"]),
        [X, ("0", "1")],
        {"image": X},
        {"image": X, "name": ["0", "1"]},
        first(TensorDataset(X)),
        first([(x, str(i)) for i, x in enumerate(X)]),
        first([{"image": x, "name": str(i)} for i, x in enumerate(X)]),
    ],
)
def test_the_same_photos_come_out_of_every_form(data: Any) -> None:
    batch = as_batch(data)
    assert torch.allclose(batch.y, X * 2 - 1, atol=1e-7)
    assert batch.y.dtype == torch.float32
    assert [sample.item.name for sample in batch.samples] == ["0", "1"]
    assert [sample.item.key for sample in batch.samples] == ["0", "1"]
    assert all(torch.equal(s.photo.pixels, y) for s, y in zip(batch.samples, batch.y, strict=True))
    assert batch.failures == []
    assert as_batch(batch) is batch


def test_grey_photos_are_known_as_such() -> None:
    batch = as_batch(X[:, :1])
    assert batch.y.shape == (2, 3, 6, 8)
    assert torch.equal(batch.y[:, 0], batch.y[:, 2])
    assert all(sample.photo.grey for sample in batch.samples)
    assert not any(sample.photo.grey for sample in as_batch(X).samples)


@pytest.mark.parametrize(
    "data",
    [
        (X, CLEAN),
        first(TensorDataset(X, CLEAN)),
        {"image": X, "reference": CLEAN, "mask": MASK},
    ],
)
def test_references_and_masks_stay_with_their_photos(data: Any) -> None:
    batch = as_batch(data)
    for b, sample in enumerate(batch.samples):
        assert sample.reference is not None
        assert torch.equal(sample.reference.pixels, CLEAN[b] * 2 - 1)
        assert sample.photo.mask is None or torch.equal(sample.photo.mask, MASK[b])


def test_names_are_asked_for_where_there_are_none() -> None:
    batch = as_batch(X, lambda count: [f"photo {i}" for i in range(count)])
    assert [sample.item.name for sample in batch.samples] == ["photo 0", "photo 1"]


def test_values_that_are_not_finite_are_left_to_the_photo_that_has_them() -> None:
    broken = X.clone()
    broken[1, 0, 0, 0] = torch.nan
    assert as_batch(broken).y.isnan().sum() == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (X * 255, r"^image has values from .* to .*: scale them to \[0, 1\]$"),
        (X * 2 - 1, r"^image has values from -.*: scale them to \[0, 1\]$"),
        ((X * 255).byte(), "^image is a tensor .* of uint8, .*: divide it by 255$"),
        (X[0], r"^image is a tensor \(3, 6, 8\) .*: add the dimension of the batch$"),
        (X.permute(0, 2, 3, 1), r"^image is a tensor \(2, 6, 8, 3\) .*must be .*\(B, 3, H, W\)"),
        (X[:0], "^image is .* without a pixel: leave it out$"),
        ({"image": X, "label": 3}, "^the key 'label' of a batch is unknown: its keys are image, "),
        ({"name": ["a"]}, "^a batch has no key 'image'"),
        ((X, ["a"]), "^1 names are given for 2 images: give one for each$"),
        ((X, torch.tensor([3, 7])), r"^reference is a tensor \(2,\) of int64.*: leave labels out$"),
        ((X, CLEAN, CLEAN), "^a batch of 3 parts is ambiguous: give a dictionary of image, name"),
        ((X, ["../a", "b"]), "^name '../a' is no relative path inside a folder"),
        ((X, ["", "b"]), "^name '' is no relative path inside a folder"),
        ((X, [1, 2]), "^name is of type list, and must be a list of texts"),
        ({"image": X, "mask": MASK[:, :, :3]}, r"^mask is a tensor \(2, 1, 3, 8\)"),
        ({"image": X, "mask": MASK * 255}, "^mask has other values than 0 and 1: round it"),
        ({"image": X, "reference": CLEAN[:1]}, "^1 references are given for 2 images"),
        ("a.png", "^a batch is of type str: give a tensor"),
    ],
)
def test_mistakes_are_one_sentence_with_the_remedy(data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        as_batch(data)
    assert "\n" not in str(caught.value)


def test_what_is_moved_is_the_batch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[object] = []
    real: Callable[..., Tensor] = Tensor.to

    def to(tensor: Tensor, *arguments: object, **options: object) -> Tensor:
        moved.append(tensor)
        return real(tensor, *arguments, **options)

    batch = as_batch(X)
    monkeypatch.setattr(Tensor, "to", to)
    assert batch.to("cpu").samples is batch.samples
    assert len(moved) == 1
    assert moved[0] is batch.y

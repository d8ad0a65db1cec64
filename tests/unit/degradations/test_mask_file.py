"""What a mask file says is missing, in all the forms in which programs write masks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from repository import ROOT

from d2ir_pl.degradations import Compose, Jpeg, Mask
from d2ir_pl.degradations.mask_file import read_mask
from d2ir_pl.errors import ImageError
from d2ir_pl.image_io import read_image

SIGMA = torch.full((1,), 0.02)
CHELSEA = ROOT / "examples" / "clean" / "chelsea.png"
Pixels = NDArray[Any]


def clean() -> Pixels:
    return np.asarray(Image.open(CHELSEA).convert("RGB"))[64:192, 64:192]


def hole() -> NDArray[np.bool_]:
    missing = np.zeros((128, 128), bool)
    missing[40:80, 50:90] = True
    return missing


def filled(colour: tuple[int, int, int] = (0, 0, 0)) -> Pixels:
    return np.where(hole()[..., None], np.array(colour, np.uint8), clean())


def save(path: Path, pixels: Pixels, mode: str | None = None, **options: Any) -> Path:
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def found(mask: Mask, photo: Path) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """The pixels that are missing, and the reasons."""
    image = read_image(photo)
    own = mask.for_images([image], [photo.name])
    observed = own.init(image.pixels[None], SIGMA)["mask"][0, 0]
    return observed.numpy() == 0, own.reasons


def palette(path: Path, missing: NDArray[np.bool_]) -> Path:
    """A mask as segmentation tools save it: dark red on black."""
    image = Image.fromarray(missing.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0])
    image.save(path)
    return path


def with_alpha(colour: Pixels, alpha: NDArray[np.bool_]) -> Pixels:
    return np.dstack([colour, alpha.astype(np.uint8) * 255])


GREY = {
    "0 and 255": lambda m: (m * 255).astype(np.uint8),
    "0 and 1": lambda m: m.astype(np.uint8),
    "0 and 1 in 16 bits": lambda m: m.astype(np.uint16),
    "0 and 65535": lambda m: m.astype(np.uint16) * 65535,
    "7 and 9": lambda m: (7 + 2 * m).astype(np.uint8),
}


@pytest.mark.parametrize("form", GREY)
@pytest.mark.parametrize("white_is_hole", [True, False])
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (127, 127, 127), (255, 0, 255)])
def test_the_part_that_the_photo_has_filled_with_one_colour_is_missing(
    tmp_path: Path, form: str, white_is_hole: bool, colour: tuple[int, int, int]
) -> None:
    file = save(tmp_path / "mask.png", GREY[form](hole() == white_is_hole))
    missing, reasons = found(Mask(str(file)), save(tmp_path / "photo.png", filled(colour)))
    assert np.array_equal(missing, hole())
    assert "single colour" in reasons[0]
    assert f"set invert to {'false' if white_is_hole else 'true'}" in reasons[0]


@pytest.mark.parametrize("hidden", ["photo", "white", "black"])
@pytest.mark.parametrize("opaque_is_hole", [True, False])
def test_what_is_transparent_in_a_mask_differs_from_what_is_opaque(
    tmp_path: Path, hidden: str, opaque_is_hole: bool
) -> None:
    colours = {"photo": clean(), "white": np.full_like(clean(), 255), "black": 0 * clean()}
    pixels = with_alpha(colours[hidden], hole() == opaque_is_hole)
    file = save(tmp_path / "mask.png", pixels)
    missing, reasons = found(Mask(str(file)), save(tmp_path / "photo.png", filled()))
    assert np.array_equal(missing, hole())
    assert ("opaque" if opaque_is_hole else "transparent") in reasons[0]


def test_palettes_grey_with_alpha_and_one_bit_are_masks_too(tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.png", filled())
    alpha = Image.merge(
        "LA", [Image.new("L", (128, 128), 255), Image.fromarray(~hole()).convert("L")]
    )
    alpha.save(tmp_path / "alpha.png")
    files = [
        palette(tmp_path / "palette.png", hole()),
        palette(tmp_path / "palette.gif", ~hole()),
        tmp_path / "alpha.png",
        save(tmp_path / "bits.png", hole()),
        save(tmp_path / "bits.tif", ~hole()),
    ]
    for file in files:
        assert np.array_equal(found(Mask(str(file)), photo)[0], hole()), file.name


@pytest.mark.parametrize("white_is_hole", [True, False])
def test_soft_edges_of_a_mask_are_missing(tmp_path: Path, white_is_hole: bool) -> None:
    sharp = Image.fromarray(((hole() == white_is_hole) * 255).astype(np.uint8))
    soft = sharp.resize((256, 256)).resize((128, 128), Image.Resampling.BICUBIC)
    photo = save(tmp_path / "photo.png", filled())
    soft.save(tmp_path / "soft.png")
    soft.save(tmp_path / "soft.jpg", quality=75)
    for name in ("soft.png", "soft.jpg"):
        missing, _ = found(Mask(str(tmp_path / name)), photo)
        assert bool((missing >= hole()).all()), name
        wider = np.zeros_like(hole())
        wider[32:88, 42:98] = True  # by a block of the JPEG
        assert bool((missing <= wider).all()), name


@pytest.mark.parametrize("white_is_hole", [True, False])
def test_the_smaller_part_is_missing_where_the_photo_shows_no_hole(
    tmp_path: Path, white_is_hole: bool
) -> None:
    file = save(tmp_path / "mask.png", ((hole() == white_is_hole) * 255).astype(np.uint8))
    missing, reasons = found(Mask(str(file)), save(tmp_path / "photo.png", clean()))
    assert np.array_equal(missing, hole())
    assert "smaller part" in reasons[0]


def test_dark_pixels_are_missing_where_nothing_tells_the_parts_apart(tmp_path: Path) -> None:
    left = np.arange(128)[None] * np.ones((128, 1)) < 64
    file = save(tmp_path / "mask.png", (left * 255).astype(np.uint8))
    missing, reasons = found(Mask(str(file)), save(tmp_path / "photo.png", clean()))
    assert np.array_equal(missing, ~left)
    assert "convention" in reasons[0]


def test_a_clear_sky_around_what_is_to_be_removed_is_not_taken_for_the_hole(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 2, (128, 128, 3))
    sky = np.where(hole()[..., None], clean(), np.clip(200 + noise, 0, 255)).astype(np.uint8)
    file = save(tmp_path / "mask.png", (hole() * 255).astype(np.uint8))
    assert np.array_equal(found(Mask(str(file)), save(tmp_path / "photo.png", sky))[0], hole())


@pytest.mark.parametrize("invert", [True, False])
def test_what_invert_says_is_believed(tmp_path: Path, invert: bool) -> None:
    file = save(tmp_path / "mask.png", hole().astype(np.uint8))
    photo = save(tmp_path / "photo.png", filled())
    missing, reasons = found(Mask(str(file), invert=invert), photo)
    assert np.array_equal(missing, hole() == invert)
    assert reasons == ()


def test_transparent_holes_of_the_photo_are_missing_and_opaque_once_filled(tmp_path: Path) -> None:
    white = filled((255, 255, 255))
    photo = save(tmp_path / "photo.png", with_alpha(white, ~hole()))
    missing, reasons = found(Mask("zeros"), photo)
    assert bool((missing >= hole()).all())
    assert (missing & ~hole()).mean() < 0.01  # some dark pixels of the photo
    assert "transparent" in reasons[0]
    image = read_image(photo)
    own = Mask("zeros").for_images([image], ["photo.png"])
    assert image.alpha is not None
    assert own.holes is not None
    assert float(torch.maximum(image.alpha, own.holes[0]).min()) == 1
    chain = Compose([Mask("zeros"), Jpeg()]).for_images([image], ["photo.png"])
    assert chain.reasons == own.reasons
    assert chain.holes is not None
    assert torch.equal(chain.holes, own.holes)


@pytest.mark.parametrize("white_is_hole", [True, False])
def test_a_mask_for_a_cut_out_fills_its_hole_and_keeps_the_rest_transparent(
    tmp_path: Path, white_is_hole: bool
) -> None:
    outside = np.zeros_like(hole())
    outside[:, 100:] = True
    photo = save(tmp_path / "photo.png", with_alpha(filled(), ~outside))
    file = save(tmp_path / "mask.png", ((hole() == white_is_hole) * 255).astype(np.uint8))
    missing, _ = found(Mask(str(file)), photo)
    assert np.array_equal(missing, hole() | outside)
    image = read_image(photo)
    own = Mask(str(file)).for_images([image], ["photo.png"])
    assert own.holes is not None
    assert np.array_equal(own.holes[0, 0].numpy() == 1, hole())


@pytest.mark.parametrize("quality", [60, 85, 95])
def test_the_soft_edges_of_a_black_hole_in_a_jpeg_are_missing(tmp_path: Path, quality: int) -> None:
    photo = save(tmp_path / "photo.jpg", filled(), quality=quality)
    missing, _ = found(Mask("zeros"), photo)
    assert (missing & hole()).sum() >= 0.99 * hole().sum()
    assert (missing & ~hole()).mean() < 0.08
    error = np.abs(np.asarray(Image.open(photo)).astype(int) - clean()).max(-1)
    assert error[~missing].mean() < 15


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg"])
def test_a_photo_without_a_hole_is_refused(tmp_path: Path, name: str) -> None:
    photo = save(tmp_path / name, filled((255, 255, 255)))
    with pytest.raises(ValueError, match="no pixel is missing: none is transparent"):
        found(Mask("zeros"), photo)
    with pytest.raises(ValueError, match="no pixel of image 1 of the batch of 1 is missing"):
        Mask("zeros").init(torch.zeros(1, 3, 8, 8), SIGMA)


def test_masks_of_a_folder_are_decided_photo_by_photo(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    save(tmp_path / "masks" / "a.png", hole().astype(np.uint8))
    save(tmp_path / "masks" / "b.png", (~hole() * 255).astype(np.uint8))
    photos = [read_image(save(tmp_path / f"{n}.png", filled())) for n in "ab"]
    mask = Mask(str(tmp_path / "masks")).for_images(photos, ["a.png", "b.png"])
    both = mask.init(torch.stack([photo.pixels for photo in photos]), SIGMA)["mask"]
    assert np.array_equal(both[0, 0].numpy() == 0, hole())
    assert torch.equal(both[0], both[1])


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((8, 8), np.uint8), "one value everywhere"),
        (np.arange(64, dtype=np.uint8).reshape(8, 8) // 16, "4 values, as if it numbered objects"),
        (
            np.tile(np.array([0, 1, 2, 255], np.uint8), (8, 2)),
            "4 values, as if it numbered objects",
        ),
        (clean(), "is no mask"),
    ],
)
def test_files_that_are_no_masks_are_refused(tmp_path: Path, pixels: Pixels, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_mask(save(tmp_path / "mask.png", pixels))

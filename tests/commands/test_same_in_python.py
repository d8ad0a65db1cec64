"""`restore` in Python and `predict` make the same file of the same photo."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from image_files import ORIENTATION_TAG, ORIENTATIONS, noise
from photos import photo, save
from PIL import Image, ImageCms

from d2ir_pl import restore
from d2ir_pl.cli import main
from d2ir_pl.degradations import GaussianBlur
from d2ir_pl.image_io import as_picture, read_image
from d2ir_pl.priors.network import NetworkPrior
from d2ir_pl.restoration import D2IR, DegradationEstimation

BLUR = GaussianBlur(border="reflect")
QUICK = D2IR(DegradationEstimation(steps=1), stages="estimation")
OPTIONS = [
    *("--model.degradation.border", "reflect", "--model.method.stages", "estimation"),
    *("--model.method.estimation.steps", "1"),
    *("--trainer.accelerator", "cpu", "--trainer.precision", "32-true"),
    *("--report", "false", "--tensorboard", "false"),
]
"""The same for `predict`."""

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def picture(mode: str = "RGB") -> Image.Image:
    return as_picture(photo(1)).convert(mode)


def exif(orientation: int = 1) -> Image.Exif:
    data = Image.Exif()
    data[ORIENTATION_TAG] = orientation
    data[271] = "a camera"
    return data


def palette_with_transparency(path: Path) -> None:
    image = picture("P")
    image.save(path, transparency=image.getpixel((3, 3)))


ODD: dict[str, Callable[[Path], object]] = {
    "grey16.png": lambda path: save(path, 2, bit_depth=16, grey=True),
    "colour16.png": lambda path: save(path, 3, bit_depth=16),
    "alpha16.png": lambda path: save(path, 4, bit_depth=16, alpha=photo(5)[:1] / 2 + 0.5),
    "alpha.png": lambda path: save(path, 4, alpha=photo(5)[:1] / 2 + 0.5),
    "grey_alpha.png": lambda path: picture("LA").save(path),
    "one_bit.png": lambda path: picture("1").save(path),
    "palette.png": lambda path: picture("P").save(path),
    "palette_alpha.png": palette_with_transparency,
    "profile.png": lambda path: picture().save(path, icc_profile=PROFILE, exif=exif(3)),
    "profile.jpg": lambda path: picture().save(path, icc_profile=PROFILE),
    "grey.jpg": lambda path: picture("L").save(path),
    "cmyk.jpg": lambda path: picture("CMYK").save(path),
    "lossy.webp": lambda path: picture().save(path, exif=exif(8)),
    "still.gif": lambda path: picture().save(path),
    "deep.tif": lambda path: tifffile.imwrite(path, noise(24, 32, 3, dtype=np.uint16)),
    **{
        f"turned{n}.jpg": lambda path, n=n: picture().save(path, exif=exif(n))  # type: ignore[misc]
        for n in ORIENTATIONS
    },
}
"""Photos of every kind of file, by their names."""


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `in`, files of every kind, and `out`, what `predict` makes of them."""
    root = tmp_path_factory.mktemp("odd")
    (root / "in").mkdir()
    for name, write in ODD.items():
        write(root / "in" / name)
    where = ["--data.inputs", str(root / "in"), "--output", str(root / "out")]
    assert main(["predict", *where, *OPTIONS]) == 0
    return root


def written(root: Path, name: str) -> Path:
    """What `predict` has made of a file."""
    stem, clashes = Path(name).stem, [n for n in ODD if Path(n).stem == Path(name).stem]
    return root / "out" / "restored" / f"{stem if len(clashes) == 1 else name}.png"


def test_a_file_comes_out_of_both_with_the_same_bytes(
    odd: Path, natural_small: NetworkPrior, tmp_path: Path
) -> None:
    results = restore([odd / "in" / name for name in ODD], BLUR, QUICK, natural_small)
    for name, result in zip(ODD, results, strict=True):
        result.save(tmp_path / "restored.png")
        same = (tmp_path / "restored.png").read_bytes() == written(odd, name).read_bytes()
        assert same, name


@pytest.mark.parametrize("name", ["profile.png", "turned6.jpg", "lossy.webp"])
def test_what_describes_a_photo_is_written_and_what_describes_its_pixels_is_not(
    odd: Path, name: str
) -> None:
    result = Image.open(written(odd, name))
    assert result.getexif()[271] == "a camera"
    assert result.getexif()[ORIENTATION_TAG] == 1
    assert result.info.get("icc_profile") == (PROFILE if "profile" in name else None)
    assert result.size == ((24, 32) if name == "turned6.jpg" or "webp" in name else (32, 24))


def test_the_image_of_a_result_has_the_pixels_of_its_file(
    odd: Path, natural_small: NetworkPrior
) -> None:
    for name in ("grey16.png", "alpha.png", "grey_alpha.png", "profile.png", "turned5.jpg"):
        image = restore(odd / "in" / name, BLUR, QUICK, natural_small).image
        stored = Image.open(written(odd, name))
        assert image.mode == stored.mode, name
        assert np.array_equal(np.asarray(image), np.asarray(stored)), name
        assert image.info.get("icc_profile") == stored.info.get("icc_profile"), name


def test_a_photo_keeps_its_bits_in_memory_as_in_a_file(odd: Path) -> None:
    assert read_image(written(odd, "deep.tif")).bit_depth == 16
    assert read_image(written(odd, "grey16.png")).grey

"""Restored photos are written as the kind of file that is asked for, and found again."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from image_files import noise
from photos import files
from PIL import Image
from program import predict


def saved(folder: Path) -> Path:
    """A JPEG file with an author, a TIFF file of 16 bits and a PNG file."""
    (folder / "sub").mkdir(parents=True)
    image = Image.fromarray(noise(24, 32, 3))
    data = Image.Exif()
    data[271], data[315] = "a camera", "Ann"
    image.save(folder / "a.jpg", exif=data, quality=92)
    tifffile.imwrite(folder / "sub" / "b.tif", noise(24, 32, 3, dtype=np.uint16))
    image.save(folder / "c.png")
    return folder


def test_a_folder_in_its_own_formats_is_complete_afterwards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, output = saved(tmp_path / "photos"), tmp_path / "photos" / "out"
    same = ("--data.format", "same")
    assert predict(photos, output, *same) == 0
    assert files(output / "restored") == {"a.jpg", "sub/b.tif", "c.png"}
    assert Image.open(output / "restored" / "a.jpg").getexif()[315] == "Ann"
    assert tifffile.imread(output / "restored" / "sub" / "b.tif").dtype == np.uint16
    assert (output / "report.html").read_text().count("data:image/jpeg") >= 3 * 3
    capsys.readouterr()
    assert predict(photos, output, *same) == 0
    assert "3 of 3 images are complete" in capsys.readouterr().err
    assert predict(photos, output) == 2  # as PNG, which is another setting
    assert predict(photos, output, "--overwrite", "true", "--data.strip_metadata", "true") == 0
    assert files(output / "restored") == {"a.png", "sub/b.png", "c.png"}
    exif = Image.open(output / "restored" / "a.png").getexif()
    assert exif.get(271) == "a camera"
    assert 315 not in exif


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data.format", "gif"), "--data.format gif is unknown: use one of same, png"),
        (("--data.quality", "0"), "--data.quality 0 must be at least 1"),
    ],
)
def test_other_formats_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert predict(saved(tmp_path / "photos"), tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err

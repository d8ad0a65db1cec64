"""What photos of thirteen kinds of files carry after `predict` and after the page: a table.

    python -m benchmarks.kept --write          # the table of docs/folder.md

Small files of each kind get what a camera and a photographer write into them, by exiftool; those
kinds that it cannot write carry nothing. They are restored with `--data.format same`, and
exiftool says what the results carry.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from benchmarks import tables
from d2ir_pl.cli import main as d2ir
from d2ir_pl.image_io import Output
from d2ir_pl.web.job import Job
from d2ir_pl.web.order import Order
from d2ir_pl.web.program import PageSettings

GIVEN = {
    "camera": ("EXIF:Make", "IFD0:Make", "Maker"),
    "time": ("EXIF:DateTimeOriginal", "ExifIFD:DateTimeOriginal", "2024:05:06 07:08:09"),
    "place": ("EXIF:GPSLatitude", "GPS:GPSLatitude", 48.2),
    "rating (XMP)": ("XMP-xmp:Rating", "XMP-xmp:Rating", 4),
    "caption (IPTC)": ("IPTC:Caption-Abstract", "IPTC:Caption-Abstract", "A cup"),
}
"""What the files are given: the name to write and the name to read of exiftool, and the value."""

COLOURS, DOTS = "colour profile", "dots per inch"

KINDS = (
    *("jpg", "png", "16.png", "webp", "tif", "16.tif"),
    *("heic", "avif", "10.avif", "jxl", "dng", "gif", "bmp"),
)
"""Suffixes of the files, with the bits of a channel before them where they are not 8."""

PAGE = Path(__file__).parents[1] / "docs" / "folder.md"


@dataclass(frozen=True)
class Kept:
    """What became of a file.

    Attributes:
        suffix: one of `KINDS`.
        before: what it carried, by names of `GIVEN`, `COLOURS` and `DOTS`.
        written: suffix of the file that `predict` wrote.
        after: what that carries.
        page: what the page's file carries.
    """

    suffix: str
    before: frozenset[str]
    written: str
    after: frozenset[str]
    page: frozenset[str]


def dng(path: Path, light: NDArray[np.float64], orientation: int = 1) -> None:
    """Write a raw file: `light` `(H, W, 3)` in [0, 1], of which each pixel has one colour."""
    rows, columns = np.mgrid[: light.shape[0], : light.shape[1]]
    colour = rows % 2 + columns % 2  # red, green, green, blue
    mosaic = np.take_along_axis(light, colour[..., None], 2)[..., 0]
    matrix = [3.1339, -1.6169, -0.4906, -0.9788, 1.9161, 0.0335, 0.0719, -0.2290, 1.4052]
    signed = [int(n) for v in matrix for n in (round(v * 10000), 10000)]
    extra: list[Any] = [
        (50706, 1, 4, (1, 4, 0, 0)),
        (50708, 2, 0, "Model"),
        (271, 2, 0, "Maker"),
        (274, 3, 1, orientation),
        (33421, 3, 2, (2, 2)),
        (33422, 1, 4, (0, 1, 1, 2)),
        (50717, 4, 1, 65535),
        (50721, 10, 9, signed),
        (50728, 5, 3, (1, 1, 1, 1, 1, 1)),
        (50778, 3, 1, 21),
    ]
    samples = np.rint(mosaic * 65535).astype(np.uint16)
    tifffile.imwrite(path, samples, photometric=32803, extratags=extra, metadata=None)


def exiftool(*arguments: str | Path, check: bool = True) -> str:
    """What exiftool says."""
    command = ["exiftool", *map(str, arguments)]
    return subprocess.run(command, check=check, capture_output=True, text=True).stdout


def carried(path: Path) -> frozenset[str]:
    """What a file carries."""
    tags: Mapping[str, Any] = json.loads(exiftool("-j", "-G1", "-n", path))[0]
    found = {name for name, (_, read, value) in GIVEN.items() if tags.get(read) == value}
    if any(name.startswith("ICC_Profile:") for name in tags):
        found.add(COLOURS)
    if any(tags.get(f"{group}:XResolution") == 300 for group in ("JFIF", "IFD0")):
        found.add(DOTS)
    if round(tags.get("PNG-pHYs:PixelsPerUnitX", 0) * 0.0254) == 300:
        found.add(DOTS)
    return frozenset(found)


def make(folder: Path, suffix: str) -> Path:
    """A file of a kind, with all that it can carry."""
    path = folder / f"photo_{suffix.replace('.', '_')}.{suffix.rpartition('.')[2]}"
    ramp = np.stack(np.meshgrid(np.arange(64), np.arange(48)), -1) * 3 + 20
    pixels = np.concatenate([ramp, 200 - ramp[..., :1] // 2], -1).astype(np.uint8)
    pixels = pixels + np.random.default_rng(0).integers(0, 12, pixels.shape).astype(np.uint8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(pixels)
    deep = pixels.astype(np.uint16) * 257 + 3
    if suffix == "dng":
        dng(path, pixels / 255.0)
    elif suffix == "16.tif":
        extra: list[Any] = [(34675, 7, len(profile), profile, True)]
        dots: Any = {"resolution": (300, 300), "resolutionunit": "INCH"}
        tifffile.imwrite(path, deep, photometric="rgb", extratags=extra, metadata=None, **dots)
    elif suffix == "10.avif":
        path.write_bytes(imagecodecs.avif_encode(deep // 64, level=95, bitspersample=10))
    elif suffix == "16.png":
        _deep_png(path, deep, profile)
    elif suffix in ("heic", "jxl"):
        _register(suffix)
        image.save(path, quality=95, icc_profile=profile)
    elif suffix in ("gif", "bmp"):
        image.save(path, dpi=(300, 300))
    else:
        image.save(path, quality=95, dpi=(300, 300), icc_profile=profile)
    told = [f"-{name}={value}" for name, _, value in GIVEN.values()]
    told += ["-GPSLatitudeRef=N", "-EXIF:XResolution=300", "-EXIF:YResolution=300"]
    exiftool("-overwrite_original", "-m", *told, path, check=False)
    return path


def _register(suffix: str) -> None:
    """Let Pillow write a format of an extra."""
    if suffix == "heic":
        import pillow_heif

        pillow_heif.register_heif_opener()
    else:
        import pillow_jxl

        assert pillow_jxl is not None


def _deep_png(path: Path, deep: NDArray[np.uint16], profile: bytes) -> None:
    """A PNG file of 16 bits, which Pillow does not write in colour."""
    path.write_bytes(imagecodecs.png_encode(deep))
    exiftool("-overwrite_original", f"-ICC_Profile<={_saved(path, profile)}", path)
    exiftool("-overwrite_original", "-PNG-pHYs:PixelsPerUnitX=11811", path)
    exiftool("-overwrite_original", "-PNG-pHYs:PixelsPerUnitY=11811", path)


def _saved(path: Path, profile: bytes) -> Path:
    file = path.with_suffix(".icc")
    file.write_bytes(profile)
    return file


def restored(folder: Path, kinds: Sequence[str] = KINDS) -> list[Kept]:
    """Make files, restore them by `predict` and by the page, and look at what they carry.

    Args:
        folder: an empty folder.
        kinds: some of `KINDS`.
    """
    inputs = folder / "in"
    inputs.mkdir()
    files = {suffix: make(inputs, suffix) for suffix in kinds}
    for profile in inputs.glob("*.icc"):
        profile.unlink()
    usual = ["--config", "denoising", "--data.format", "same", "--trainer.accelerator", "cpu"]
    d2ir(["predict", str(inputs), *usual, "--progress", "none", "--output", str(folder / "out")])
    found = []
    for suffix, path in files.items():
        (written,) = (folder / "out" / "restored").glob(f"{path.stem}.*")
        own = folder / path.stem
        own.mkdir()
        job = Job(Order(path, "denoising", output=Output("same")), own, PageSettings())
        for _ in job.watch():
            pass
        page = job.downloads()[0]
        found.append(Kept(suffix, carried(path), written.suffix, carried(written), carried(page)))
    return found


def table(results: Sequence[Kept]) -> str:
    """A row for each kind of file."""
    names = [*GIVEN, COLOURS, DOTS]
    lines = [tables.head("photo", "written as", *names, "page")]
    for kept in results:
        cells = [_cell(name, kept) for name in names]
        bits, _, suffix = kept.suffix.rpartition(".")
        kind = f"`.{suffix}`" + (f", {bits} bits" if bits else "")
        same = "the same" if kept.page == kept.after else ", ".join(sorted(kept.page))
        lines.append(tables.row(kind, f"`{kept.written}`", *cells, same))
    return "\n".join(lines)


def _cell(name: str, kept: Kept) -> str:
    if name in kept.after:
        return "✓"
    return "lost" if name in kept.before else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or write it, with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write it into docs/folder.md")
    options = parser.parse_args(arguments)
    if shutil.which("exiftool") is None:
        print("exiftool is not installed: apt install libimage-exiftool-perl", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        made = table(restored(Path(folder)))
    print(made)
    if options.write:
        text = PAGE.read_text(encoding="utf-8")
        marks = r"(<!-- kept: made by benchmarks/kept.py -->\n).*?(<!-- end of kept -->)"
        whole = re.sub(marks, lambda found: f"{found[1]}{made}\n{found[2]}", text, flags=re.DOTALL)
        PAGE.write_text(whole, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

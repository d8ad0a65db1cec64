"""What a photo carries beside its pixels is in the file that is written, whoever reads it."""

import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import chunk, noise, png, srgb_profile, upright
from PIL import Image

from d2ir_pl.image_io import (
    SUFFIXES,
    Format,
    Output,
    Photo,
    format_of,
    profile_of,
    read_image,
    srgb_picture,
    write_photo,
)
from d2ir_pl.image_io import exif as exif_data
from d2ir_pl.image_io import xmp as xmp_packets
from d2ir_pl.results.folder import RESTORED

EXIFTOOL = shutil.which("exiftool")
needs_exiftool = pytest.mark.skipif(EXIFTOOL is None, reason="exiftool is not installed")

PROFILE = srgb_profile()
CARRIED = {
    "IFD0:Make": "Maker",
    "IFD0:Artist": "Ann",
    "ExifIFD:DateTimeOriginal": "2024:05:06 07:08:09",
    "ExifIFD:SerialNumber": "A123",
    "GPS:GPSLatitude": 48.2,
    "XMP-dc:Creator": "Ann",
    "XMP-xmp:Rating": 4,
    "IPTC:Caption-Abstract": "A cup",
}
"""What a photographer and a camera have written, by exiftool's names."""
PERSONAL = {"IFD0:Artist", "ExifIFD:SerialNumber", "GPS:GPSLatitude", "IPTC:Caption-Abstract"}
PERSONAL |= {"XMP-dc:Creator", "XMP-xmp:Rating"}


def exiftool(*arguments: str | Path) -> str:
    assert EXIFTOOL is not None
    command = [EXIFTOOL, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def tags(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(exiftool("-j", "-G1", "-n", path))[0]
    return found


@pytest.fixture(scope="module")
def camera_jpeg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG file that lies on its side, with all that a photo may carry."""
    folder = tmp_path_factory.mktemp("camera")
    path, thumbnail = folder / "photo.jpg", folder / "thumbnail.jpg"
    image = Image.fromarray(noise(40, 56, 3) // 4 + 96)
    image.save(path, quality=93, icc_profile=PROFILE, dpi=(300, 300))
    image.resize((16, 12)).save(thumbnail)
    told = [
        f"-{name.replace('IFD0', 'EXIF').replace('ExifIFD', 'EXIF')}={value}"
        for name, value in CARRIED.items()
    ]
    stale = ["-EXIF:Orientation#=6", "-XMP-tiff:Orientation#=6", "-ExifImageWidth=56"]
    stale += ["-ExifImageHeight=40", f"-ThumbnailImage<={thumbnail}", "-GPSLatitudeRef=N"]
    exiftool("-overwrite_original", *told, *stale, path)
    assert "IFD1:ThumbnailOffset" in tags(path)
    return path


def restored(path: Path) -> Photo:
    photo = read_image(path)
    return photo.restored(photo.pixels)


@needs_exiftool
@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "tiff", "same"])
@pytest.mark.parametrize("strip", [False, True], ids=["all", "stripped"])
def test_another_reader_finds_all_of_it(
    camera_jpeg: Path, tmp_path: Path, form: Format, strip: bool
) -> None:
    photo = restored(camera_jpeg)
    output = Output(form, strip_metadata=strip)
    path = tmp_path / f"written{output.suffix(photo)}"
    write_photo(path, photo, output)
    found = tags(path)
    lost = {"IPTC:Caption-Abstract"} if form == "webp" else set()  # which has no place for it
    expected = {k: v for k, v in CARRIED.items() if k not in lost | (PERSONAL if strip else set())}
    assert {k: v for k, v in found.items() if k in CARRIED} == expected
    assert not any("humbnail" in name for name in found)
    assert {v for k, v in found.items() if k.endswith(":Orientation")} <= {1}
    sizes = found["ExifIFD:ExifImageWidth"], found["ExifIFD:ExifImageHeight"]
    assert sizes == (40, 56)
    assert Image.open(path).info["icc_profile"] == PROFILE
    assert "Error" not in exiftool("-validate", "-error", "-a", path)


@needs_exiftool
@pytest.mark.parametrize("form", ["png", "webp", "tiff"])
def test_what_is_written_is_read_again(camera_jpeg: Path, tmp_path: Path, form: Format) -> None:
    photo = restored(camera_jpeg)
    first, second = (tmp_path / f"{n}{Output(form).suffix(photo)}" for n in (1, 2))
    write_photo(first, photo, Output(form))
    write_photo(second, restored(first), Output(form))
    kept = [
        {k: v for k, v in tags(p).items() if not k.startswith(("System", "Source"))}
        for p in (first, second)
    ]
    ignored = {k for k in kept[0] if "Offset" in k or "ByteCount" in k or k.startswith("RIFF")}
    assert {k: v for k, v in kept[0].items() if k not in ignored}.items() <= kept[1].items()


@needs_exiftool
def test_texts_and_resolution_of_a_png_file_are_kept(tmp_path: Path) -> None:
    texts = [chunk(b"tEXt", b"Title\0A cup"), chunk(b"tEXt", b"Author\0Ann")]
    after = chunk(b"iTXt", b"Description\0\0\0\0\0" + "Schöne Tasse ☕".encode())
    density = chunk(b"pHYs", struct.pack(">IIB", 11811, 11811, 1))
    path = tmp_path / "in.png"
    path.write_bytes(png(noise(8, 8, 3), 2, *texts, density, after=after))
    write_photo(tmp_path / "out.png", restored(path))
    found = tags(tmp_path / "out.png")
    assert (found["PNG:Title"], found["PNG:Author"]) == ("A cup", "Ann")
    assert found["PNG:Description"] == "Schöne Tasse ☕"
    assert found["PNG-pHYs:PixelsPerUnitX"] == 11811
    write_photo(tmp_path / "out.jpg", restored(path), Output("jpeg"))
    assert "Schöne Tasse ☕" in tags(tmp_path / "out.jpg")["File:Comment"]
    write_photo(tmp_path / "strip.png", restored(path), Output(strip_metadata=True))
    assert b"Ann" not in (tmp_path / "strip.png").read_bytes()


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_notes_of_the_maker_keep_their_place(order: str) -> None:
    """They point into the data by offsets that nobody else understands."""
    notes = noise(40).tobytes()
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    first = struct.pack(f"{order}HHHIHxxHHII", 2, 274, 3, 1, 6, 34665, 4, 1, 38)
    inner = struct.pack(f"{order}HHHIII", 1, 0x927C, 7, len(notes), 56, 0)
    block = head + first + struct.pack(f"{order}I", 0) + inner + notes
    kept = exif_data.upright(b"Exif\0\0" + block)
    assert kept is not None
    assert kept[56:96] == notes
    loaded = Image.Exif()
    loaded.load(b"Exif\0\0" + kept)
    assert loaded[274] == 1


@pytest.mark.parametrize("cut", range(0, 60, 3))
def test_damaged_data_are_left_out_or_kept_and_never_an_error(cut: int) -> None:
    data = Image.Exif()
    data[271], data[34665] = "Maker", {33434: 0.5, 40962: 7}
    block = data.tobytes()[: cut + 6]
    kept = exif_data.upright(block)
    assert kept is None or len(exif_data.sized(kept, 3, 4)) == len(kept)
    assert exif_data.upright(block + b"\xff" * 20) is None or cut > 6


def test_a_packet_is_changed_where_it_is_no_longer_true_alone() -> None:
    packet = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="8"
 exif:PixelXDimension='40' hdrgm:Version="1.0" GCamera:MotionPhoto="1" dc:title="8 cups"/>
<tiff:ImageWidth>40</tiff:ImageWidth><Container:Directory><a>x</a></Container:Directory>
<xmp:Thumbnails><rdf:Alt/></xmp:Thumbnails></x:xmpmeta>"""
    kept = xmp_packets.upright(packet)
    assert kept is not None
    kept = xmp_packets.sized(kept, 30, 20)
    assert b"".join(kept.split()) == b"".join(
        b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="1"
 exif:PixelXDimension='20' dc:title="8 cups"/>
<tiff:ImageWidth>20</tiff:ImageWidth></x:xmpmeta>""".split()
    )


GAMMA = chunk(b"gAMA", struct.pack(">I", 100000))
WIDE = chunk(b"cICP", bytes([9, 16, 0, 1]))


@pytest.mark.parametrize("extra", [GAMMA, WIDE], ids=["linear", "hdr"])
def test_what_the_numbers_of_a_png_file_mean_is_kept(tmp_path: Path, extra: bytes) -> None:
    path = tmp_path / "in.png"
    path.write_bytes(png(noise(8, 8, 3), 2, extra))
    write_photo(tmp_path / "out.png", restored(path))
    assert extra in (tmp_path / "out.png").read_bytes()


@pytest.mark.parametrize("form", ["jpeg", "tiff", "webp"])
def test_other_files_say_the_same_by_a_profile(tmp_path: Path, form: Format) -> None:
    """A colour management system sees the same light as the chunk says."""
    values = np.full((8, 8, 3), 60, np.uint8)
    path = tmp_path / "in.png"
    path.write_bytes(png(values, 2, GAMMA))
    out = tmp_path / f"out{Output(form).suffix(restored(path))}"
    write_photo(out, restored(path), Output(form, quality=100))
    light = 60 / 255
    encoded = 255 * (1.055 * light ** (1 / 2.4) - 0.055)
    seen = np.asarray(srgb_picture(read_image(out).pixels, read_image(out)))
    assert abs(seen.mean() - encoded) < 2
    assert (
        abs(np.asarray(srgb_picture(read_image(path).pixels, read_image(path))).mean() - encoded)
        < 2
    )


def test_profiles_made_of_numbers_agree_with_those_of_another_library(tmp_path: Path) -> None:
    """The sRGB primaries and curve, as chunks, are the identity to lcms's own sRGB."""
    chromaticities = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    data = png(
        noise(16, 16, 3),
        2,
        chunk(b"gAMA", struct.pack(">I", 50000)),
        chunk(b"cHRM", struct.pack(">8I", *chromaticities)),
    )
    (tmp_path / "in.png").write_bytes(data)
    photo = read_image(tmp_path / "in.png")
    assert profile_of(photo) is not None
    seen = np.asarray(srgb_picture(photo.pixels, photo), float)
    light = ((photo.pixels.numpy().transpose(1, 2, 0) + 1) / 2) ** 2.0
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(seen - 255 * expected).max() < 2.5


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [91, 96])
def test_a_jpeg_file_keeps_its_quality(tmp_path: Path, quality: int, subsampling: int) -> None:
    path, out = tmp_path / "in.jpg", tmp_path / "out.jpg"
    Image.fromarray(noise(32, 32, 3)).save(path, quality=quality, subsampling=subsampling)
    write_photo(out, restored(path), Output("same"))
    with Image.open(path) as before, Image.open(out) as after:
        assert after.format == "JPEG"
        assert after.quantization == before.quantization  # type: ignore[attr-defined]
        assert after.layer == before.layer  # type: ignore[attr-defined]


def test_a_poor_jpeg_file_is_not_spoiled_again(tmp_path: Path) -> None:
    path, out = tmp_path / "in.jpg", tmp_path / "out.jpg"
    Image.fromarray(noise(32, 32, 3)).save(path, quality=20)
    write_photo(out, restored(path), Output("same"))
    with Image.open(out) as after:
        assert max(after.quantization[0]) <= 25  # type: ignore[attr-defined]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("form", ["png", "tiff", "same"])
def test_lossless_files_hold_the_very_samples(
    tmp_path: Path, channels: int, dtype: type, form: Format
) -> None:
    path = tmp_path / "in.png"
    path.write_bytes(
        png(noise(700, 130, channels, dtype=dtype), {1: 0, 2: 4, 3: 2, 4: 6}[channels])
    )
    photo = restored(path)
    out = tmp_path / f"out{Output(form).suffix(photo)}"
    write_photo(out, photo, Output(form))
    again = read_image(out)
    assert torch.equal(again.pixels, photo.pixels)
    assert (again.bit_depth, again.grey) == (photo.bit_depth, photo.grey)
    assert (again.alpha is None) == (photo.alpha is None)
    assert photo.alpha is None or again.alpha is None or torch.equal(again.alpha, photo.alpha)


def test_transparency_is_white_in_a_jpeg_file(tmp_path: Path) -> None:
    photo = Photo(torch.full((3, 16, 16), -1.0), alpha=torch.zeros(1, 16, 16))
    write_photo(tmp_path / "out.jpg", photo, Output("jpeg"))
    assert read_image(tmp_path / "out.jpg").pixels.min() > 0.99
    assert Output("same").kind(photo) == "png"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_same_file_again_is_upright(tmp_path: Path, orientation: int) -> None:
    values = np.zeros((16, 24), np.uint8)
    values[:5, :7] = 255
    data = Image.Exif()
    data[274] = orientation
    data[271] = "Maker"
    Image.fromarray(values).save(tmp_path / "in.tif", exif=data)
    write_photo(tmp_path / "out.tif", restored(tmp_path / "in.tif"), Output("same"))
    with Image.open(tmp_path / "out.tif") as image:
        assert image.getexif()[274] == 1
        np.testing.assert_array_equal(np.asarray(image), upright(values, orientation))


def test_names_of_formats() -> None:
    assert set(RESTORED) == set(SUFFIXES.values())
    assert [format_of(Path(f"a{s}")) for s in (".JPEG", ".tiff", ".heic")] == ["jpeg", "tiff", None]
    with pytest.raises(ValueError, match="format gif is unknown: use one of same, png"):
        Output("gif")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="quality 101 must be"):
        Output(quality=101)

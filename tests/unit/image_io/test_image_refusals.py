"""Files that are no images, or damaged, too large or hostile, are refused with a reason."""

import errno
import io
import os
import resource
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from image_files import chunk, cmyk_profile, encoded, exif, noise, png
from PIL import Image, ImageFile

from d2ir_pl.image_io import ImageError, image_size, read_image


def refuse(path: Path, reason: str | None = None, **options: Any) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(path, **options)
    message = str(caught.value)
    assert path.name in message
    assert ";" in message, "no remedy"
    assert "\n" not in message


def test_files_that_are_no_images(tmp_path: Path) -> None:
    empty, text = tmp_path / "empty.png", tmp_path / "text.png"
    empty.touch()
    text.write_text("Not an image.\n" * 50)
    for path, reason in (
        (empty, "is empty"),
        (text, "is not a PNG"),
        (tmp_path, "not a regular file"),
        (tmp_path / "missing.png", "No such file"),
        (text / "below.png", "Not a directory"),
    ):
        refuse(path, reason)
        with pytest.raises(ImageError, match=reason):
            image_size(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    refuse(tmp_path / "pipe.png", "not a regular file")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(png(noise(2, 2, 3), 2))

    def denied(*args: Any, **kwargs: Any) -> None:  # chmod does not stop a privileged user
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "open", denied)
    refuse(path, "Permission denied")


def sample_files() -> dict[str, bytes]:
    """One file of each of the formats and layouts whose decoders differ."""
    image = Image.fromarray(noise(24, 32, 3))
    deep = noise(24, 32, 3, dtype=np.uint16)
    files = {
        "rgb.png": encoded(image, "PNG"),
        "deep.png": png(deep, 2),
        "palette.png": encoded(image.quantize(32), "PNG", transparency=3),
        "photo.jpg": encoded(image, "JPEG", exif=exif(6)),
        "progressive.jpg": encoded(image, "JPEG", progressive=True),
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG", icc_profile=cmyk_profile()),
        "raw.tif": encoded(image, "TIFF"),
        "palette.tif": encoded(image.quantize(32), "TIFF"),
        "jpeg.tif": encoded(image, "TIFF", compression="jpeg"),
        "fax.tif": encoded(image.convert("1"), "TIFF", compression="group4"),
        "photo.gif": encoded(image, "GIF"),
        "photo.webp": encoded(image, "WEBP"),
        "photo.bmp": encoded(image, "BMP"),
        "photo.ppm": encoded(image, "PPM"),
    }
    for compression in (None, "lzw", "deflate", "zstd"):
        stream = io.BytesIO()
        tifffile.imwrite(stream, deep, photometric="rgb", compression=compression, rowsperstrip=8)
        files[f"{compression}.tif"] = stream.getvalue()
    return files


@pytest.mark.parametrize("name", list(sample_files()))
def test_truncated_files_are_refused(tmp_path: Path, name: str) -> None:
    content = sample_files()[name]
    path = tmp_path / name
    path.write_bytes(content)
    whole = read_image(path)
    assert whole.pixels.isfinite().all()
    for kept in (0.05, 0.3, 0.5, 0.8, 0.9):
        path.write_bytes(content[: int(kept * len(content))])
        refuse(path)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("name", list(sample_files()))
def test_size_is_checked_before_decoding(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_bytes(sample_files()[name])
    assert read_image(path, max_pixels=24 * 32).pixels.shape[1:] == image_size(path)

    def decoded(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    monkeypatch.setattr("imagecodecs.png_decode", decoded)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", decoded)
    refuse(path, "24 x 32 = 768 .*limit of 767", max_pixels=767)
    assert sorted(image_size(path)) == [24, 32]


def test_bomb_is_refused_by_default_and_pillow_keeps_its_own_limit(tmp_path: Path) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    content = (
        chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    refuse(path, "10000000000 pixels .*limit of")
    assert image_size(path) == (100_000, 100_000)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_a_photo_of_100_megapixels_is_within_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("1", (12_000, 8_400)).save(path)
    with pytest.raises(ImageError, match="over the limit"):
        read_image(path, max_pixels=100_000_000)
    assert image_size(path) == (8_400, 12_000)


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Overwrite a few bytes, more often near the start; now and then remove or repeat a part."""
    result = bytearray(content)
    for _ in range(int(rng.integers(1, 12))):
        place = int(len(result) * rng.random() ** 3)
        result[place] = int(rng.choice([0, 1, 127, 128, 255, int(rng.integers(256))]))
    if rng.random() < 0.3:
        first, last = sorted(rng.integers(0, len(result), 2).tolist())
        result[first:last] = b"" if rng.random() < 0.5 else result[first:last] * 2
    return bytes(result)


def test_hostile_bytes_are_read_or_refused_in_silence(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "hostile"
    outcomes = {"read": 0, "refused": 0}
    for content in sample_files().values():
        for _ in range(30):
            path.write_bytes(mutated(content, rng))
            try:
                photo = read_image(path, max_pixels=100_000)
            except ImageError:
                outcomes["refused"] += 1
                continue
            outcomes["read"] += 1
            assert photo.pixels.shape == (3, *image_size(path))
            assert photo.pixels.abs().max() <= 1
    assert min(outcomes.values()) > 20
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert not recwarn.list


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_damaged_files_leave_nothing_in_memory(tmp_path: Path) -> None:
    def pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    path = tmp_path / "damaged.png"
    Image.fromarray(noise(36, 48, 3)).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    for i in range(1500):
        with pytest.raises(ImageError):
            read_image(path)
        if i == 500:
            before = pages()
    assert (pages() - before) * resource.getpagesize() < 2e6


def test_a_heic_photo_of_another_size_than_its_header_says_is_refused(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "a.heic"
    heif.from_pillow(Image.fromarray(noise(64, 64, 3))).save(path)
    whole = bytearray(path.read_bytes())
    said = whole.index(b"ispe") + 8
    assert whole[said : said + 8] == struct.pack(">II", 64, 64)
    for width, height in ((65600, 64), (48, 64), (64, 32)):
        whole[said : said + 8] = struct.pack(">II", width, height)
        path.write_bytes(whole)
        with pytest.raises(ImageError, match=r"header says|damaged"):
            read_image(path)


FOREIGN = [
    (b"<!DOCTYPE html><p>", "is a web page and no photo: download the photo itself"),
    (b"\n <html lang=en>", "is a web page and no photo: download the photo itself"),
    (b"\0\0\0\x14ftypqt  ", "is a film and no photo"),
    (b"\0\0\0\x18ftypmp42", "is a film and no photo"),
    (b"\x1aE\xdf\xa3", "is a film and no photo"),
    (b"v/1\x01\x02", "is an HDR image, .* export it as a TIFF"),
    (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n", "is an HDR image, .* export it as a TIFF"),
    (b"8BPS\0\x01", "is a document of a photo editor"),
    (b"%PDF-1.7\n", "is a document and no photo"),
    (b"<?xml version='1.0'?>\n<svg xmlns='x'>", r"is a drawing of lines \(SVG\)"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "is a JPEG 2000 image"),
    (b"PK\x03\x04", "is a packed archive and no photo"),
    (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    (b"Milch, K\xc3\xa4se\n", "is not a PNG, .* image but a text; give the photo itself"),
    (bytes(8), "holds nothing but zeros, as a copy does that broke off"),
    (b"\x01\x02\x03\x04", "is not a PNG, .* image; convert it to one of these"),
]


@pytest.mark.parametrize(("start", "said"), FOREIGN)
@pytest.mark.parametrize("suffix", ["jpg", "heic", "png", "dng"])
def test_what_was_saved_as_a_photo_is_called_what_it_is(
    start: bytes, said: str, suffix: str, tmp_path: Path
) -> None:
    rest = b"" if "text" in said else bytes(2000)
    (tmp_path / f"photo.{suffix}").write_bytes(start + rest)
    for look in (read_image, image_size):
        with pytest.raises(ImageError, match=rf"photo\.{suffix} {said}"):
            look(tmp_path / f"photo.{suffix}")

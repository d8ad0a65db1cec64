"""Reading image files: agreement with numpy formulas, of 8 and 16 bits, with several frames."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from image_files import (
    ORIENTATION_TAG,
    ORIENTATIONS,
    alpha_levels,
    chunk,
    exif,
    levels,
    noise,
    png,
    unit,
    upright,
)
from PIL import Image

from d2ir_pl.image_io import EXTENSIONS, image_size, read_image, write_png

# ---- Eight bits ----


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm", "tif", "webp"])
def test_rgb_is_read_exactly(tmp_path: Path, suffix: str) -> None:
    samples = noise(5, 7, 3)
    path = tmp_path / f"photo.{suffix}"
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(samples).save(path, **options)
    photo = read_image(path)
    np.testing.assert_array_equal(levels(photo), samples)
    np.testing.assert_allclose(unit(photo), samples / 255.0, atol=1e-7)
    assert photo.pixels.dtype == torch.float32
    assert (photo.bit_depth, photo.grey, photo.alpha, photo.notes) == (8, False, None, ())
    assert (float(photo.pixels.min()), float(photo.pixels.max())) == (-1, 1)


@pytest.mark.parametrize("suffix", ["png", "bmp", "pgm", "tif"])
def test_grey_is_read_exactly(tmp_path: Path, suffix: str) -> None:
    samples = noise(5, 7)
    path = tmp_path / f"grey.{suffix}"
    Image.fromarray(samples).save(path)
    photo = read_image(path)
    np.testing.assert_array_equal(levels(photo), np.repeat(samples[..., None], 3, axis=2))
    assert photo.grey
    assert photo.alpha is None


@pytest.mark.parametrize("suffix", ["png", "bmp", "pbm", "tif"])
def test_one_bit_becomes_black_and_white(tmp_path: Path, suffix: str) -> None:
    bits = noise(9, 11) > 127
    path = tmp_path / f"bits.{suffix}"
    Image.fromarray(bits).save(path)
    photo = read_image(path)
    np.testing.assert_array_equal(levels(photo)[..., 0], 255 * bits)
    assert photo.grey


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("LA", "png"), ("LA", "tif"), ("RGBA", "png"), ("RGBA", "tif"), ("RGBA", "webp")],
)
def test_alpha_is_kept(tmp_path: Path, mode: str, suffix: str) -> None:
    samples = noise(5, 7, len(mode))
    path = tmp_path / f"alpha.{suffix}"
    options: dict[str, Any] = {"lossless": True, "exact": True} if suffix == "webp" else {}
    Image.fromarray(samples, mode).save(path, **options)
    photo = read_image(path)
    np.testing.assert_array_equal(alpha_levels(photo), samples[..., -1])
    np.testing.assert_array_equal(
        levels(photo), np.broadcast_to(samples[..., :-1], levels(photo).shape)
    )
    assert photo.grey == (mode == "LA")


def test_palette_is_looked_up(tmp_path: Path) -> None:
    palette, indices = noise(256, 3, seed=1), noise(6, 9)
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())
    for suffix in ("png", "gif", "tif", "bmp"):
        path = tmp_path / f"palette.{suffix}"
        image.save(path)
        photo = read_image(path)
        np.testing.assert_array_equal(levels(photo), palette[indices])
        assert photo.alpha is None
        assert not photo.grey


def test_palette_transparency_becomes_alpha(tmp_path: Path) -> None:
    palette, opacity, indices = noise(256, 3, seed=1), noise(256, seed=2), noise(6, 9)
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())
    image.save(tmp_path / "several.png", transparency=opacity.tobytes())
    image.save(tmp_path / "one.gif", transparency=int(indices[2, 3]))
    several, one = read_image(tmp_path / "several.png"), read_image(tmp_path / "one.gif")
    np.testing.assert_array_equal(levels(several), palette[indices])
    np.testing.assert_array_equal(alpha_levels(several), opacity[indices])
    np.testing.assert_array_equal(alpha_levels(one), 255 * (indices != indices[2, 3]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_transparent_colour_becomes_alpha(tmp_path: Path, dtype: type) -> None:
    samples, white = noise(5, 7, 3, dtype=dtype), int(np.iinfo(dtype).max)
    transparent = struct.pack(">3H", *samples[1, 2].tolist())
    path = tmp_path / "key.png"
    path.write_bytes(png(samples, 2, chunk(b"tRNS", transparent)))
    photo = read_image(path)
    np.testing.assert_array_equal(levels(photo, white), samples)
    expected = white * (samples != samples[1, 2]).any(-1)
    np.testing.assert_array_equal(alpha_levels(photo, white), expected)


def test_jpeg_is_read_as_pillow_decodes_it(tmp_path: Path) -> None:
    for mode, grey in (("RGB", False), ("L", True)):
        path = tmp_path / f"{mode}.jpg"
        Image.fromarray(noise(20, 30, 3)).convert(mode).save(path)
        photo = read_image(path)
        expected = np.asarray(Image.open(path).convert("RGB"))
        np.testing.assert_array_equal(levels(photo), expected)
        assert photo.grey == grey


def test_the_contents_and_not_the_suffix_decide(tmp_path: Path) -> None:
    samples = noise(3, 4, 3)
    path = tmp_path / "photo.jpg"
    path.write_bytes(png(samples, 2))
    np.testing.assert_array_equal(levels(read_image(path)), samples)
    assert {
        ".png",
        ".jpg",
        ".jpeg",
        ".tif",
        ".tiff",
        ".bmp",
        ".gif",
        ".webp",
        ".avif",
    } <= EXTENSIONS


@pytest.mark.parametrize(
    ("suffix", "options", "codec"),
    [
        ("webp", {"quality": 80}, "WebP"),
        ("webp", {"lossless": True}, ""),
        ("webp", {"quality": 80, "exif": b"Exif\0\0"}, "WebP"),
        ("avif", {"quality": 80}, "AVIF"),
        ("png", {}, ""),
        ("jpg", {"quality": 80}, ""),
        ("jpg", {"quality": 80, "keep_rgb": True}, "RGB JPEG"),
    ],
)
def test_a_lossy_format_without_tables_is_named(
    tmp_path: Path, suffix: str, options: dict[str, Any], codec: str
) -> None:
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(noise(24, 32, 3)).save(path, **options)
    photo = read_image(path)
    assert photo.codec == codec
    assert image_size(path) == (24, 32)
    assert photo.restored(photo.pixels).codec == ""


# ---- Sixteen bits ----


PNG_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_survive_a_round_trip(tmp_path: Path, channels: int, suffix: str) -> None:
    samples = noise(64, 65, channels, dtype=np.uint16)
    source, target = tmp_path / f"deep.{suffix}", tmp_path / "copy.png"
    if suffix == "png":
        source.write_bytes(png(samples, PNG_COLOUR_TYPE[channels]))
    else:
        photometric = "rgb" if channels >= 3 else "minisblack"
        extra = None if channels % 2 else ["unassalpha"]
        planar = "contig" if channels > 1 else None
        tifffile.imwrite(
            source, samples, photometric=photometric, extrasamples=extra, planarconfig=planar
        )
    photo = read_image(source)
    assert photo.bit_depth == 16
    assert photo.grey == (channels <= 2)
    colours = samples[..., : 1 if channels <= 2 else 3]
    np.testing.assert_array_equal(levels(photo, 65535), np.broadcast_to(colours, (64, 65, 3)))
    if channels % 2 == 0:
        np.testing.assert_array_equal(alpha_levels(photo, 65535), samples[..., -1])
    write_png(target, photo.pixels, alpha=photo.alpha, bit_depth=16, grey=photo.grey)
    again = read_image(target)
    assert torch.equal(again.pixels, photo.pixels)
    assert (again.alpha is None) == (photo.alpha is None)
    if again.alpha is not None and photo.alpha is not None:
        assert torch.equal(again.alpha, photo.alpha)
    assert (again.bit_depth, again.grey) == (16, photo.grey)


def test_every_sixteen_bit_value_survives(tmp_path: Path) -> None:
    samples = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    source, target = tmp_path / "ramp.tif", tmp_path / "ramp.png"
    tifffile.imwrite(source, samples)
    write_png(target, read_image(source).pixels, bit_depth=16, grey=True)
    np.testing.assert_array_equal(np.asarray(Image.open(target)), samples)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("white", [300, 1023, 65535])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bit_pnm_is_read_in_full(
    tmp_path: Path, plain: bool, white: int, channels: int
) -> None:
    samples = noise(5, 7, channels, dtype=np.uint16).astype(int) % (white + 1)
    number = {(True, 1): 2, (True, 3): 3, (False, 1): 5, (False, 3): 6}[plain, channels]
    body = b" ".join(b"%d" % v for v in samples.flat) if plain else samples.astype(">u2").tobytes()
    path = tmp_path / "deep.ppm"
    path.write_bytes(b"P%d\n# 65 bytes\n7 5\n%d\n" % (number, white) + body)
    assert image_size(path) == (5, 7)
    photo = read_image(path)
    assert photo.bit_depth == 16
    np.testing.assert_array_equal(levels(photo, white), np.broadcast_to(samples, (5, 7, 3)))


# ---- Several frames, orientation, shape ----


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_first_frame_of_an_animation(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(np.full((6, 8, 3), 60 * i, np.uint8)) for i in range(1, 4)]
    path = tmp_path / f"animated.{suffix}"
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    photo = read_image(path)
    assert (levels(photo) == 60).all()
    assert photo.notes == ("animated: the first of 3 frames is used",)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_first_page_of_a_tiff(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "pages.tif"
    pages = [noise(5, 7 + i, 3, dtype=dtype, seed=i) for i in range(3)]
    with tifffile.TiffWriter(path) as writer:
        for page in pages:
            writer.write(page, photometric="rgb")
    photo = read_image(path)
    np.testing.assert_array_equal(levels(photo, int(np.iinfo(dtype).max)), pages[0])
    assert photo.notes == ("multi-page: the first of 3 pages is used",)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("kind", ["jpg", "png", "late png", "16-bit png", "webp", "tif", "palette"])
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int, kind: str) -> None:
    suffix = {"late png": "png", "16-bit png": "png", "palette": "tif"}.get(kind, kind)
    path = tmp_path / f"turned.{suffix}"
    dtype = np.uint16 if kind == "16-bit png" else np.uint8
    samples = noise(16, 24, 3, dtype=dtype)
    image = Image.fromarray(samples.astype(np.uint8))
    turn = chunk(b"eXIf", exif(orientation).removeprefix(b"Exif\0\0"))
    if kind == "late png":
        path.write_bytes(png(samples, 2, after=turn))
    elif suffix == "png":
        path.write_bytes(png(samples, 2, turn))
    elif kind == "tif":
        tags = [(ORIENTATION_TAG, "H", 1, orientation, True)]
        tifffile.imwrite(path, samples, photometric="rgb", extratags=tags)
    elif kind == "palette":
        image = image.quantize(16)
        image.save(path, tiffinfo={ORIENTATION_TAG: orientation})
    else:
        options: dict[str, Any] = {"lossless": True} if kind == "webp" else {"quality": 95}
        image.save(path, exif=exif(orientation), **options)
    if kind == "jpg":  # the decoded values; loading a JPEG does not turn it
        samples = np.asarray(Image.open(path))
    elif kind == "palette":
        samples = np.asarray(image.convert("RGB"))
    photo = read_image(path)
    expected = upright(samples, orientation)
    np.testing.assert_array_equal(levels(photo, int(np.iinfo(dtype).max)), expected)
    assert image_size(path) == expected.shape[:2]


def test_damaged_exif_does_not_cost_the_photo(tmp_path: Path) -> None:
    samples = noise(5, 7, 3)
    path = tmp_path / "exif.png"
    path.write_bytes(png(samples, 2, chunk(b"eXIf", b"II*\0\xff\xff\xff\xff rubbish")))
    np.testing.assert_array_equal(levels(read_image(path)), samples)
    assert image_size(path) == (5, 7)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "bmp", "gif", "webp", "ppm"])
def test_thin_images(tmp_path: Path, size: tuple[int, int], suffix: str) -> None:
    path = tmp_path / f"thin.{suffix}"
    Image.fromarray(np.full((*size, 3), 255, np.uint8)).save(path)
    photo = read_image(path)
    assert photo.pixels.shape == (3, *size)
    assert image_size(path) == size
    assert (levels(photo) >= 254).all()
    copy = tmp_path / "copy.png"
    write_png(copy, photo.pixels)
    assert torch.equal(read_image(copy).pixels, photo.pixels)


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_the_palette_of_a_photo_is_told_and_that_of_a_drawing_is_not(
    tmp_path: Path, suffix: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for colours in (4, 64):
        Image.fromarray(noise).quantize(colours).save(tmp_path / f"{colours}.{suffix}")
    assert read_image(tmp_path / f"4.{suffix}").notes == ()
    (note,) = read_image(tmp_path / f"64.{suffix}").notes
    assert note == "a palette of 64 colours: their dither passes for noise"

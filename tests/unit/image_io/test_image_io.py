"""Images in and out: exact round trips, agreement with numpy formulas, refusals, hostile bytes."""

import errno
import io
import os
import resource
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile

from d2ir_pl.image_io import (
    EXTENSIONS,
    ImageError,
    Photo,
    as_picture,
    eight_bits,
    image_size,
    read_image,
    write_png,
)

ORIENTATIONS = range(1, 9)
ORIENTATION_TAG = 274


def noise(*shape: int, dtype: Any = np.uint8, seed: int = 0) -> NDArray[Any]:
    """Uniform integers over the whole range of `dtype`, both ends included."""
    top = int(np.iinfo(dtype).max)
    values = np.random.default_rng(seed).integers(0, top + 1, shape).astype(dtype)
    values.flat[0] = 0
    values.flat[-1] = top
    return values


def unit(photo: Photo) -> NDArray[Any]:
    """Pixels as (H, W, 3) float64 in [0, 1]."""
    return (photo.pixels.double().permute(1, 2, 0).numpy() + 1) / 2


def levels(photo: Photo, white: int = 255) -> NDArray[Any]:
    """Pixels as (H, W, 3) integers; fails where a pixel is not one of the file's values."""
    scaled = unit(photo) * white
    np.testing.assert_allclose(scaled, np.rint(scaled), atol=0.01)
    whole: NDArray[Any] = np.rint(scaled).astype(np.int64)
    return whole


def alpha_levels(photo: Photo, white: int = 255) -> NDArray[Any]:
    assert photo.alpha is not None
    whole: NDArray[Any] = np.rint(photo.alpha[0].double().numpy() * white).astype(np.int64)
    return whole


def upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The EXIF standard's table, row by row: where the stored row 0 and column 0 are seen."""
    turned: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
        1: lambda a: a,
        2: lambda a: np.fliplr(a),
        3: lambda a: np.rot90(a, 2),
        4: lambda a: np.flipud(a),
        5: lambda a: np.swapaxes(a, 0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
        8: lambda a: np.rot90(a, 1),
    }
    return turned[orientation](array)


def exif(orientation: int) -> bytes:
    data = Image.Exif()
    data[ORIENTATION_TAG] = orientation
    return data.tobytes()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples: NDArray[Any], colour_type: int, *before: bytes, after: bytes = b"") -> bytes:
    """A PNG file made by hand, with extra chunks before and after the pixels."""
    height, width = samples.shape[:2]
    bits = 8 * samples.dtype.itemsize
    big_endian = samples.astype(samples.dtype.newbyteorder(">"))
    rows = b"".join(b"\0" + row.tobytes() for row in big_endian)
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    parts = (chunk(b"IHDR", header), *before, pixels, after, chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def cmyk_profile() -> bytes:
    """An ICC profile in which an ink mixture is the neutral of CIE L* = 100 (1 - K)."""
    table = bytes([255, 128, 128, 0, 128, 128]) * 8  # K, the last ink, varies fastest
    identity = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * v for v in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + identity * 4 + table + identity * 3
    tags = struct.pack(">I4sII", 1, b"A2B0", 144, len(lut))
    white = struct.pack(">3i", 63190, 65536, 54061)
    start = struct.pack(
        ">I4sI4s4s4s", 144 + len(lut), b"none", 0x02400000, b"prtr", b"CMYK", b"Lab "
    )
    head = start + bytes(12) + b"acsp" + bytes(28) + white
    return head + bytes(128 - len(head)) + tags + lut


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


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
    assert {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp"} <= EXTENSIONS


# ---- CMYK ----


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_goes_through_its_profile(tmp_path: Path, suffix: str) -> None:
    inks = np.full((32, 256, 4), 90, np.uint8)
    inks[..., 3] = np.arange(256)
    path = tmp_path / f"inks.{suffix}"
    options: dict[str, Any] = {"quality": 100} if suffix == "jpg" else {}
    Image.fromarray(inks, "CMYK").save(path, icc_profile=cmyk_profile(), **options)
    photo = read_image(path)
    lightness = 100 * (1 - inks[..., 3:] / 255.0)
    luminance = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness * 27 / 24389)
    gamma = 1.055 * np.maximum(luminance, 0.0031308) ** (1 / 2.4) - 0.055
    expected = 255 * np.where(luminance > 0.0031308, gamma, 12.92 * luminance)
    assert np.abs(levels(photo) - expected).max() <= (5 if suffix == "jpg" else 2)
    assert photo.icc_profile is None
    assert "ICC" in photo.notes[0]


@pytest.mark.parametrize("profile", [None, b"no profile at all"])
def test_cmyk_without_usable_profile_is_the_product_of_its_inks(
    tmp_path: Path, profile: bytes | None
) -> None:
    inks = noise(8, 8, 4)
    path = tmp_path / "inks.tif"
    Image.fromarray(inks, "CMYK").save(path, icc_profile=profile)
    photo = read_image(path)
    transmitted = 1 - inks.astype(np.float64) / 255
    expected = 255 * transmitted[..., :3] * transmitted[..., 3:]
    assert np.abs(levels(photo) - expected).max() <= 1
    assert "approximately" in photo.notes[0]
    assert photo.icc_profile is None


def test_cmyk_jpeg_keeps_paper_white_and_ink_black(tmp_path: Path) -> None:
    inks = np.zeros((16, 32, 4), np.uint8)
    inks[:, 16:, 3] = 255
    path = tmp_path / "inks.jpg"
    Image.fromarray(inks, "CMYK").save(path, quality=95)
    values = levels(read_image(path))
    assert values[:, :16].min() > 250
    assert values[:, 16:].max() < 5


def test_sixteen_bit_cmyk_tiff_is_converted(tmp_path: Path) -> None:
    inks = noise(8, 8, 4, dtype=np.uint16)
    path = tmp_path / "inks.tif"
    tifffile.imwrite(path, inks, photometric="separated")
    photo = read_image(path)
    transmitted = 1 - inks.astype(np.float64) / 65535
    assert np.abs(levels(photo) - 255 * transmitted[..., :3] * transmitted[..., 3:]).max() <= 1.5
    assert photo.bit_depth == 8


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
def test_sixteen_bit_pnm_is_refused_rather_than_reduced(tmp_path: Path, plain: bool) -> None:
    path = tmp_path / "deep.ppm"
    body = b"1 2 3\n" if plain else bytes(6)
    path.write_bytes(b"P%d\n# 65 bytes\n1 1\n65535\n" % (3 if plain else 6) + body)
    with pytest.raises(ImageError, match=r"deep\.ppm .*16-bit"):
        read_image(path)


# ---- TIFF ----


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "layout",
    [
        {"planarconfig": "separate"},
        {"compression": "lzw"},
        {"compression": "deflate", "predictor": True},
        {"compression": "zstd", "tile": (16, 16)},
        {"byteorder": ">"},
        {"byteorder": ">", "compression": "packbits", "rowsperstrip": 3},
        {"bigtiff": True},
    ],
    ids=str,
)
def test_tiff_layouts_agree(tmp_path: Path, dtype: type, layout: dict[str, Any]) -> None:
    samples = noise(21, 34, 3, dtype=dtype)
    path = tmp_path / "layout.tif"
    stored = np.moveaxis(samples, -1, 0) if "planarconfig" in layout else samples
    tifffile.imwrite(path, stored, photometric="rgb", **layout)
    photo = read_image(path)
    np.testing.assert_array_equal(levels(photo, int(np.iinfo(dtype).max)), samples)
    assert image_size(path) == (21, 34)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_miniswhite_is_inverted(tmp_path: Path, dtype: type) -> None:
    samples, white = noise(5, 7, dtype=dtype), int(np.iinfo(dtype).max)
    path = tmp_path / "negative.tif"
    tifffile.imwrite(path, samples, photometric="miniswhite")
    expected = white - samples.astype(np.int64)
    np.testing.assert_array_equal(levels(read_image(path), white)[..., 0], expected)


def test_fax_compressed_tiff(tmp_path: Path) -> None:
    bits = noise(40, 50) > 127
    path = tmp_path / "fax.tif"
    Image.fromarray(bits).save(path, compression="group4")
    np.testing.assert_array_equal(levels(read_image(path))[..., 0], 255 * bits)


def test_jpeg_compressed_tiff(tmp_path: Path) -> None:
    smooth = np.tile(np.arange(64, dtype=np.uint8) * 3, (64, 1))[..., None].repeat(3, -1)
    path = tmp_path / "jpeg.tif"
    Image.fromarray(smooth).save(path, compression="jpeg", quality=95)
    assert np.abs(levels(read_image(path)) - smooth).max() <= 4


def test_twelve_bit_tiff_is_scaled_to_its_own_white(tmp_path: Path) -> None:
    samples = noise(6, 8, dtype=np.uint16) >> 4
    path = tmp_path / "twelve.tif"
    tifffile.imwrite(path, samples, bitspersample=12)
    photo = read_image(path)
    np.testing.assert_array_equal(levels(photo, 4095)[..., 0], samples)
    assert photo.bit_depth == 16


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_tiff_is_read_as_it_is(tmp_path: Path, dtype: type) -> None:
    samples: NDArray[Any] = np.random.default_rng(0).random((5, 7, 3)).astype(dtype)
    path = tmp_path / "float.tif"
    tifffile.imwrite(path, samples, photometric="rgb")
    photo = read_image(path)
    np.testing.assert_allclose(unit(photo), samples.astype(np.float64), atol=1e-7)
    assert photo.bit_depth == 16
    assert "floating point" in photo.notes[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -0.5, 1.5])
def test_float_tiff_outside_the_unit_interval_is_refused(tmp_path: Path, bad: float) -> None:
    samples = np.full((5, 7, 3), 0.5, np.float32)
    samples[2, 3, 1] = bad
    path = tmp_path / "float.tif"
    tifffile.imwrite(path, samples, photometric="rgb")
    with pytest.raises(ImageError, match=r"float\.tif .*scale them to \[0, 1\]"):
        read_image(path)


@pytest.mark.parametrize("dtype", [np.uint32, np.int32, np.int16, np.int8, np.complex64])
def test_other_sample_types_are_refused_with_the_remedy(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "wide.tif"
    tifffile.imwrite(path, np.ones((5, 7), dtype))
    with pytest.raises(ImageError, match=r"wide\.tif .*convert it to 8 or 16 bits"):
        read_image(path)


def test_other_colour_spaces_and_channel_counts_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "lab.tif", noise(5, 7, 3), photometric="cielab")
    tifffile.imwrite(tmp_path / "bands.tif", noise(5, 7, 6), planarconfig="contig")
    tifffile.imwrite(tmp_path / "volume.tif", noise(16, 16, 16), volumetric=True, tile=(16,) * 3)
    with pytest.raises(ImageError, match=r"lab\.tif .*convert it to RGB"):
        read_image(tmp_path / "lab.tif")
    with pytest.raises(ImageError, match=r"bands\.tif .*flatten"):
        read_image(tmp_path / "bands.tif")
    with pytest.raises(ImageError, match=r"volume\.tif "):
        read_image(tmp_path / "volume.tif")


def test_premultiplied_alpha_is_divided_out(tmp_path: Path) -> None:
    colour, opacity = np.full((4, 4, 3), 40000.0), np.linspace(0, 1, 16).reshape(4, 4, 1)
    stored = np.rint(np.concatenate([colour * opacity, 65535 * opacity], -1)).astype(np.uint16)
    path = tmp_path / "premultiplied.tif"
    tifffile.imwrite(path, stored, photometric="rgb", extrasamples=["assocalpha"])
    photo = read_image(path)
    visible = opacity[..., 0] > 0
    np.testing.assert_allclose(65535 * unit(photo)[visible], 40000, atol=20)
    np.testing.assert_array_equal(alpha_levels(photo, 65535), stored[..., -1])


def test_undeclared_extra_channel_is_left_out(tmp_path: Path) -> None:
    samples = noise(5, 7, 4)
    path = tmp_path / "extra.tif"
    tifffile.imwrite(path, samples, photometric="rgb", extrasamples=["unspecified"])
    photo = read_image(path)
    np.testing.assert_array_equal(levels(photo), samples[..., :3])
    assert photo.alpha is None
    assert "left out" in photo.notes[0]


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


# ---- Refusals ----


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


# ---- Writing ----


def ramp(height: int = 4, width: int = 64) -> torch.Tensor:
    return torch.linspace(-1, 1, 3 * height * width).reshape(3, height, width)


@pytest.mark.parametrize("bit_depth", [8, 16])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_written_file_has_the_layout_asked_for(
    tmp_path: Path, bit_depth: int, grey: bool, with_alpha: bool
) -> None:
    pixels = ramp()[:1].expand(3, -1, -1) if grey else ramp()
    alpha = torch.linspace(0, 1, 256).reshape(1, 4, 64) if with_alpha else None
    path = tmp_path / "out.png"
    write_png(path, pixels, alpha=alpha, bit_depth=bit_depth, grey=grey)
    header = path.read_bytes()[24:26]
    assert tuple(header) == (
        bit_depth,
        {(0, 0): 0, (1, 0): 2, (0, 1): 4, (1, 1): 6}[not grey, with_alpha],
    )
    photo, white = read_image(path), 2**bit_depth - 1
    np.testing.assert_allclose(unit(photo), (pixels.permute(1, 2, 0) + 1) / 2, atol=0.501 / white)
    assert (photo.bit_depth, photo.grey, photo.alpha is not None) == (bit_depth, grey, with_alpha)
    if alpha is not None:
        assert photo.alpha is not None
        np.testing.assert_allclose(photo.alpha, alpha, atol=0.501 / white)


def test_eight_bit_files_survive_a_round_trip(tmp_path: Path) -> None:
    samples = noise(16, 16, 4)
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    Image.fromarray(samples).save(source)
    photo = read_image(source)
    write_png(target, photo.pixels, alpha=photo.alpha)
    np.testing.assert_array_equal(np.asarray(Image.open(target)), samples)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_values_are_clamped_and_rounded_to_nearest(tmp_path: Path, dtype: torch.dtype) -> None:
    levels_in = torch.tensor([-300.0, -0.4, 0.4, 0.6, 127.4, 127.6, 254.4, 254.6, 999.0])
    pixels = (levels_in / 127.5 - 1).expand(3, 1, -1)
    write_png(tmp_path / "out.png", pixels)
    assert levels(read_image(tmp_path / "out.png"))[0, :, 0].tolist() == [
        *(0, 0, 0, 1, 127, 128, 254, 255, 255)
    ]
    write_png(tmp_path / "ends.png", torch.tensor([-1.0, 0, 1]).to(dtype).expand(3, 1, -1))
    assert levels(read_image(tmp_path / "ends.png"))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("bit_depth", [8, 16])
def test_profile_is_kept_from_file_to_file(tmp_path: Path, bit_depth: int) -> None:
    profile = srgb_profile()
    for source in ("in.png", "in.jpg", "in.tif"):
        Image.fromarray(noise(8, 8, 3)).save(tmp_path / source, icc_profile=profile)
        photo = read_image(tmp_path / source)
        assert photo.icc_profile == profile
        target = tmp_path / "out.png"
        write_png(target, photo.pixels, bit_depth=bit_depth, icc_profile=photo.icc_profile)
        assert Image.open(target).info["icc_profile"] == profile
        assert torch.equal(read_image(target).pixels, photo.pixels)


def test_profile_for_other_channels_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    write_png(path, ramp(), grey=True, icc_profile=srgb_profile())
    assert read_image(path).icc_profile is None


@pytest.mark.parametrize("bit_depth", [8, 16])
def test_same_input_gives_same_bytes(tmp_path: Path, bit_depth: int) -> None:
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in files:
        write_png(path, ramp(), bit_depth=bit_depth, icc_profile=b"x" * 16 + b"RGB " + b"x" * 200)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, failure: BaseException
) -> None:
    path = tmp_path / "out.png"
    write_png(path, ramp())
    before = path.read_bytes()

    def fail(*args: Any) -> None:
        raise failure

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(failure)):
        write_png(path, -ramp())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_no_folder_is_created(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_png(tmp_path / "missing" / "out.png", ramp())
    assert not list(tmp_path.iterdir())


def test_new_file_has_ordinary_permissions(tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    write_png(tmp_path / "out.png", ramp())
    assert (tmp_path / "out.png").stat().st_mode == ordinary.stat().st_mode


@pytest.mark.parametrize(
    ("pixels", "options", "message"),
    [
        (torch.zeros(1, 4, 4), {}, "pixels has shape"),
        (torch.zeros(1, 3, 4, 4), {}, "pixels has shape"),
        (torch.zeros(3, 0, 4), {}, "pixels has shape"),
        (torch.zeros(3, 4, 4), {"alpha": torch.zeros(1, 4, 5)}, "alpha has shape"),
        (torch.zeros(3, 4, 4), {"bit_depth": 12}, "bit_depth is 12"),
        (torch.full((3, 4, 4), torch.nan), {}, "NaN"),
    ],
)
def test_wrong_arguments_write_nothing(
    tmp_path: Path, pixels: torch.Tensor, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_png(tmp_path / "out.png", pixels, **options)
    assert not list(tmp_path.iterdir())


def test_pictures_for_the_eye_are_those_of_the_file(tmp_path: Path) -> None:
    pixels = torch.linspace(-1.2, 1.2, 3 * 20 * 30).reshape(3, 20, 30)
    write_png(tmp_path / "a.png", pixels)
    with Image.open(tmp_path / "a.png") as file:
        np.testing.assert_array_equal(np.asarray(as_picture(pixels)), np.asarray(file))


def test_eight_bits_of_broken_values() -> None:
    values = torch.tensor([torch.nan, torch.inf, -torch.inf, -1.0, 0.0, 1.0])
    assert eight_bits(values).tolist() == [0, 255, 0, 0, 128, 255]

"""Reading TIFF files: layouts, sample types, colour spaces and alpha."""

import contextlib
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from image_files import alpha_levels, levels, noise, unit
from numpy.typing import NDArray
from PIL import Image

from d2ir_pl.image_io import ImageError, image_size, read_image


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
    remedy = "scale them to" if np.isfinite(bad) else "not finite; repair them"
    samples = np.full((5, 7, 3), 0.5, np.float32)
    samples[2, 3, 1] = bad
    path = tmp_path / "float.tif"
    tifffile.imwrite(path, samples, photometric="rgb")
    with pytest.raises(ImageError, match=rf"float\.tif .*{remedy}"):
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


# ---- Files that grow when they are decoded ----


def hostile(
    path: Path, compression: int, data: bytes, tile: int | None = None, colours: int = 2
) -> Path:
    """A TIFF file of 16x16 pixels whose only segment is as it is given."""
    entries: list[tuple[int, int, list[int | None]]] = [(256, 4, [16]), (257, 4, [16])]
    entries += [(258, 3, [8, 8, 8]), (259, 3, [compression]), (262, 3, [colours])]
    entries += [(273, 4, [None]), (277, 3, [3]), (278, 4, [16]), (279, 4, [len(data)])]
    if tile is not None:
        entries = [entry for entry in entries if entry[0] not in (273, 278, 279)]
        entries += [(322, 4, [tile]), (323, 4, [tile]), (324, 4, [None]), (325, 4, [len(data)])]
    depths = 10 + 12 * len(entries) + 4
    found = b""
    for tag, kind, values in entries:
        numbers = [depths + 8 if value is None else value for value in values]
        raw = struct.pack(f"<{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        place = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack("<I", depths)
        found += struct.pack("<HHI", tag, kind, len(numbers)) + place
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    path.write_bytes(head + found + bytes(4) + struct.pack("<3H", 8, 8, 8) + bytes(2) + data)
    return path


def test_a_tile_far_larger_than_its_photo_is_refused(tmp_path: Path) -> None:
    path = hostile(tmp_path / "tile.tif", 8, zlib.compress(bytes(3 * 4096**2)), 4096)
    with pytest.raises(ImageError, match="tiles or strips of 16777216 pixels, far more than the"):
        read_image(path)
    usual = hostile(tmp_path / "usual.tif", 8, zlib.compress(bytes(3 * 256**2)), 256)
    assert read_image(usual).pixels.shape == (3, 16, 16)


def test_a_coded_segment_larger_than_its_tile_is_refused(tmp_path: Path) -> None:
    large = bytes(imagecodecs.jpeg8_encode(np.zeros((4096, 2048, 3), np.uint8)))
    with pytest.raises(ImageError, match="tiles or strips of 8388608 pixels"):
        read_image(hostile(tmp_path / "jpeg.tif", 7, large, 16, 6))
    coded = bytes(imagecodecs.webp_encode(np.zeros((16, 16, 3), np.uint8)))
    with pytest.raises(ImageError, match="the TIFF compression WEBP; save it with LZW, Deflate"):
        read_image(hostile(tmp_path / "webp.tif", 50001, coded, 16))


@pytest.mark.parametrize(
    ("compression", "encode"),
    [(8, zlib.compress), (50000, imagecodecs.zstd_encode), (5, imagecodecs.lzw_encode)],
    ids=["deflate", "zstd", "lzw"],
)
def test_no_more_is_decompressed_than_a_segment_holds(
    tmp_path: Path, compression: int, encode: Callable[[bytes], bytes]
) -> None:
    path = hostile(tmp_path / "bomb.tif", compression, bytes(encode(bytes(40_000_000))))
    tracemalloc.start()
    try:
        with contextlib.suppress(ImageError):
            assert read_image(path).pixels.shape == (3, 16, 16)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()

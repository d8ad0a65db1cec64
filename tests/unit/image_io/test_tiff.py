"""Reading TIFF files: layouts, sample types, colour spaces and alpha."""

from pathlib import Path
from typing import Any

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

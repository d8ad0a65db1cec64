"""What cameras, phones and other programs write is read as another library reads it."""

import sys
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from image_files import alpha_levels, encoded, levels, noise, srgb_profile, unit, upright
from PIL import Image

from benchmarks.kept import dng
from d2ir_pl.image_io import ImageError, Output, image_size, read_image, write_photo

SMOOTH = np.stack(np.meshgrid(np.arange(48), np.arange(32)), -1) * 4
SMOOTH = np.concatenate([SMOOTH, 255 - SMOOTH[..., :1]], -1).astype(np.uint8)
"""A photo that no codec changes much: `(32, 48, 3)`."""


def data_of(orientation: int = 1) -> Image.Exif:
    data = Image.Exif()
    data[271], data[274] = "Maker", orientation
    return data


# ---- HEIC, AVIF and JPEG XL ----


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_heic_photo_is_upright_with_its_data(tmp_path: Path, orientation: int) -> None:
    heif = pytest.importorskip("pillow_heif")
    path, profile = tmp_path / "IMG_1.HEIC", srgb_profile()
    heif.register_heif_opener()
    exif_data = data_of(orientation).tobytes()
    image = Image.fromarray(SMOOTH)
    image.save(path, quality=100, chroma=444, exif=exif_data, icc_profile=profile)
    expected = upright(SMOOTH, orientation)
    photo = read_image(path)
    assert image_size(path) == photo.pixels.shape[-2:]
    assert np.abs(255 * unit(photo) - expected).mean() < 3
    assert (photo.icc_profile, photo.codec) == (profile, "HEIC")
    write_photo(tmp_path / "out.jpg", photo.restored(photo.pixels), Output("same"))
    exif = Image.open(tmp_path / "out.jpg").getexif()
    assert (exif[271], exif[274]) == ("Maker", 1)
    assert Image.open(tmp_path / "out.jpg").format == "JPEG"


def test_ten_bits_of_a_heic_photo_are_kept(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    deep = np.linspace(0, 65535, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint16)
    path = tmp_path / "deep.heic"
    heif.from_bytes("RGB;16", (64, 64), deep.tobytes()).save(path, quality=100, chroma=444)
    photo = read_image(path)
    assert photo.bit_depth == 16
    assert np.abs(unit(photo) - deep / 65535).max() < 0.02
    assert len(np.unique(photo.pixels[0])) > 300
    assert Output("same").kind(photo) == "png"


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_bits_of_an_avif_photo_are_kept(tmp_path: Path, bits: int, channels: int) -> None:
    white = 2**bits - 1
    ramps = [np.linspace(0, white, 40 * 50).reshape(40, 50), np.full((40, 50), white // 3)]
    samples = np.stack([ramps[c % 2] for c in range(channels)], -1).round()
    samples = samples.astype(np.uint8 if bits == 8 else np.uint16)
    path = tmp_path / "deep.avif"
    path.write_bytes(imagecodecs.avif_encode(samples.squeeze(), level=100, bitspersample=bits))
    photo = read_image(path)
    assert image_size(path) == photo.pixels.shape[-2:]
    assert photo.bit_depth == (8 if bits == 8 else 16)
    error = np.abs(white * unit(photo) - samples[..., :3])
    assert error.max() < (3 if bits == 8 else 0.5)  # the depth that Pillow reads, and all of it
    assert Output("same").kind(photo) == ("png" if bits > 8 or channels == 4 else "jpeg")
    if channels == 4:
        assert photo.alpha is not None
        assert np.abs(white * photo.alpha[0].numpy() - samples[..., 3]).max() < 2


def test_the_colours_of_an_avif_photo_without_profile_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "p3.avif"
    options: dict[str, Any] = {"level": 100, "primaries": 12, "transfer": 16, "matrix": 0}
    path.write_bytes(imagecodecs.avif_encode(SMOOTH, **options))
    assert read_image(path).metadata.colour == ((b"cICP", bytes([12, 16, 0, 1])),)
    path.write_bytes(imagecodecs.avif_encode(SMOOTH, level=100))
    assert read_image(path).metadata.colour == ()


def test_the_xmp_packet_of_a_gif_photo_is_kept(tmp_path: Path) -> None:
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a xmp:Rating="4"/></x:xmpmeta>'
    path = tmp_path / "a.gif"
    Image.fromarray(SMOOTH).save(path)
    trailer = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    data = path.read_bytes()
    block = b"\x21\xff\x0bXMP DataXMP" + packet + trailer
    path.write_bytes(data[:-1] + block + data[-1:])
    photo = read_image(path)
    assert photo.metadata.xmp == packet
    write_photo(tmp_path / "out.png", photo.restored(photo.pixels), Output("same"))
    assert Image.open(tmp_path / "out.png").info["XML:com.adobe.xmp"].encode() == packet
    path.write_bytes(data[:-1] + block[:60])  # cut off
    assert read_image(path).metadata.xmp is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_jpeg_xl_photo_is_read_exactly(tmp_path: Path, dtype: type, channels: int) -> None:
    samples = noise(9, 14, channels, dtype=dtype)
    path = tmp_path / "a.jxl"
    path.write_bytes(imagecodecs.jpegxl_encode(samples.squeeze(), lossless=True))
    assert image_size(path) == (9, 14)
    photo, white = read_image(path), np.iinfo(dtype).max
    colour = np.broadcast_to(samples[..., : min(3, channels)], (9, 14, 3))
    np.testing.assert_array_equal(levels(photo, white), colour)
    if channels == 4:
        np.testing.assert_array_equal(alpha_levels(photo, white), samples[..., 3])


@pytest.mark.parametrize("size", [(8, 8), (256, 256), (257, 300), (8, 4000), (24, 32)])
def test_the_size_of_a_jpeg_xl_photo_is_in_its_header(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    path = tmp_path / "a.jxl"
    path.write_bytes(imagecodecs.jpegxl_encode(np.zeros((*size, 3), np.uint8)))
    assert image_size(path) == size
    with pytest.raises(ImageError, match="over the limit"):
        read_image(path, max_pixels=size[0] * size[1] - 1)


def test_a_jpeg_xl_photo_keeps_its_data(tmp_path: Path) -> None:
    pytest.importorskip("pillow_jxl")
    profile = srgb_profile()
    path = tmp_path / "a.jxl"
    Image.fromarray(SMOOTH).save(path, exif=data_of().tobytes(), icc_profile=profile, lossless=True)
    photo = read_image(path)
    np.testing.assert_array_equal(levels(photo), SMOOTH)
    assert photo.icc_profile is not None
    assert photo.metadata.exif is not None
    assert b"Maker" in photo.metadata.exif


@pytest.mark.parametrize("name", ["IMG_1.HEIC", "DSC_1.NEF"])
def test_without_the_extra_the_remedy_is_named(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("pillow_heif", "rawpy"):
        monkeypatch.setitem(sys.modules, module, None)
    head = b"\0\0\0\x18ftypheic" if name.endswith("HEIC") else b"II*\0\x08\0\0\0"
    (tmp_path / name).write_bytes(head + bytes(100))
    with pytest.raises(ImageError, match=r"needs .*: pip install 'd2ir_pl\[photos\]'"):
        read_image(tmp_path / name)


def test_the_libraries_of_the_extra_leave_pytorch_alone() -> None:
    """None of them asks for PyTorch, or for a NumPy or Pillow that is not installed."""
    from importlib.metadata import PackageNotFoundError, requires

    for package in ("pillow-heif", "rawpy", "pillow-jxl-plugin"):
        try:
            needed = requires(package) or []
        except PackageNotFoundError:
            pytest.skip(f"{package} is not installed")
        assert not [line for line in needed if "torch" in line and "extra" not in line]


# ---- Raw files ----


def test_a_raw_file_is_developed_in_linear_light(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    path = tmp_path / "DSC_1.DNG"
    levels_of = np.repeat(np.array([0.02, 0.2, 0.5, 0.8]), 16)
    dng(
        path,
        np.broadcast_to(levels_of[:, None], (48, 64, 3))
        if False
        else np.tile(levels_of[None, :, None], (48, 1, 3)),
    )
    photo = read_image(path)
    assert image_size(path) == photo.pixels.shape[-2:]
    assert (photo.bit_depth, photo.stored.kind) == (16, "RAW")
    assert photo.metadata.exif is not None
    seen = unit(photo)[24, 8::16]
    light = np.where(seen <= 0.04045, seen / 12.92, ((seen + 0.055) / 1.055) ** 2.4)
    ratio = light / light[2] * 0.5
    np.testing.assert_allclose(ratio, np.tile(levels_of[8::16, None], (1, 3)), rtol=0.02)
    assert Output("same").kind(photo) == "tiff"


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_raw_file_is_upright(tmp_path: Path, orientation: int) -> None:
    pytest.importorskip("rawpy")
    light = np.full((48, 64, 3), 0.1)
    light[:16, :16] = 0.9
    path = tmp_path / "DSC_1.dng"
    dng(path, light, orientation)
    photo = read_image(path)
    assert image_size(path) == photo.pixels.shape[-2:]
    height, width = photo.pixels.shape[-2:]
    corner = {3: (-8, -8), 6: (8, width - 8), 8: (height - 8, 8)}[orientation]
    assert photo.pixels[1, corner[0], corner[1]] > photo.pixels[1].mean() + 0.5


# ---- Files that are not quite as they should be ----


def test_the_photo_of_a_tiff_file_is_not_its_thumbnail(tmp_path: Path) -> None:
    full, small = noise(64, 96, 3), noise(16, 24, 3)
    for name, kind in (("flagged.tif", 1), ("plain.tif", 0)):
        with tifffile.TiffWriter(tmp_path / name) as tiff:
            tiff.write(small, photometric="rgb", subfiletype=kind)
            tiff.write(full, photometric="rgb")
        assert image_size(tmp_path / name) == (64, 96)
        np.testing.assert_array_equal(levels(read_image(tmp_path / name)), full)
    with tifffile.TiffWriter(tmp_path / "inside.tif") as tiff:
        tiff.write(small, photometric="rgb", subfiletype=1, subifds=1)
        tiff.write(full, photometric="rgb")
    np.testing.assert_array_equal(levels(read_image(tmp_path / "inside.tif")), full)
    with tifffile.TiffWriter(tmp_path / "scans.tif") as tiff:
        for page in (full, noise(90, 70, 3)):
            tiff.write(page, photometric="rgb")
    np.testing.assert_array_equal(levels(read_image(tmp_path / "scans.tif")), full)


def test_a_palette_of_8_bits_in_a_tiff_file(tmp_path: Path) -> None:
    index = np.arange(256, dtype=np.uint8).reshape(16, 16)
    grey = np.tile(np.arange(256, dtype=np.uint16), (3, 1))
    for name, palette in (("8.tif", grey), ("16.tif", grey * 257)):
        tifffile.imwrite(tmp_path / name, index, photometric="palette", colormap=palette)
        photo = read_image(tmp_path / name)
        np.testing.assert_array_equal(levels(photo)[..., 0], index)


@pytest.mark.parametrize("alpha", [0, 255])
def test_empty_alpha_of_a_bmp_file_is_none(tmp_path: Path, alpha: int) -> None:
    samples = np.dstack([noise(6, 8, 3), np.full((6, 8), alpha, np.uint8)])
    path = tmp_path / "a.bmp"
    data = bytearray(encoded(Image.fromarray(samples), "BMP"))
    path.write_bytes(data)
    photo = read_image(path)
    assert photo.visible is None
    np.testing.assert_array_equal(levels(photo), samples[..., :3])


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"restart_marker_blocks": 2}], ids=str)
def test_a_jpeg_file_without_its_end(tmp_path: Path, options: dict[str, Any]) -> None:
    whole = encoded(Image.fromarray(SMOOTH), "JPEG", quality=90, **options)
    (tmp_path / "whole.jpg").write_bytes(whole)
    (tmp_path / "cut.jpg").write_bytes(whole[:-2])
    expected = read_image(tmp_path / "whole.jpg")
    found = read_image(tmp_path / "cut.jpg")
    assert (found.pixels == expected.pixels).all()
    assert found.stored.tables == expected.stored.tables
    for lost in (8, 30, 200):
        (tmp_path / "cut.jpg").write_bytes(whole[:-lost])
        with pytest.raises(ImageError, match="truncated"):
            read_image(tmp_path / "cut.jpg")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_pfm_file_begins_with_its_lowest_row(tmp_path: Path, order: str, channels: int) -> None:
    values = np.random.default_rng(0).random((4, 5, channels), np.float32)
    head = b"%s\n5 4\n%s\n" % (
        b"PF" if channels == 3 else b"Pf",
        b"-1.0" if order == "<" else b"1.0",
    )
    path = tmp_path / "a.pfm"
    path.write_bytes(head + values[::-1].astype(f"{order}f4").tobytes())
    assert image_size(path) == (4, 5)
    np.testing.assert_allclose(
        unit(read_image(path)), np.broadcast_to(values, (4, 5, 3)), atol=1e-6
    )
    path.write_bytes(head + (values[::-1] * 3).astype(f"{order}f4").tobytes())
    with pytest.raises(ImageError, match="scale them to"):
        read_image(path)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("white", [255, 65535])
def test_a_pam_file(tmp_path: Path, channels: int, white: int) -> None:
    samples = noise(4, 5, channels, dtype=np.uint8 if white == 255 else np.uint16)
    head = b"P7\nWIDTH 5\n# x\nHEIGHT 4\nDEPTH %d\nMAXVAL %d\nTUPLTYPE X\nENDHDR\n"
    path = tmp_path / "a.pam"
    path.write_bytes(
        head % (channels, white) + samples.astype(samples.dtype.newbyteorder(">")).tobytes()
    )
    photo = read_image(path)
    colours = 3 if channels > 2 else 1
    expected = np.broadcast_to(samples[..., :colours], (4, 5, 3))
    np.testing.assert_array_equal(levels(photo, white), expected)
    if channels in (2, 4):
        np.testing.assert_array_equal(alpha_levels(photo, white), samples[..., -1])


@pytest.mark.parametrize(
    "head", [b"P6\n5 5\n65535\n", b"P7\nWIDTH 5\nENDHDR\n", b"PF\n5\n", b"P5 1 1 99999 "]
)
def test_cut_files_of_netpbm_are_refused(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "a.ppm"
    path.write_bytes(head + bytes(7))
    with pytest.raises(ImageError, match=r"truncated|damaged"):
        read_image(path)

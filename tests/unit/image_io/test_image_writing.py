"""Writing PNG files: exact round trips, and the old file or all of the new one."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import levels, noise, srgb_profile, unit
from PIL import Image

from d2ir_pl.image_io import as_picture, eight_bits, read_image, write_png


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

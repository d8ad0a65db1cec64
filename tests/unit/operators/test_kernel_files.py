"""Kernel files of any contents: a kernel with sum 1, or one sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photos import photo

from d2ir_pl import restore
from d2ir_pl.degradations import Blur
from d2ir_pl.errors import RestorationError
from d2ir_pl.operators import kernels
from d2ir_pl.operators.kernels import read_kernel
from d2ir_pl.restoration import D2IR, DegradationEstimation


def saved(folder: Path, array: Any, name: str = "k.npy") -> Path:
    with (folder / name).open("wb") as file:
        np.save(file, array)
    return folder / name


@pytest.mark.parametrize("value", [1e-320, 1e-30, 1.0, 1e300], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_flat_kernel_is_the_same_at_any_scale(tmp_path: Path, value: float, dtype: Any) -> None:
    value = min(value, float(np.finfo(dtype).max)) if dtype is np.float32 else value
    array = np.full((5, 5), value, dtype)
    if float(array.max()) > 0:
        kernel = read_kernel(saved(tmp_path, array))
        torch.testing.assert_close(kernel, torch.full((5, 5), 1 / 25))


def test_zeros_all_around_are_left_out_and_the_middle_stays(tmp_path: Path) -> None:
    array = np.zeros((201, 301))
    array[100, 150], array[103, 148] = 3, 1
    kernel = read_kernel(saved(tmp_path, array))
    expected = torch.zeros(7, 7)
    expected[3, 3], expected[6, 1] = 0.75, 0.25
    torch.testing.assert_close(kernel, expected)


@pytest.mark.parametrize(
    "array",
    [
        *(np.zeros((0, 5)), np.zeros(()), np.zeros((3, 3)), np.ones((3, 3), complex)),
        *(np.ones((2, 2, 2)), np.array([["a"]]), np.array([[1, np.nan]]), np.array([[-1.0, 2.0]])),
    ],
    ids=str,
)
def test_what_is_no_kernel_is_refused_in_a_sentence(tmp_path: Path, array: Any) -> None:
    with pytest.raises(ValueError, match=r"^kernel file .*k\.npy (holds|must hold) ") as error:
        read_kernel(saved(tmp_path, array))
    assert "\n" not in str(error.value)


def test_damaged_foreign_and_huge_files_are_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lying = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    header = b"\x93NUMPY\x01\x00\x76\x00" + lying.ljust(117) + b"\n"
    (tmp_path / "lying.npy").write_bytes(header + bytes(64))
    (tmp_path / "text.npy").write_text("1 2 3")
    (tmp_path / "deep.npy").write_bytes(b"\x93NUMPY\x01\x00\xff\x7f" + b"(" * 0x7FFF)
    np.savez(tmp_path / "several.npz", a=np.ones((3, 3)))
    (tmp_path / "several.npz").rename(tmp_path / "several.npy")
    for name in ("lying", "text", "deep", "several"):
        with pytest.raises(ValueError, match=rf"^kernel file .*{name}\.npy (is not|holds several)"):
            read_kernel(tmp_path / f"{name}.npy")
    for name in ("k.mat", "k.npz", "k.txt", "k.data"):
        (tmp_path / name).write_bytes(b"MATLAB 5.0\0")
        with pytest.raises(ValueError, match=rf"{name} is not .*arrays are read from \.npy files"):
            read_kernel(tmp_path / name)
    monkeypatch.setattr(kernels, "LARGEST_SIDE", 7)
    with pytest.raises(ValueError, match="a kernel of 9x9 pixels, more than 7: cut it"):
        read_kernel(saved(tmp_path, np.ones((9, 9))))
    assert read_kernel(saved(tmp_path, np.ones((7, 7)), "k.NPY")).shape == (7, 7)


def test_a_kernel_of_many_times_the_photo_is_refused(tmp_path: Path) -> None:
    blur = Blur(kernel=str(saved(tmp_path, np.ones((601, 601)))))
    method = D2IR(DegradationEstimation(steps=1), stages="estimation")
    with pytest.raises((ValueError, RestorationError), match=r"an image of 648x648 .* of 48x48"):
        restore((photo(0, 48, 48) + 1) / 2, blur, method)

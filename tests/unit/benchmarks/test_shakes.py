from pathlib import Path

import numpy as np
import pytest
import torch
from shaken import blurred, corner, discs

from benchmarks.shake_set import made, photographs, read, to_linear, to_srgb
from benchmarks.shakes import aligned_error, sparse_deconvolution
from d2ir_pl.errors import UsageError
from d2ir_pl.image_io.pictures import as_picture
from d2ir_pl.operators.kernels import kernel_centroid
from d2ir_pl.operators.shake_paths import GENERATORS, drawn_shake
from d2ir_pl.results.metrics import kernel_similarity


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("size", [9, 61])
def test_a_drawn_shake_fills_its_kernel_around_its_centroid(name: str, size: int) -> None:
    kernel = drawn_shake(torch.Generator().manual_seed(3), size, name)
    again = drawn_shake(torch.Generator().manual_seed(3), size, name)
    assert torch.equal(kernel, again)
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    assert float(kernel_centroid(kernel[None]).abs().max()) < 0.1
    places = (kernel > 0.01 * kernel.max()).nonzero()
    assert float((places.amax(0) - places.amin(0)).max()) > 0.45 * size
    other = drawn_shake(torch.Generator().manual_seed(4), size, name)
    assert float(kernel_similarity(kernel, other)) < 0.99


def test_the_error_does_not_count_a_shift_or_the_border() -> None:
    whole = (discs(101) + 1) / 2
    x, moved = whole[:, 2:98, 2:98], whole[:, :96, 3:99].clone()
    moved[:, :9] = 0
    error, count = aligned_error(moved, x)
    assert error == pytest.approx(0, abs=1e-9)
    assert count == 3 * 66 * 66
    half = (x + whole[:, 3:99, 2:98]) / 2  # half a pixel down
    assert aligned_error(half, x)[0] < 0.6 * float((half - x)[:, 15:-15, 15:-15].square().sum())


def test_a_sparse_deconvolution_undoes_most_of_a_shake() -> None:
    x = (discs(100)[:1, 10:-10, 10:-10] + 1) / 2
    y = (blurred(discs(100), corner(), 0.004)[0, :1] + 1) / 2
    found = sparse_deconvolution(y, corner())
    assert aligned_error(found, x)[0] < 0.3 * aligned_error(y, x)[0]


def test_linear_light_and_back_is_the_same() -> None:
    x = torch.linspace(0, 1, 101)
    assert torch.allclose(to_srgb(to_linear(x)), x, atol=1e-5)


def test_a_made_set_can_be_written_and_read(tmp_path: Path) -> None:
    as_picture(discs(140)).save(tmp_path / "sharp.png")
    (shaken,) = made(photographs(tmp_path), 100, linear=False)
    assert shaken.y.shape == shaken.x.shape == (3, 100, 100)
    assert list(made(photographs(tmp_path), 200, linear=False)) == []  # too small for that
    for folder in ("input", "reference"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    as_picture(shaken.y).save(tmp_path / "set" / "input" / "a.png")
    x = ((shaken.x + 1) / 2).permute(1, 2, 0).numpy()
    mirrored = shaken.kernel.flip(0, 1).numpy()
    np.savez(tmp_path / "set" / "reference" / "a.npz", x=x, kernel=mirrored)
    (found,) = read(tmp_path / "set")
    assert torch.allclose(found.x, shaken.x, atol=1e-5)
    assert torch.allclose(found.kernel, shaken.kernel, atol=1e-5)  # as a correlation again


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no photographs"):
        photographs(tmp_path)
    with pytest.raises(UsageError, match="holds no input"):
        list(read(tmp_path))

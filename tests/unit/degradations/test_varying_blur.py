"""Blur that changes across the photo: its blending, its files, and a restoration."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from d2ir_pl.cli import main
from d2ir_pl.degradations import Blur, Phi, VaryingBlur
from d2ir_pl.image_io import write_png
from d2ir_pl.operators import varying
from d2ir_pl.operators.convolution import ConvolutionOperator
from d2ir_pl.operators.drawn_kernels import LAWS
from d2ir_pl.operators.varying import VaryingOperator, blending


def kernels(rows: int = 2, columns: int = 3, side: int = 7) -> Tensor:
    drawn = [LAWS["shake"](torch.Generator().manual_seed(i), side) for i in range(rows * columns)]
    return torch.stack(drawn).view(rows, columns, side, side)


def image(h: int, w: int) -> Tensor:
    return torch.rand(1, 3, h, w, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def test_weights_sum_to_one_and_belong_to_their_tile_alone_in_its_middle() -> None:
    weights = blending(30, 3)
    assert torch.allclose(weights.sum(0), torch.ones(30, dtype=torch.float64))
    middles = [slice(4, 6), slice(14, 16), slice(24, 26)]
    for tile, middle in enumerate(middles):
        assert float(weights[tile, middle].min()) > 0.94
    assert torch.equal(blending(5, 1), torch.ones(1, 5, dtype=torch.float64))


@pytest.mark.parametrize("border", ["extend", "reflect"])
def test_a_constant_kernel_is_a_blur_and_the_adjoint_is_one(border: str) -> None:
    same = kernels(1, 1).expand(2, 3, -1, -1)[None].double()
    size, observed = ((26, 36), (20, 30)) if border == "extend" else ((20, 30), (20, 30))
    alike = VaryingOperator(same, size, observed, border)  # type: ignore[arg-type]
    plain = ConvolutionOperator(same[:, 0, 0], size, observed, border)  # type: ignore[arg-type]
    x = image(*size)
    assert torch.allclose(alike.forward(x), plain.forward(x))
    own = VaryingOperator(kernels()[None].double(), size, observed, border)  # type: ignore[arg-type]
    r = image(*observed) - 0.3
    assert float((own.forward(x) * r).sum()) == pytest.approx(float((x * own.adjoint(r)).sum()))


@pytest.mark.parametrize("border", ["extend", "reflect"])
def test_tiles_are_the_same_all_at_once_and_one_by_one(
    border: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, observed = ((26, 36), (20, 30)) if border == "extend" else ((20, 30), (20, 30))
    found: list[tuple[Tensor, ...]] = []
    for at_once in (2**25, 1):
        monkeypatch.setattr(varying, "AT_ONCE", at_once)
        operator = VaryingOperator(kernels()[None].double(), size, observed, border)  # type: ignore[arg-type]
        found.append((operator.forward(image(*size)), operator.adjoint(image(*observed))))
        form = operator.on_spectra()
        if form is not None:
            found[-1] += (form.forward(form.adjoint(image(*observed))),)
    for together, apart in zip(*found, strict=True):
        assert torch.allclose(together, apart)


def test_in_the_middle_of_a_tile_its_own_kernel_blurs() -> None:
    all_of_them = kernels()
    blur = VaryingBlur(border="reflect").told(Phi(kernels=all_of_them[None]))
    x = image(40, 60).float()
    y = blur(x, blur.init(x, torch.ones(1)))
    for i, j in ((0, 0), (1, 2)):
        own = Blur(7, border="reflect").told(Phi(logits=all_of_them[i, j].add(1e-30).log()[None]))
        expected = own(x, own.init(x, torch.ones(1)))
        corner = (slice(None), slice(None), slice(*((0, 9) if i == 0 else (31, 40))))
        column = slice(0, 9) if j == 0 else slice(51, 60)
        assert torch.allclose(y[corner][..., column], expected[corner][..., column], atol=1e-5)


def test_a_file_and_a_folder_hold_the_same_tiles(tmp_path: Path) -> None:
    whole = kernels()
    np.save(tmp_path / "all.npy", whole.numpy())
    folder = tmp_path / "tiles"
    folder.mkdir()
    for i in range(2):
        for j in range(3):
            np.save(folder / f"{i}_{j}.npy", whole[i, j].numpy())
    for source in (tmp_path / "all.npy", folder):
        phi = VaryingBlur(str(source)).init(torch.zeros(2, 3, 9, 9), torch.ones(2))
        assert phi["kernels"].shape == (2, 2, 3, 7, 7)
        assert torch.allclose(phi["kernels"][1], whole, atol=1e-6)
    (folder / "1_1.npy").unlink()
    with pytest.raises(ValueError, match="has no 1_1: give a kernel for each tile"):
        VaryingBlur(str(folder))


def test_what_holds_no_tiles_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", np.ones((3, 3)))
    with pytest.raises(ValueError, match=r"shape \(3, 3\): give \(rows, columns, k, k\)"):
        VaryingBlur(str(tmp_path / "flat.npy"))
    with pytest.raises(ValueError, match="does not exist"):
        VaryingBlur(str(tmp_path / "missing.npy"))
    with pytest.raises(ValueError, match="name them ROW_COLUMN"):
        VaryingBlur(str(tmp_path))
    np.save(tmp_path / "empty.npy", np.zeros((1, 1, 3, 3)))
    with pytest.raises(ValueError, match="not all 0"):
        VaryingBlur(str(tmp_path / "empty.npy"))
    with pytest.raises(ValueError, match=r"not known: give them as --model.degradation.kernels"):
        VaryingBlur().init(torch.zeros(1, 3, 9, 9), torch.ones(1))


@pytest.mark.slow
def test_the_program_undoes_a_blur_that_changes_across_the_photo(
    tmp_path: Path,
) -> None:
    rows = torch.arange(64)[:, None] // 8
    checks = ((rows + torch.arange(64) // 8) % 2).float().expand(3, -1, -1) * 1.2 - 0.6
    write_png(tmp_path / "a.png", checks)
    np.save(tmp_path / "all.npy", kernels(2, 2, 9).numpy())
    options = ["--model.degradation.kernels", str(tmp_path / "all.npy"), "--data.degrade", "true"]
    where = ["--data.inputs", str(tmp_path / "a.png"), "--output", str(tmp_path / "out")]
    assert main(["predict", "--config", "deblur_varying", *where, *options]) == 0
    with (tmp_path / "out" / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["psnr"]) > float(row["input_psnr"]) + 3

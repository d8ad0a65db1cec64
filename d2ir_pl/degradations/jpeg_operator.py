"""The coefficients of JPEG as a linear operator, each in units of its rounding error."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.degradations.phi import Phi
from d2ir_pl.operators.jpeg_transform import (
    BLOCK,
    Coefficients,
    Factors,
    analyze,
    analyze_adjoint,
    block_dct,
    block_idct,
    coarse_size,
    colour_matrix,
    shrink,
)
from d2ir_pl.operators.linear import Size
from d2ir_pl.operators.orientation import stored, stored_size, upright


class WhitenedCoefficients:
    """The map A to the coefficients of an image in units of their rounding errors, times sigma.

    (A x)_k = sigma / s_k (C x)_k, `(B, 1, 1, n)`, C without its constants, where s_k^2 is the
    `coefficient_variance`. An image whose chrominances are subsampled has fewer coefficients than
    others of its size; zeros follow.

    Args:
        phi: parameters of `Jpeg`.
        sigma: `(B,)` RMS rounding error of the pixels.
        size: (H, W) of x.
    """

    def __init__(self, phi: Phi, sigma: Tensor, size: Size) -> None:
        self._compressions = compressions(phi)
        self._size = size
        self._weights = sigma[:, None, None, None] / coefficient_variance(phi).to(sigma).sqrt()
        black = sigma.new_zeros(len(sigma), 3, *size)
        self._constant = self.whiten(self.coefficients(black))

    def coefficients(self, x: Tensor) -> list[Coefficients]:
        """The coefficients C x of images `(B, 3, H, W)`."""
        return [
            analyze(stored(image, orientation), factors)
            for image, (_, factors, orientation) in zip(x, self._compressions, strict=True)
        ]

    def whiten(self, coefficients: Sequence[Coefficients]) -> Tensor:
        """Coefficients in units of their rounding errors, times sigma, `(B, 1, 1, n)`."""
        blocks = (-(-n // (2 * BLOCK)) * 2 for n in self._size)
        length = 3 * BLOCK**2 * math.prod(blocks)
        rows = []
        for image, weights in zip(coefficients, self._weights, strict=True):
            scaled = image.scale(weights)
            row = torch.cat([scaled.luma.flatten(), scaled.chroma.flatten()])
            rows.append(F.pad(row, (0, length - len(row))))
        return torch.stack(rows)[:, None, None]

    def forward(self, x: Tensor) -> Tensor:
        return self.whiten(self.coefficients(x)) - self._constant

    def adjoint(self, r: Tensor) -> Tensor:
        rows = []
        for row, weights, (_, factors, orientation) in zip(
            r.flatten(1), self._weights, self._compressions, strict=True
        ):
            size = stored_size(self._size, orientation)
            scaled = _unflatten(row, size, factors).scale(weights)
            rows.append(upright(analyze_adjoint(scaled, size, factors), orientation))
        return torch.stack(rows)

    def precondition(self, g: Tensor, rho: Tensor) -> Tensor:
        """The exact inverse, except that rho ignores how colours mix, and for incomplete blocks."""
        rows = []
        for image, weights, weight, (_, factors, orientation) in zip(
            g, self._weights, rho.flatten(), self._compressions, strict=True
        ):
            solved = _solve(stored(image, orientation), weights.square(), weight, factors)
            rows.append(upright(solved, orientation))
        return torch.stack(rows)


def noise_variance(noise: Tensor, factors: Tensor) -> Tensor:
    """`(B, 2)` variance that white noise before the compression adds to each coefficient.

    Args:
        noise: `(B,)` standard deviation of the noise of the luminance in grey levels; that of the
            colours is independent and of equal strength.
        factors: `(B, 2)` factors by which chrominances are shrunk, which averages their noise.
    """
    power = colour_matrix(noise).square().sum(1)
    chroma = power[1:].mean() / power[0] / factors.prod(1)
    return noise.square()[:, None] * torch.stack([torch.ones_like(chroma), chroma], 1)


def coefficient_variance(phi: Phi) -> Tensor:
    """`(B, 2, 8, 8)` error variance of the coefficients: q^2 / 12 + n^2, in squared grey levels."""
    rounding = phi["tables"].square() / 12
    return rounding + noise_variance(phi["noise"], phi["factors"])[..., None, None]


def compressions(phi: Phi) -> list[tuple[Tensor, Factors, int]]:
    """Tables `(2, 8, 8)`, chroma subsampling and EXIF orientation of each image."""
    factors = [(int(v), int(h)) for v, h in phi["factors"].tolist()]
    return list(zip(phi["tables"], factors, phi["orientation"].tolist(), strict=True))


def _unflatten(row: Tensor, size: Size, factors: Factors) -> Coefficients:
    """The coefficients that `whiten` made a row of."""
    luma = (-(-size[0] // BLOCK), -(-size[1] // BLOCK))
    coarse = coarse_size(size, factors)
    chroma = (-(-coarse[0] // BLOCK), -(-coarse[1] // BLOCK))
    count = math.prod(luma) * BLOCK**2
    end = count + 2 * math.prod(chroma) * BLOCK**2
    return Coefficients(
        row[:count].view(*luma, BLOCK, BLOCK), row[count:end].view(2, *chroma, BLOCK, BLOCK)
    )


def _solve(g: Tensor, weights: Tensor, rho: Tensor, factors: Factors) -> Tensor:
    """About (C^T W C + rho)^-1 g for one image `(3, H, W)`, W = `weights` `(2, 8, 8)`.

    With M the mixing of colours, rho is replaced by M^T D M, D the diagonal of rho M^-T M^-1; and
    what is missing to whole blocks by zeros, which makes shrinking a scaled isometry.
    """
    inverse = colour_matrix(g).inverse() / 127.5
    penalty = rho * inverse.square().sum(0)
    planes = torch.einsum("cd,chw->dhw", inverse, g)
    luma = _filter(planes[:1], 1 / (weights[0] + penalty[0]))
    share = 1 / math.prod(factors)
    # Woodbury: (S^T W S + d)^-1 = (1 - S^T W (d + W S S^T)^-1 S) / d with S S^T = share.
    chroma = planes[1:]
    penalty = penalty[1:, None, None]
    coarse = chroma
    for axis, factor in zip((-2, -1), factors, strict=True):
        coarse = _zero_pad(coarse, axis, factor)
        coarse = shrink(coarse, axis, factor)
    gain = weights[1] / (penalty[..., None, None] + share * weights[1])
    coarse = _filter(coarse, gain)
    for axis, factor in zip((-2, -1), factors, strict=True):
        coarse = coarse.repeat_interleave(factor, axis) / factor
    coarse = coarse[:, : chroma.shape[-2], : chroma.shape[-1]]
    solved = torch.cat([luma, (chroma - coarse) / penalty])
    return torch.einsum("cd,dhw->chw", inverse, solved)


def _filter(planes: Tensor, gain: Tensor) -> Tensor:
    """Multiply the coefficients of blocks; zeros complete the last ones."""
    h, w = planes.shape[-2:]
    padded = _zero_pad(_zero_pad(planes, -2, BLOCK), -1, BLOCK)
    return block_idct(gain * block_dct(padded))[:, :h, :w]


def _zero_pad(planes: Tensor, axis: int, multiple: int) -> Tensor:
    missing = -planes.shape[axis] % multiple
    return F.pad(planes, (0, missing) if axis == -1 else (0, 0, 0, missing))

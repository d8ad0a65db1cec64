"""The equations of JPEG in macroblocks that lack no pixel, by what is known of their matrix.

With a row of the colour transform for luminance, m_0, and two for chrominances, M, the 64 v h
coefficients l of the luminance and the 2 times 64 coefficients c of the chrominances have

    T T^T = [ |m_0|^2        F^T (M m_0)^T       ]
            [ (M m_0) F      M M^T / (v h)       ],

where F shrinks the luminance, F F^T = 1 / (v h). So all coefficients but 64 sums of them are
unknowns by themselves: with E the eigenvectors of M M^T, n = E^T M m_0, and diagonal matrices

    D = |m_0|^2 w_l^2 + rho,    B = lambda w_c^2 / (v h) + rho,    g = sum_c n w_c B^-1 E^T r_c,
    beta = sum_c n^2 w_c^2 B^-1,

(1 / beta - F w_l D^-1 w_l F^T) q = g / beta - F w_l D^-1 r_l is left for q = sum_c n w_c E^T u_c.
"""

from __future__ import annotations

import torch
from torch import Tensor

from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.jpeg_transform import BLOCK, blocks, colour_matrix, dct_matrix
from d2ir_pl.operators.linear import Map
from d2ir_pl.operators.subsampling import Factors, shrink


def whole_solver(weights: Tensor, rho: Tensor, factors: Factors) -> Map:
    """What takes r to the solution u of (W T T^T W + rho) u = r in whole macroblocks.

    Both are `(B, m, K)` for m macroblocks, with the coefficients of the luminance first.

    Args:
        weights: `(B, 2, 64)` weights of the coefficients of luminance and chrominances, positive.
        rho: `(B, 1)` positive.
        factors: (v, h), subsampling of the chrominances.
    """
    count = BLOCK**2 * factors[0] * factors[1]
    basis, n = _basis(weights), _mixed(weights)
    luma, chroma = weights.split(1, 1)
    fine = luma.repeat(1, 1, factors[0] * factors[1])
    d = _strength(weights) * fine.square() + rho[:, None]
    b = _eigenvalues(weights, *factors) * chroma.square() + rho[:, None]
    narrow, weighed = _shrinking(weights, *factors) * fine, n * chroma
    share = weighed / b
    back = 1 / (share * weighed).sum(1, keepdim=True)
    matrix = torch.baddbmm(back * _unit(weights), narrow / d, narrow.mT, alpha=-1)
    factor = torch.linalg.cholesky_ex(matrix)[0]

    def solve(r: Tensor) -> Tensor:
        fine_r, rest = r[..., :count] / d, basis.mT @ r[..., count:].unflatten(-1, (2, -1))
        g = (share[:, None] * rest).sum(2)
        right = torch.baddbmm(g * back, fine_r, narrow.mT, alpha=-1)
        q = torch.cholesky_solve(right.mT, factor).mT
        u_l = fine_r - (q @ narrow) / d
        rest = rest - weighed[:, None] * ((g - q) * back)[:, :, None]
        u_c = basis @ (rest / b[:, None])
        return torch.cat([u_l, u_c.flatten(2)], 2)

    return solve


def _colours() -> Tensor:
    return 127.5 * colour_matrix(torch.zeros((), dtype=torch.float64))


@kept
def _strength() -> Tensor:
    """|m_0|^2."""
    return _colours()[0].square().sum()


@kept
def _eigenvalues(v: int, h: int) -> Tensor:
    """The diagonal of lambda / (v h), `(2, 1)`."""
    rows = _colours()[1:]
    values: Tensor = torch.linalg.eigvalsh(rows @ rows.T)
    return values[:, None] / (v * h)


@kept
def _basis() -> Tensor:
    """E, `(2, 2)`."""
    rows = _colours()[1:]
    vectors: Tensor = torch.linalg.eigh(rows @ rows.T)[1]
    return vectors


@kept
def _mixed() -> Tensor:
    """n, `(2, 1)`."""
    first, *rows = _colours()
    return _basis(first).T @ torch.stack([row @ first for row in rows])[:, None]


@kept
def _shrinking(v: int, h: int) -> Tensor:
    """F, `(64, 64 v h)`."""
    unit = torch.eye(BLOCK**2 * v * h, dtype=torch.float64).view(-1, BLOCK * v, BLOCK * h)
    fine, coarse = (
        (blocks(plane) @ dct_matrix(unit)).flatten(1) for plane in (unit, shrink(unit, (v, h)))
    )
    return coarse.T @ fine


@kept
def _unit() -> Tensor:
    return torch.eye(BLOCK**2, dtype=torch.float64)

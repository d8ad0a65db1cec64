"""Linear maps that act on the rows and on the columns of an image one after the other."""

from __future__ import annotations

import torch
from torch import Tensor

from d2ir_pl.operators.conditioning import Conditioning

# Share of the largest eigenvalue of A A^T below which a direction is taken for one that A does not
# see: dividing by less would amplify the rounding of single precision.
RELATIVE_FLOOR = 1e-4


class SeparableOperator:
    """A: y = R x C^T for every channel, with few rows against columns; see `LinearOperator`.

    With R R^T = U diag(r) U^T and C C^T = V diag(c) V^T, all of A A^T is diagonal in the basis
    U and V, its eigenvalues the products r_i c_j. Hence, with S = A A^T + rho,

        (A^T A + rho)^-1 g = (g - A^T S^-1 A g) / rho

    is exact at the cost of one more A and A^T, whatever the border.

    Args:
        rows: `(B, h, H)` or, if all images share it, `(1, h, H)`: R, with h <= H.
        columns: `(B, w, W)` or `(1, w, W)`: C, with w <= W.
        conditioning: what is known of them.

    Source: the matrix inversion lemma, as used for downsampling by Zhao et al., Fast single image
    super-resolution using a new analytical solution for l2-l2 problems, 2016; Kronecker products:
    Golub and Van Loan, Matrix Computations, 2013, section 12.3.
    """

    enough = 3

    def __init__(
        self, rows: Tensor, columns: Tensor, conditioning: Conditioning | None = None
    ) -> None:
        self.conditioning = conditioning
        self._rows = _of_channels(rows)
        self._columns = self._rows if columns is rows else _of_channels(columns)
        self._eigen: tuple[Tensor, Tensor, Tensor] | None = None
        self._inverse: tuple[Tensor, Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        return self._rows @ x @ self._columns.mT

    def adjoint(self, r: Tensor) -> Tensor:
        return self._rows.mT @ (r @ self._columns)

    def precondition(self, g: Tensor, rho: Tensor) -> Tensor:
        """The exact inverse, but for directions in which A is RELATIVE_FLOOR of its largest."""
        if self._eigen is None:
            self._eigen = self._decompose()
        values, u, v = self._eigen
        if self._inverse is None or self._inverse[0] is not rho:
            # g is A^T of something, so what the inverse does where A sees nothing does not matter;
            # 1 / rho there would only amplify rounding.
            blind = rho.maximum(RELATIVE_FLOOR * values.amax((2, 3), keepdim=True))
            self._inverse = rho, blind, (1 / blind - 1 / (values + rho)).clamp_min(0) / values
        _, blind, seen = self._inverse
        spectrum = seen * (u.mT @ self.forward(g) @ v)
        return g / blind - self.adjoint(u @ spectrum @ v.mT)

    def _decompose(self) -> tuple[Tensor, Tensor, Tensor]:
        """Eigenvalues `(B, 1, h, w)` of A A^T, and its eigenvectors along rows and columns."""
        r, u = _eigh(self._rows[:, 0].detach())
        same = self._rows is self._columns
        c, v = (r, u) if same else _eigh(self._columns[:, 0].detach())
        left = _of_channels(u)
        return (r[:, :, None] * c[:, None])[:, None], left, left if same else _of_channels(v)


def _of_channels(matrices: Tensor) -> Tensor:
    """Matrices `(B, m, n)` for the three channels of each image.

    A product would copy those of several images for each channel, again and again.
    """
    return matrices[:, None] if len(matrices) == 1 else matrices[:, None].repeat(1, 3, 1, 1)


def _eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Positive eigenvalues and eigenvectors of M M^T, computed in double precision."""
    # MPS has neither double precision nor this decomposition.
    exact = (matrix.cpu() if matrix.device.type == "mps" else matrix).double()
    values, vectors = torch.linalg.eigh(exact @ exact.mT)
    values = values.clamp_min(1e-12 * values[..., -1:])
    return values.to(matrix), vectors.to(matrix)

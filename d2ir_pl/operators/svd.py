"""Singular value decompositions of linear maps that have a cheap one."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.operators.convolution import Border, wrapped
from d2ir_pl.operators.linear import Size
from d2ir_pl.operators.padding import pad

# A kernel counts as the product of two 1-D ones where no entry differs by more than this share of
# the largest.
SEPARABLE = 1e-5


class SVD(Protocol):
    """A = U diag(s) V^T of a linear operator, V square.

    Coefficients, V^T x, are arrays in which x and U^T y have one layout: entry i of each belongs to
    the singular value s_i, and where s_i is 0, U^T y says nothing. They may be complex; those of
    white noise, V^T n, then have the right symmetry and E |V^T n|^2 = 1.
    """

    s: Tensor
    """Singular values, not negative; their shape broadcasts with that of coefficients."""

    def vt(self, x: Tensor) -> Tensor:
        """Apply V^T to an image x `(B, 3, H, W)`, which gives coefficients."""

    def v(self, c: Tensor) -> Tensor:
        """Apply V to coefficients c, which gives an image."""

    def ut(self, y: Tensor) -> Tensor:
        """Apply U^T to a degraded image y `(B, 3, h, w)`."""


class Diagonal:
    """A weight for each value of the image, as in a mask: U = V = 1.

    Args:
        weight: `(B, 3, H, W)` or what broadcasts to it, not negative.
    """

    def __init__(self, weight: Tensor) -> None:
        self.s = weight

    def vt(self, x: Tensor) -> Tensor:
        return x

    def v(self, c: Tensor) -> Tensor:
        return c

    def ut(self, y: Tensor) -> Tensor:
        return y


class Grey:
    """A weighted sum of the channels at each pixel, w . x, in three equal channels.

    The three channels hold one number with one noise, so U^T y takes their mean, and the one
    singular value that is not 0 is |w|, not sqrt(3) |w|.

    Args:
        weights: w, `(B, 3)`.
    """

    def __init__(self, weights: Tensor) -> None:
        u, s, self._vt = _svd(weights[:, None])
        self._sign = u[:, :, :, None]
        self.s = F.pad(s, (0, 2))[:, :, None, None]

    def vt(self, x: Tensor) -> Tensor:
        return torch.einsum("bij,bjhw->bihw", self._vt, x)

    def v(self, c: Tensor) -> Tensor:
        return torch.einsum("bji,bjhw->bihw", self._vt, c)

    def ut(self, y: Tensor) -> Tensor:
        return F.pad(self._sign * y.mean(1, keepdim=True), (0, 0, 0, 0, 0, 2))


class Separable:
    """One matrix along the rows and one along the columns of each channel, y = R x C^T.

    The singular values are the products of those of R and C, from two small decompositions.

    Args:
        rows: R, `(B, h, H)`.
        columns: C, `(B, w, W)`.
    """

    def __init__(self, rows: Tensor, columns: Tensor) -> None:
        (self._ut_r, s_r, self._vt_r), (self._ut_c, s_c, self._vt_c) = (
            _padded_svd(m) for m in (rows, columns)
        )
        self.s = (s_r[:, :, None] * s_c[:, None, :])[:, None]

    def vt(self, x: Tensor) -> Tensor:
        return self._vt_r[:, None] @ x @ self._vt_c.mT[:, None]

    def v(self, c: Tensor) -> Tensor:
        return self._vt_r.mT[:, None] @ c @ self._vt_c[:, None]

    def ut(self, y: Tensor) -> Tensor:
        return self._ut_r[:, None] @ y @ self._ut_c.mT[:, None]


class Circulant:
    """Correlation with a kernel on a torus: V is the unitary Fourier basis.

    A = F* diag(h) F with h the transfer function, so s = |h| and U = F* diag(h / |h|). Everything
    that depends on s alone treats a frequency and its negative alike and keeps images real.

    Args:
        kernel: `(B, k, k)`, k odd.
        size: (H, W) of the image.

    Attributes:
        transfer: h, `(B, 1, H, W)`.
    """

    def __init__(self, kernel: Tensor, size: Size) -> None:
        self.transfer = transfer = torch.fft.fft2(wrapped(kernel, size)).conj()[:, None]
        self.s = transfer.abs()
        self._phase = torch.where(self.s > 0, transfer.conj() / self.s.clamp_min(1e-30), 1)

    def vt(self, x: Tensor) -> Tensor:
        spectrum: Tensor = torch.fft.fft2(x, norm="ortho")
        return spectrum

    def v(self, c: Tensor) -> Tensor:
        image: Tensor = torch.fft.ifft2(c, norm="ortho").real
        return image

    def ut(self, y: Tensor) -> Tensor:
        return self._phase * self.vt(y)


def _svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U, s and V^T of `(B, m, n)`, in double precision, which some devices have not."""
    u, s, vt = (f.to(matrix.dtype) for f in torch.linalg.svd(matrix.double().cpu()))
    return u.to(matrix.device), s.to(matrix.device), vt.to(matrix.device)


def _padded_svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U^T, s and V^T of `(B, m, n)`, the first two brought to n rows by zeros."""
    u, s, vt = _svd(matrix)
    n = matrix.shape[2]
    return F.pad(u.mT[:, :n], (0, 0, 0, n - min(n, u.shape[1]))), F.pad(s, (0, n - s.shape[1])), vt


def correlation_matrix(kernel: Tensor, n: int, border: Border) -> Tensor:
    """Correlation of a signal of n samples with 1-D kernels `(B, k)`, as matrices `(B, m, n)`.

    m is n, or n - k + 1 with border `extend`, which keeps what needs nothing beyond the signal.
    """
    size, radius = kernel.shape[1], kernel.shape[1] // 2
    known = torch.eye(n, dtype=kernel.dtype, device=kernel.device)
    if border != "extend":
        known = pad(known, (radius, radius), (0, 0), border)
    return torch.einsum("bk,mnk->bmn", kernel, known.unfold(0, size, 1))

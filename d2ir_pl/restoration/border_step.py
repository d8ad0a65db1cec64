"""The data step of a correlation on a circle, reduced to the border of the photo."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.spectral import Margins, OnSpectra, trimmed

MOST = 16
"""Iterations of conjugate gradients, at most, in place of which this is done."""


def solved_at_border(
    form: OnSpectra,
    transfer: Tensor,
    residual: Tensor,
    rho: Tensor,
    iterations: int,
    own: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """What so many conjugate gradients find for (A^T A + rho) d = A^T r, by smaller vectors.

    On the circle, with M the photo's pixels and S all others, A = M H with a circulant H. With
    P = (H^T H + rho)^-1, the preconditioner, and C = H P H^T, the iterates of k iterations lie in

        d = P H^T (alpha M^T r + S^T s),    s in span{g, G g, ..., G^(k-2) g},
        G = S C S^T,    g = S C M^T r,

    and are those which minimise the objective there: the photo is continued past its border. So
    vectors have the size of the border alone. The span has a basis of Chebyshev polynomials of G,
    whose eigenvalues lie in [0, 1], which takes no inner products on the way: T_0 = 1 and
    T_(j+1) = (G - 1/2) T_j - c_j T_(j-1), with c_0 = 0, c_1 = 1/8 and c_j = 1/16.

    Args:
        form: A on spectra, a correlation that nothing follows.
        transfer: `(B, 1, H, W // 2 + 1)` its factors.
        residual: `(B, C, h, w)` r.
        rho: `(B, 1, 1, 1)` positive.
        iterations: k, from 1 to `MOST`.
        own: `(B,)` iterations of each image; None for all of them.

    Returns:
        d, of the size of the image, and r - A d.

    Source: Saad, Iterative Methods for Sparse Linear Systems, 2003, sections 6.7 and 12.3.
    """
    circle, seen = form.circle, form.seen
    power = transfer.abs().square()
    inverse = 1 / (power + rho)
    share = power * inverse
    del power  # a large photo fills the memory
    index = _border(residual, circle, seen)
    (top, bottom), (left, right) = seen
    padded = F.pad(residual, (left, right, top, bottom))
    told = torch.fft.irfft2(torch.fft.rfft2(padded) * share, s=circle)
    energy = (residual * trimmed(told, *seen)).flatten(1).sum(1)
    basis = [_at(told, index)]
    del told
    canvas, middle = torch.zeros_like(padded), share - 0.5
    for i in range(iterations - 1):
        spectrum = torch.fft.rfft2(_placed(canvas, index, basis[-1]))
        found = _at(torch.fft.irfft2(spectrum * middle, s=circle), index)
        basis.append(torch.sub(found, basis[-2], alpha=_before(i)) if i else found)
    del canvas, middle
    vectors = torch.stack(basis, 1).flatten(2)
    factors = _factors(vectors, energy, own).to(vectors)
    padded = padded * factors[:, :1, None, None]
    if iterations > 1:
        border = (factors[:, None, 1:] @ vectors[:, :-1]).view_as(basis[0])
        padded = _placed(padded, index, border)
    spectrum = torch.fft.rfft2(padded)
    explained = trimmed(torch.fft.irfft2(spectrum * share, s=circle), *seen)
    back = transfer.conj() * inverse
    rest = residual - explained
    del share, inverse, padded, explained
    return form.cut(torch.fft.irfft2(spectrum.mul_(back), s=circle)), rest


def _factors(vectors: Tensor, energy: Tensor, own: Tensor | None) -> Tensor:
    """`(B, k)`: alpha, and the factors of the basis in s.

    Args:
        vectors: `(B, k, n)` the basis T_j g.
        energy: `(B,)` the inner product of M^T r and C M^T r.
        own: iterations of each image; None for k.
    """
    fine = vectors.double()
    gram = fine @ fine.mT
    k = gram.shape[1]
    # Their values on the border, alpha g + G s, in terms of the vectors.
    onto, unit = _onto(gram)[:k, :k], _unit(gram)[:k, :k]
    products = gram @ onto
    right = torch.cat([energy[:, None].to(gram), gram[:, 0, : k - 1]], 1)
    whole = torch.cat([right[:, None], products[:, : k - 1]], 1)
    # Rounding makes of vectors that hardly differ what has no minimum.
    level = 8 * torch.finfo(vectors.dtype).eps
    raised = torch.addcmul(_trifle(gram)[:k, :k], whole, _raised(gram, level)[:k, :k])
    normal = raised - onto.mT @ products
    if own is not None:
        out = torch.arange(k, device=own.device) >= own[:, None]
        normal = torch.where(out[:, None] | out[..., None], unit, normal)
        right = right.masked_fill(out, 0)
    factors: Tensor = torch.linalg.solve_ex(normal, right)[0]
    return factors


def _at(image: Tensor, index: Tensor) -> Tensor:
    """`(B, C, n)` values at places of images on the circle."""
    values = image.flatten(-2)
    return values.gather(-1, index.expand(*values.shape[:-1], -1))


def _placed(image: Tensor, index: Tensor, values: Tensor) -> Tensor:
    """The images with other values `(B, C, n)` at these places, which are written into them."""
    image.flatten(-2).scatter_(-1, index.expand_as(values), values)
    return image


@kept
def _border(circle: tuple[int, int], seen: Margins) -> Tensor:
    """Places on the circle that are no part of the photo."""
    inside = torch.zeros(circle, dtype=torch.bool)
    trimmed(inside, *seen).fill_(True)
    return (~inside).flatten().nonzero()[:, 0]


def _before(j: int) -> float:
    """The number c_j."""
    return (0.0, 1 / 8)[j] if j < 2 else 1 / 16


@kept
def _onto() -> Tensor:
    """g, and G T_j g of all but the last, in terms of the basis; for fewer, its first rows."""
    found = torch.zeros(MOST, MOST, dtype=torch.float64)
    found[0, 0] = 1
    for j in range(MOST - 1):
        found[j, j + 1], found[j + 1, j + 1] = 0.5, 1
        if j:
            found[j - 1, j + 1] = _before(j)
    return found


@kept
def _unit() -> Tensor:
    return torch.eye(MOST, dtype=torch.float64)


@kept
def _raised(level: float) -> Tensor:
    """Ones, those of the diagonal raised by a level."""
    return 1 + level * torch.eye(MOST, dtype=torch.float64)


@kept
def _trifle() -> Tensor:
    """A trifle on the diagonal: of a residual of zeros there is nothing else."""
    return 1e-60 * torch.eye(MOST, dtype=torch.float64)

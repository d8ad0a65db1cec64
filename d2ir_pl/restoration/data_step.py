"""The proximal step that makes a clean-image prediction consistent with the degraded image."""

from __future__ import annotations

import torch
from torch import Tensor

from d2ir_pl.degradations import LinearOperator
from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.freed_memory import give_back, one_by_one
from d2ir_pl.operators.linear import Map, conditioning, slowness
from d2ir_pl.operators.spectral import OnSpectra
from d2ir_pl.operators.weighted import dual_precondition, on_spectra
from d2ir_pl.restoration.border_step import MOST, solved_at_border


def data_step(
    operator: LinearOperator,
    residual: Tensor,
    z: Tensor,
    rho: Tensor,
    iterations: int,
    least: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The minimum of ||y - D(x)||^2 + rho ||x - z||^2, by preconditioned conjugate gradients.

    D is taken to be D(z) + A (x - z), which makes this a Gauss-Newton step where D is not linear.
    Starting at z, it solves (A^T A + rho) d = A^T (y - D(z)) for x = z + d. Every image has step
    lengths of its own, so that a batch equals its images one by one. Where A has a `dual`, there is
    nothing to iterate: d = A^T u, and rho u is left of the residual, with
    u = (A A^T + rho)^-1 (y - D(z)).

    Args:
        operator: derivative A of D at z, prepared for the size of z.
        residual: `(B, 3, h, w)` residual y - D(z) of degraded images y.
        z: `(B, 3, H, W)` predictions.
        rho: `(B, 1, 1, 1)` weight of the prediction, positive.
        iterations: number of conjugate-gradient iterations; each is one A and one A^T. Of an
            operator with an exact `precondition` it takes no more than the operator's `enough`, and
            of a slow one `slowness` times as many.
        least: a number that no rho is below, if one is known without asking the device: fewer
            iterations are taken where that shows that nothing is left to gain.

    Returns:
        The image x, and its residual y - D(x) for the linear D, which needs no further A.

    Source: Venkatakrishnan et al., Plug-and-play priors, 2013, eq. 9; preconditioned conjugate
    gradients: Hestenes and Stiefel, 1952; Saad, Iterative Methods, 2003, algorithm 9.1.
    """
    dual = getattr(operator, "dual", None)
    if dual is not None:
        u = dual(residual, rho)
        return z + operator.adjoint(u), rho * u
    exact = getattr(operator, "enough", None)
    iterations = slowness(operator) * (iterations if exact is None else min(iterations, exact))
    spectral = on_spectra(operator)
    known, own = conditioning(operator if spectral is None else spectral), None
    if exact is None and known is not None and least:
        iterations = min(iterations, known.enough(least))
        # An image that is there before the others waits for them.
        own = known.enough_of(rho[:, 0, 0, 0]) if len(rho) > 1 else None
    if spectral is None:
        inverse = dual_precondition(operator, rho)
        if inverse is not None:
            change, left = _solved_in_data(operator, inverse, residual, rho, iterations, own)
        else:
            change, left = _solved(operator, residual, rho, iterations, own)
        return z + change, left
    give_back(residual)
    parts = one_by_one(residual) if spectral.of_each_colour else (residual,)
    if len(parts) == 1:
        change, left = _on_spectra(spectral, residual, rho, iterations, own)
        return z + change, left
    x, left = torch.empty_like(z), torch.empty_like(residual)
    for c, part in enumerate(parts):
        colour = slice(c, c + 1)
        change, left[:, colour] = _on_spectra(spectral, part, rho, iterations, own)
        x[:, colour] = z[:, colour] + change
        del change
        give_back(residual)
    return x, left


def _on_spectra(
    form: OnSpectra, residual: Tensor, rho: Tensor, iterations: int, own: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The d of `data_step` and what it leaves: of three pairs of FFTs of an iteration one is left.

    Args:
        form: A for spectra.
        residual: y - D(z).
        rho: weight of the prediction.
        iterations: number of iterations.
        own: `(B,)` number of them that change an image; None for all.
    """
    if form.transfer is not None and 0 < iterations <= MOST:
        return solved_at_border(form, form.transfer, residual, rho, iterations, own)
    change, left = _solved(form, residual, rho, iterations, own)
    return form.to_image(change), left


def _solved(
    operator: LinearOperator | OnSpectra,
    residual: Tensor,
    rho: Tensor,
    iterations: int,
    own: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The d of `data_step`, as an image or as its spectrum, and the residual that it leaves.

    Args:
        operator: A.
        residual: y - D(z).
        rho: weight of the prediction.
        iterations: number of iterations.
        own: `(B,)` number of them that change an image; None for all.
    """
    r = operator.adjoint(residual)
    p = h = operator.precondition(r, rho)
    x, rh = torch.zeros_like(p), _dot(r, h)
    weight = _for(rho[:, 0, 0, 0], p)
    moves = None if own is None else _moves(own, iterations)
    for i in range(iterations):
        last, a_p = i + 1 == iterations, operator.forward(p)
        if last and moves is None:  # the same, without the A^T that the next direction would need
            step = rh / torch.addcmul(_dot(a_p, a_p), rho[:, 0, 0, 0], _dot(p, p))
        else:
            normal_p = torch.addcmul(operator.adjoint(a_p), weight, p)
            step = rh / _dot(p, normal_p)
        if moves is not None:
            step = moves[i] * step
        x.addcmul_(_for(step, p), p)
        residual = torch.addcmul(residual, _for(step, residual), a_p, value=-1)
        if last:
            break
        r.addcmul_(_for(step, r), normal_p, value=-1)
        h = operator.precondition(r, rho)
        rh, rh_before = _dot(r, h), rh
        p = torch.addcmul(h, _for(rh / rh_before, p), p)
        del a_p, normal_p, h  # a large photo fills the memory
    return x, residual


def _solved_in_data(
    operator: LinearOperator,
    inverse: Map,
    residual: Tensor,
    rho: Tensor,
    iterations: int,
    own: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The same by vectors of the size of y: d = A^T u with (A A^T + rho) u = y - D(z).

    Args:
        operator: A.
        inverse: about (A A^T + rho)^-1.
        residual: y - D(z).
        rho: weight of the prediction.
        iterations: number of iterations.
        own: `(B,)` number of them that change an image; None for all.
    """
    p = h = inverse(residual)
    u, r, rh = torch.zeros_like(residual), residual.clone(), _dot(residual, h)
    moves = None if own is None else _moves(own, iterations)
    for i in range(iterations):
        normal_p = torch.addcmul(operator.forward(operator.adjoint(p)), rho, p)
        step = rh / _dot(p, normal_p)
        if moves is not None:
            step = moves[i] * step
        u.addcmul_(_for(step, p), p)
        r.addcmul_(_for(step, r), normal_p, value=-1)
        if i + 1 == iterations:
            break
        h = inverse(r)
        rh, rh_before = _dot(r, h), rh
        p = torch.addcmul(h, _for(rh / rh_before, p), p)
        del normal_p, h  # a large photo fills the memory
    return operator.adjoint(u), torch.addcmul(r, rho, u)


def _moves(own: Tensor, iterations: int) -> tuple[Tensor, ...]:
    """For each iteration `(B,)`: 1 where it is one of the own ones of an image, and 0 elsewhere."""
    return (own[:, None] > torch.arange(iterations, device=own.device)).to(own).unbind(1)


def _for(values: Tensor, like: Tensor) -> Tensor:
    """Values `(B,)` of images, with as many dimensions as something else of these images has."""
    return values.view(-1, *(1,) * (like.ndim - 1))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products `(B,)`, and a trifle: once an image has converged both are 0."""
    if a.is_cuda:  # one kernel less; a CPU adds a number to images one value after the other
        return torch.addcmul(_trifle(a), a, b).flatten(1).sum(1)
    return (a * b).flatten(1).sum(1) + _trifle(a)


@kept
def _trifle() -> Tensor:
    return torch.tensor(1e-35, dtype=torch.float64)

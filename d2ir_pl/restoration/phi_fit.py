"""Steps of Adam on the degradation phi of an image that is known."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from d2ir_pl.degradations import Phi
from d2ir_pl.degradations.convolutional_blur import ConvolutionalBlur
from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.freed_memory import give_back, one_by_one
from d2ir_pl.restoration.problem import Problem

FEW = 3
"""Parameters of an image, at most, of whose misfit a model is made."""
REACH = 0.031
"""How far a parameter may move from where the model was made: a size by 3 %."""
STEP = 2.0**-8
"""Distance of the parameters of which differences are taken."""


def fit_phi(
    problem: Problem, x: Tensor, phi: Phi, first: Phi, steps: int, lr: float, anchor: float
) -> Phi:
    """Take Adam steps on the misfit of x, in units of the noise, anchored at the first phi.

    Where a blur has few parameters, its misfit is that of a model, made anew once Adam, whose steps
    are hardly longer than `lr`, may have moved them by `REACH`.

    Args:
        problem: degraded images.
        x: `(B, 3, H, W)` images that are taken for clean.
        phi: parameters from which the steps start.
        first: parameters at which they are anchored.
        steps: number of steps.
        lr: their length.
        anchor: weight of the distance from the first phi.
    """
    free, family = problem.degradation.free(phi), problem.degradation
    if not (steps and free):
        return phi
    give_back(x)
    few = sum(phi[name][0].numel() for name in free) <= FEW
    fit = _by_model if few and isinstance(family, ConvolutionalBlur) else _by_autograd
    return family.canonicalize(fit(problem, x, phi, free, first, steps, lr, anchor))


def _by_autograd(
    problem: Problem,
    x: Tensor,
    phi: Phi,
    free: list[str],
    first: Phi,
    steps: int,
    lr: float,
    anchor: float,
) -> Phi:
    """The steps for any number of parameters."""
    leaves = phi.leaves(free)
    adam = torch.optim.Adam(leaves.values(), lr=lr, fused=x.is_cuda)
    weight = problem.sigma_y**-2
    for _ in range(steps):
        adam.zero_grad()
        with torch.enable_grad():
            now = phi.replace(**leaves)
            # A sum, not a mean: the step of one image does not depend on the others.
            total = torch.dot(problem.misfit(x, now), weight)
            if anchor:
                distance = problem.degradation.anchor(now, first).sum()
                total = torch.add(total, distance, alpha=anchor)
        torch.autograd.backward(total)
        adam.step()
        give_back(x)
    return phi.replace(**leaves.detach())


def _by_model(
    problem: Problem,
    x: Tensor,
    phi: Phi,
    free: list[str],
    first: Phi,
    steps: int,
    lr: float,
    anchor: float,
) -> Phi:
    """The steps for few parameters, which are one tensor of all of them."""
    flat = _flat(phi, free)
    adam = torch.optim.Adam([flat], lr=lr, fused=x.is_cuda)
    near = max(1, int(REACH / lr)) if lr else steps
    for i in range(steps):
        if i % near == 0:
            model = Model.of(problem, x, _with(phi, free, flat.clone()), free, first, anchor)
            give_back(x)
        flat.grad = model.gradient(flat)
        adam.step()
    return _with(phi, free, flat)


class Model:
    """A model of what the steps descend, quadratic in the parameters p of each image.

    With r the residual at p0, J its derivatives, n its number of values and a the anchor,

        f(p) = ||r + J (p - p0)||^2 / (n sigma_y^2) + weight a(p),

    a to second order about p0: the model of Gauss and Newton. Differences stand for derivatives.

    Args:
        at: `(B, P)` parameters p0.
        slope: `(B, P)` derivatives of f there.
        curvature: `(B, P, P)` its second ones.
    """

    def __init__(self, at: Tensor, slope: Tensor, curvature: Tensor) -> None:
        self._at, self._slope, self._curvature = at, slope[..., None], curvature

    @classmethod
    def of(
        cls, problem: Problem, x: Tensor, phi: Phi, free: list[str], first: Phi, anchor: float
    ) -> Model:
        """The model at phi, of a blur."""
        at, family = _flat(phi, free), problem.degradation
        assert isinstance(family, ConvolutionalBlur)
        count = at.shape[1]
        fine = at.double()  # differences of float32 would be noise, of which Adam sees the sign
        offsets, weights = _offsets(fine, count), _weights(fine, count)
        near = phi.each(lambda value: _repeated(value.double(), offsets))
        near = _with(near, free, (fine[:, None] + offsets).flatten(0, 1))
        value, columns = family.tangents(x, near, weights[: 1 + count])
        residual = problem.residual_of(value, phi)
        columns = [problem.whitened(column) for column in columns]
        colours = zip(*map(one_by_one, (residual, *columns)), strict=True)
        rows = (torch.stack(parts, 1).flatten(2) for parts in colours)
        squares = reduce(torch.add, (row @ row.mT for row in rows))
        of_each = residual[0].numel() * problem.share_of(residual, phi) * problem.sigma_y**2
        squares = squares * (2 / of_each)[:, None, None]
        slope, curvature = -squares[:, 0, 1:], squares[:, 1:, 1:]
        if anchor:
            start = first.each(lambda value: _repeated(value.double(), offsets))
            distance = family.anchor(near, start).view(len(at), -1)
            own = (anchor * (distance @ weights[1:].T)).to(at)
            slope = slope + own[:, :count]
            curvature = curvature + own[:, count:].view_as(curvature)
        return cls(at, slope, curvature)

    def gradient(self, p: Tensor) -> Tensor:
        """The derivatives `(B, P)` at p of the sum of f over all images."""
        moved = (p - self._at)[..., None]
        return torch.baddbmm(self._slope, self._curvature, moved)[..., 0]


def _repeated(value: Tensor, offsets: Tensor) -> Tensor:
    """A parameter of each image as often as there are offsets."""
    return value[:, None].expand(-1, len(offsets), *value.shape[1:]).flatten(0, 1)


def _flat(phi: Phi, names: list[str]) -> Tensor:
    """The named parameters of each image, `(B, P)`."""
    return torch.cat([phi[name].view(phi.count, -1) for name in names], 1)


def _with(phi: Phi, names: list[str], flat: Tensor) -> Phi:
    """The same with other values of the named parameters, `(B, P)`."""
    parts = flat.split([phi[name][0].numel() for name in names], 1)
    return phi.replace(**{k: v.reshape(phi[k].shape) for k, v in zip(names, parts, strict=True)})


@kept
def _offsets(count: int) -> Tensor:
    """`(n, P)`: none, each parameter up, each down, and each two up."""
    unit = STEP * torch.eye(count, dtype=torch.float64)
    pairs = [unit[i] + unit[j] for i in range(count) for j in range(i)]
    return torch.stack([0 * unit[0], *unit, *-unit, *pairs])


@kept
def _weights(count: int) -> Tensor:
    """`(1 + P + P^2, n)`: the value, the slopes and the curvature, from values at `_offsets`."""
    value, *steps = torch.eye(1 + 2 * count + count * (count - 1) // 2, dtype=torch.float64)
    up, down, pairs = steps[:count], steps[count : 2 * count], iter(steps[2 * count :])
    slopes = [(a - b) / (2 * STEP) for a, b in zip(up, down, strict=True)]
    mixed = {(i, j): next(pairs) - up[i] - up[j] + value for i in range(count) for j in range(i)}
    curvature = [
        up[i] + down[i] - 2 * value if i == j else mixed[max(i, j), min(i, j)]
        for i in range(count)
        for j in range(count)
    ]
    return torch.stack([value, *slopes, *(row / STEP**2 for row in curvature)])

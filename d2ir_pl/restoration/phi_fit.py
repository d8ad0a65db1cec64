"""Steps of Adam on the degradation phi of an image that is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce

import torch
from torch import Tensor

from d2ir_pl.degradations import Phi
from d2ir_pl.degradations.convolutional_blur import ConvolutionalBlur
from d2ir_pl.degradations.kernel_fit import KernelFit, kernel_fit_of
from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.freed_memory import give_back, one_by_one
from d2ir_pl.operators.linear import Map, joined, per_image
from d2ir_pl.restoration.problem import Problem

FEW = 3
"""Parameters of an image, at most, of whose misfit a model is made."""
REACH = 0.031
"""How far a parameter may move from where the model was made: a size by 3 %."""
STEP = 2.0**-8
"""Distance of the parameters of which differences are taken."""


@dataclass(frozen=True, eq=False)
class Objective:
    """What the steps descend, the misfit of known images in units of the noise, and an anchor.

    With m and a the `misfit` and the `anchor` of an image, it is the sum over all images of

        f(phi) = m(phi) / sigma_y^2 + anchor a(phi).

    Attributes:
        problem: degraded images.
        x: `(B, 3, H, W)` images that are taken for clean.
        phi: parameters from which the steps start.
        first: parameters at which they are anchored.
        anchor: weight of the distance from the first phi.
    """

    problem: Problem
    x: Tensor
    phi: Phi
    first: Phi
    anchor: float

    @cached_property
    def free(self) -> list[str]:
        """Names of the parameters that move."""
        return self.problem.degradation.free(self.phi)

    def flat(self, phi: Phi) -> Tensor:
        """The free parameters of each image, `(B, P)`."""
        return joined([phi[name].view(phi.count, -1) for name in self.free], 1)

    def at(self, flat: Tensor, phi: Phi | None = None) -> Phi:
        """A phi, the one of the start if None, with other values of the free parameters."""
        phi = self.phi if phi is None else phi
        parts = flat.split([phi[name][0].numel() for name in self.free], 1)
        values = {k: v.reshape(phi[k].shape) for k, v in zip(self.free, parts, strict=True)}
        return phi.replace(**values)

    def per_square(self, residual: Tensor) -> Tensor:
        """`(B,)` factors that make m / sigma_y^2 of the sum of squares of a residual."""
        share = self.problem.share_of(residual, self.phi)
        return 1 / (residual[0].numel() * share * self.problem.sigma_y**2)

    def gradient(self, flat: Tensor) -> Tensor:
        """The derivatives `(B, P)` of f, by autograd."""
        family, now = self.problem.degradation, self.at(flat)
        leaves = [now[name].requires_grad_() for name in self.free]
        with torch.enable_grad():
            # A sum, not a mean: the step of one image does not depend on the others.
            total = torch.dot(self.problem.misfit(self.x, now), self._weight)
            if self.anchor:
                distance = family.anchor(now, self.first).sum()
                total = torch.add(total, distance, alpha=self.anchor)
        found = torch.autograd.grad(total, leaves)
        return joined([part.view(len(flat), -1) for part in found], 1)

    def gradient_of_kernel(self, fit: KernelFit) -> Map:
        """The same of a free kernel, without autograd."""
        problem = self.problem
        factor = per_image(-2 * self.per_square(problem.y))

        def gradient(flat: Tensor) -> Tensor:
            phi = self.at(flat)
            transposed, residual = fit.at(problem.y, phi)
            r = problem.whitened(factor * problem.whitened(residual), transposed=True)
            return fit.slope(phi, transposed.adjoint(r), self.anchor)

        return gradient

    @cached_property
    def _weight(self) -> Tensor:
        return self.problem.sigma_y**-2


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
    objective, family = Objective(problem, x, phi, first, anchor), problem.degradation
    if not (steps and objective.free):
        return phi
    give_back(x)
    flat = objective.flat(phi).clone()
    adam = torch.optim.Adam([flat], lr=lr, fused=x.is_cuda)
    modelled = flat.shape[1] <= FEW and isinstance(family, ConvolutionalBlur)
    near = (max(1, int(REACH / lr)) if lr else steps) if modelled else steps
    for i in range(steps):
        if i % near == 0:
            gradient = _gradient(objective, flat, modelled)
        flat.grad = gradient(flat)
        adam.step()
        give_back(x)
    return family.canonicalize(objective.at(flat))


def _gradient(objective: Objective, flat: Tensor, modelled: bool) -> Map:
    """What gives the derivatives near some parameters `(B, P)`: a model, or the objective."""
    if modelled:
        return Model.of(objective, flat.clone()).gradient
    fit = kernel_fit_of(objective.problem.degradation, objective.x, objective.first)
    return objective.gradient if fit is None else objective.gradient_of_kernel(fit)


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
    def of(cls, objective: Objective, at: Tensor) -> Model:
        """The model at parameters `(B, P)`, of a blur."""
        problem, phi = objective.problem, objective.at(at)
        family = problem.degradation
        assert isinstance(family, ConvolutionalBlur)
        count = at.shape[1]
        fine = at.double()  # differences of float32 would be noise, of which Adam sees the sign
        offsets, weights = _offsets(fine, count), _weights(fine, count)
        near = phi.each(lambda value: _repeated(value.double(), offsets))
        near = objective.at((fine[:, None] + offsets).flatten(0, 1), near)
        value, columns = family.tangents(objective.x, near, weights[: 1 + count])
        residual = problem.residual_of(value, phi)
        columns = [problem.whitened(column) for column in columns]
        colours = zip(*map(one_by_one, (residual, *columns)), strict=True)
        rows = (torch.stack(parts, 1).flatten(2) for parts in colours)
        squares = reduce(torch.add, (row @ row.mT for row in rows))
        squares = squares * (2 * objective.per_square(residual))[:, None, None]
        slope, curvature = -squares[:, 0, 1:], squares[:, 1:, 1:]
        if objective.anchor:
            start = objective.first.each(lambda value: _repeated(value.double(), offsets))
            distance = family.anchor(near, start).view(len(at), -1)
            own = (objective.anchor * (distance @ weights[1:].T)).to(at)
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

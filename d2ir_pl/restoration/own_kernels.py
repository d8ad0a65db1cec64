"""Photos of a batch that are restored each with a kernel of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from d2ir_pl.degradations import Blur, Compose, Degradation, Phi
from d2ir_pl.diffusion import Prior
from d2ir_pl.diffusion.randomness import same_generator
from d2ir_pl.operators.kernels import padded
from d2ir_pl.restoration.found import FoundKernel, Rival
from d2ir_pl.restoration.lamps import apart
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.searches import side_in_walks
from d2ir_pl.restoration.step import Observer, of_rows, silent

Restore = Callable[[Problem, Phi, Prior, Observer, Tensor | None], Restoration]
"""A method that starts from given parameters, and from what they leave unexplained in the mean of
the channels, `(B,)` in [0, 1], if that is known."""


def each_with_its_kernel(
    problem: Problem, prior: Prior, observer: Observer, restore: Restore
) -> Restoration:
    """Restore every photo of a batch with the kernel that was found of it.

    Those whose kernels are about as large are restored together. Where another kernel is about as
    likely, the result is the weighted mean of the images of both.

    Args:
        problem: blurred photos, whose degradation has a contest, with the kernels that were found.
        prior: diffusion prior.
        observer: function that is told of every step of every photo.
        restore: called with some of the photos, whose degradation has kernels about as large as
            theirs, with their parameters, and with the errors that their kernels leave.
    """
    assert problem.found is not None
    assert problem.found.kernels is not None
    kernels = problem.found.kernels
    rivals = {b: own.rival for b, own in enumerate(kernels) if own.rival is not None}
    again = replace(problem, generators=[same_generator(g) for g in problem.generators])
    first = _restored(problem, dict(enumerate(kernels)), prior, observer, restore)
    other = _restored(again, rivals, prior, silent, restore)
    parts = []
    for b, own in enumerate(kernels):
        row, part = first[b]
        if b in rivals:
            part = _mean(row, part, other[b][1], rivals[b].weight)
        phi = _embedded(problem.degradation, part.phi)
        parts.append(replace(part, phi=phi, kernels=[own.evidence]))
    return Restoration.join(parts)


def with_kernels(problem: Problem, kernels: Sequence[Tensor]) -> tuple[Degradation, Phi]:
    """The family of photos with kernels of the size of some, and its parameters with those.

    Args:
        problem: photos whose degradation is a blur, or a single one where more followed it.
        kernels: `(k, k)` of a correlation for each photo, which share a `_side`.
    """
    degradation, shown = problem.degradation, problem.shown
    side = _side(degradation, kernels[0])
    same = torch.stack([padded(kernel, side) for kernel in kernels]).to(problem.y)
    phi = Phi(logits=same.clamp_min(1e-30).log())
    if isinstance(degradation, Compose):
        blur = _blur(degradation).resized(side).told(phi)
        family = Compose([blur, *degradation.parts[1:]])
        return family, family.init(shown.y, problem.sigma_y)
    return _blur(degradation).resized(side), phi


def _restored(
    problem: Problem,
    kernels: Mapping[int, FoundKernel | Rival],
    prior: Prior,
    observer: Observer,
    restore: Restore,
) -> dict[int, tuple[Problem, Restoration]]:
    """Some photos by their rows, each as a batch of one, and their restorations with kernels."""
    found = {}
    for rows, part in apart(problem):
        alike: dict[Hashable, list[int]] = defaultdict(list)
        for b in rows:
            if b in kernels:
                alike[_kind(problem.degradation, b, kernels[b])].append(b)
        for some in alike.values():
            own = part.select([rows.index(b) for b in some])
            family, phi = with_kernels(own, [kernels[b].kernel for b in some])
            own = replace(own, degradation=family)
            errors = [error for b in some if (error := kernels[b].error) is not None]
            known = torch.tensor(errors).to(own.y) if errors else None
            made = restore(own, phi, prior, of_rows(observer, some), known)
            for i, b in enumerate(some):
                found[b] = own.select([i]), made.select([i])
    return found


def _kind(degradation: Degradation, row: int, kernel: FoundKernel | Rival) -> Hashable:
    """What photos that are restored together have in common.

    Where more followed the blur, how far x reaches is that of the kernel itself.
    """
    if isinstance(degradation, Compose):
        return row
    return _side(degradation, kernel.kernel), kernel.error is None


def _side(degradation: Degradation, kernel: Tensor) -> int:
    """Side of the kernels of the family that a photo with some kernel is restored with."""
    own = kernel.shape[-1]
    if isinstance(degradation, Compose):
        return own
    return max(own, min(side_in_walks(own), _blur(degradation).kernel_size))


def _blur(degradation: Degradation) -> Blur:
    """A blur, or the first of several degradations, which is one."""
    first = degradation.parts[0] if isinstance(degradation, Compose) else degradation
    assert isinstance(first, Blur)
    return first


def _embedded(degradation: Degradation, phi: Phi) -> Phi:
    """Parameters with a smaller kernel as those of a family."""
    name = "0.logits" if isinstance(degradation, Compose) else "logits"
    wide = _blur(degradation).embedded(Phi(logits=phi[name]))
    return phi.replace(**{name: wide["logits"]})


def _mean(problem: Problem, first: Restoration, second: Restoration, weight: float) -> Restoration:
    """The mean of restorations with two kernels, and how far they differ.

    Where the photo does not tell which is right, an artefact of either is halved.

    Args:
        problem: the photo, with the degradation of the first.
        first: a batch of one, whose kernel the result has.
        second: another one.
        weight: that of the second.
    """
    assert first.reblurred is not None
    assert second.reblurred is not None
    reblurred = (1 - weight) * first.reblurred + weight * second.reblurred
    spread = (weight * (1 - weight)) ** 0.5 * (first.x0 - second.x0)
    return replace(
        first,
        x0=(1 - weight) * first.x0 + weight * second.x0,
        std=spread.square().mean(1, keepdim=True).sqrt(),
        reblurred=reblurred,
        residual=problem.misfit_of(problem.residual_of(reblurred, first.phi), first.phi),
        nfe=[first.nfe[0] + second.nfe[0]],
    )

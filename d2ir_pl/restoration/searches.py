"""Searches for the kernels of photos, and the answers to what several of them ask at a time.

A search is a generator. It yields questions, which are walks with kernels and fits of kernels to
images, is sent their answers, and returns what it has found. Each goes its own way; but the
questions that all photos of a batch have at a time are answered together, which keeps a GPU busy
that a photo by itself would not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from d2ir_pl.degradations import Blur, Phi
from d2ir_pl.diffusion import Prior
from d2ir_pl.diffusion.randomness import same_generator
from d2ir_pl.estimators.kernel_refit import refitted, room_of
from d2ir_pl.estimators.kernel_worth import unlikeliness
from d2ir_pl.operators.kernels import padded
from d2ir_pl.operators.linear import size_of
from d2ir_pl.operators.noise_shape import NoiseShape
from d2ir_pl.restoration.degradation_estimation import DegradationEstimation
from d2ir_pl.restoration.problem import Problem, mean_square
from d2ir_pl.restoration.step import silent

WALK = DegradationEstimation(phi_steps=0, steps=6)
"""The short walk that shows what a kernel leads to."""
STRIDE = 8
"""What sides of kernels differ by in walks; those in between are filled up with zeros."""
AT_ONCE = 2**21
"""Pixels of images that are asked for together, at most."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Walked:
    """What a walk leads to.

    Attributes:
        x: `(1, 3, h, w)` image.
        unlikely: how unlikely it is (`unlikeliness`).
        left: root mean square of what it leaves unexplained of the pixels that are observed, in
            the mean of the channels, in [0, 1].
    """

    x: Tensor
    unlikely: float
    left: float


@dataclass(frozen=True, eq=False)
class Walk:
    """A question: which image does a short walk from a photo lead to with a kernel?

    Attributes:
        problem: a photo, a batch of one; its generator is left as it was.
        kernel: `(k, k)` of a correlation, that it may have been blurred by.
        error: what that leaves unexplained, in [0, 1].
    """

    problem: Problem
    kernel: Tensor
    error: float

    @property
    def side(self) -> int:
        """Side of the kernel that the walk takes."""
        return side_in_walks(self.kernel.shape[-1])

    @property
    def kind(self) -> Hashable:
        """What questions that are answered together have in common."""
        problem = self.problem
        whole = problem.observed is None
        return "walk", problem.y.shape, self.side, whole, id(problem.degradation)

    @property
    def pixels(self) -> int:
        """How large its image is."""
        return self.problem.y[0, 0].numel()


@dataclass(frozen=True, eq=False)
class Fit:
    """A question: which kernel explains a photo by an image? See `refitted`.

    The answer is on the CPU, where kernels, which are small, are best looked at.

    Attributes:
        x: `(h, w)` grey image in [0, 1].
        y: `(h, w)` grey photo in [0, 1].
        kernel: `(k, k)`, where the search starts.
        doubt: how doubtful the image is, in [0, 1].
    """

    x: Tensor
    y: Tensor
    kernel: Tensor
    doubt: float

    @property
    def kind(self) -> Hashable:
        """What questions that are answered together have in common."""
        return "fit", size_of(self.x), room_of(self.kernel.shape[-1])

    @property
    def pixels(self) -> int:
        """How large its image is."""
        return self.x.numel()


Question = Walk | Fit
Search = Generator[Sequence[Question], list[Any], T]


def side_in_walks(side: int) -> int:
    """The side up to which kernels of a side are filled up with zeros, to share walks."""
    return -(-(side - 1) // STRIDE) * STRIDE + 1


def walked(problem: Problem, kernel: Tensor, error: float) -> Search[Walked]:
    """The search that asks for a walk alone; see `Walk`."""
    (answer,) = yield [Walk(problem, kernel, error)]
    found: Walked = answer
    return found


def fitted(x: Tensor, y: Tensor, kernel: Tensor, doubt: float) -> Search[Tensor]:
    """The search that asks for a fit alone; see `Fit`."""
    (answer,) = yield [Fit(x, y, kernel, doubt)]
    found: Tensor = answer
    return found


def side_by_side(searches: Sequence[Search[T]]) -> Search[list[T]]:
    """The search that goes on with several at a time; returns what each has found, in order."""
    found: dict[int, T] = {}
    told: dict[int, Any] = dict.fromkeys(range(len(searches)))
    while told:
        asked: dict[int, Sequence[Question]] = {}
        for i, answers in told.items():
            try:
                asked[i] = searches[i].send(answers)
            except StopIteration as end:
                found[i] = end.value
        if not asked:
            break
        rest = iter((yield [question for own in asked.values() for question in own]))
        told = {i: [next(rest) for _ in own] for i, own in asked.items()}
    return [found[i] for i in range(len(searches))]


def answered(search: Search[T], prior: Prior) -> T:
    """What a search finds, all of whose questions are answered.

    Args:
        search: one that has not begun.
        prior: diffusion prior of the walks.
    """
    told: Any = None
    while True:
        try:
            asked = search.send(told)
        except StopIteration as end:
            found: T = end.value
            return found
        told = _answers(asked, prior)


def _answers(asked: Sequence[Question], prior: Prior) -> list[Any]:
    """The answers to some questions, those of one kind together."""
    kinds: dict[Hashable, list[int]] = defaultdict(list)
    for i, question in enumerate(asked):
        kinds[question.kind].append(i)
    found: dict[int, Any] = {}
    for places in kinds.values():
        for some in _at_once(places, lambda i: asked[i].pixels):
            own = [asked[i] for i in some]
            walks = [question for question in own if isinstance(question, Walk)]
            fits = [question for question in own if isinstance(question, Fit)]
            answers = _walk(walks, prior) if walks else _fit(fits)
            found.update(zip(some, answers, strict=True))
    return [found[i] for i in range(len(asked))]


def _at_once(places: Sequence[int], pixels: Callable[[int], int]) -> list[list[int]]:
    """The places in parts of no more than `AT_ONCE` pixels, or of one."""
    parts: list[list[int]] = []
    room = 0
    for i in places:
        if pixels(i) > room:
            parts.append([])
            room = AT_ONCE
        parts[-1].append(i)
        room -= pixels(i)
    return parts


def _walk(asked: Sequence[Walk], prior: Prior) -> list[Walked]:
    """The answers to questions of one kind."""
    each = [own.problem for own in asked]
    one = each[0]
    assert isinstance(one.degradation, Blur)
    kernels = torch.stack([padded(own.kernel, own.side) for own in asked]).to(one.y)
    phi = Phi(logits=kernels.clamp_min(1e-30).log())
    shapes = [problem.shape for problem in each]
    white = all(shape is None for shape in shapes)
    together = replace(
        one,
        y=torch.cat([problem.y for problem in each]),
        sigma_y=torch.cat([(p.problem.sigma_y**2 + (2 * p.error) ** 2).sqrt() for p in asked]),
        degradation=one.degradation.resized(asked[0].side),
        generators=[same_generator(problem.generators[0]) for problem in each],
        observed=_joined([problem.observed for problem in each]),
        shape=None if white else NoiseShape.join(shapes),
    )
    x = WALK(together, phi, prior, silent).x
    residual, images = together.residual(x, phi), together.crop(x)
    left = mean_square(residual.mean(1)) / 4
    if together.observed is not None:
        left = left / together.observed.mean((1, 2, 3)).clamp_min(1e-6)
    numbers = torch.stack([unlikeliness(images, residual), left.sqrt()]).tolist()
    return [Walked(*own) for own in zip(images.split(1), *numbers, strict=True)]


def _joined(each: Sequence[Tensor | None]) -> Tensor | None:
    """The masks of a batch; None where they are, which is none of them or all."""
    known = [mask for mask in each if mask is not None]
    return torch.cat(known) if known else None


def _fit(asked: Sequence[Fit]) -> list[Tensor]:
    """The answers to questions of one kind."""
    x, y = (torch.stack([getattr(own, name) for own in asked]) for name in ("x", "y"))
    kernels = [own.kernel.to(x) for own in asked]
    found = refitted(x, y, kernels, [own.doubt for own in asked])
    flat = torch.cat([kernel.flatten() for kernel in found]).cpu()
    parts = flat.split([kernel.numel() for kernel in found])
    return [part.view_as(kernel) for part, kernel in zip(parts, found, strict=True)]

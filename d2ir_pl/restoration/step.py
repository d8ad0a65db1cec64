"""The steps that a method takes: what it tells an observer of them, and what it keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from d2ir_pl.degradations import Degradation, Phi
from d2ir_pl.operators.linear import rows_of
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import Losses
from d2ir_pl.stages import Stage


@dataclass(frozen=True)
class Step:
    """One optimisation or sampling step, as reported to an observer.

    Attributes:
        stage: part of the method that takes the step.
        index: number of the step in its stage, from 0.
        total: number of steps that the stage has at most.
        images: positions in the batch of the n images that the step concerns.
        loss: `(n,)` misfit of each image, in the units of [-1, 1]; sigma_y^2 where it is
            explained to the noise.
        sigma_y: `(n,)` noise of the images, with a method's `model_error` if it has one.
        x0: function that returns the images as they are now, `(n, 3, H, W)`.
        phi: parameters as they are now.
        degradation: family that phi belongs to.
        latent_norm: `(n,)` RMS of x_T, 1 for white noise; None where no latent is optimised.
        sample: number of this restoration among several of the same images, from 0.
        num_samples: number of those restorations.
    """

    stage: Stage
    index: int
    total: int
    images: list[int]
    loss: Tensor
    sigma_y: Tensor
    x0: Callable[[], Tensor]
    phi: Phi
    degradation: Degradation
    latent_norm: Tensor | None = None
    sample: int = 0
    num_samples: int = 1

    @property
    def residual_over_sigma(self) -> Tensor:
        """`(n,)` RMS of the residual in units of the noise; 1 means explained to it."""
        return (self.loss / self.sigma_y**2).sqrt()


Observer = Callable[[Step], None]


def silent(step: Step) -> None:
    """An observer that ignores what it sees."""


def of_rows(observer: Observer, rows: Sequence[int]) -> Observer:
    """An observer of some images of a batch that tells another one, which knows all of them.

    Args:
        observer: function that is told of every step, with positions in the whole batch.
        rows: positions of the images in it.
    """
    return lambda step: observer(replace(step, images=[rows[b] for b in step.images]))


class Steps:
    """The steps of one stage, of which an observer is told and whose losses are kept.

    Args:
        observer: function that is told of every step.
        stage: part of the method that takes the steps.
        total: number of steps at most.
        problem: images that are restored.
    """

    def __init__(self, observer: Observer, stage: Stage, total: int, problem: Problem) -> None:
        self._observer, self._stage, self._total, self._problem = observer, stage, total, problem
        self._kept: list[tuple[Sequence[int], Tensor]] = []
        self._taken = [0] * len(problem)

    def report(
        self,
        x0: Tensor,
        phi: Phi,
        loss: Tensor,
        images: Sequence[int] | None = None,
        x_T: Tensor | None = None,
    ) -> None:
        """Tell the observer of a step, and keep its loss.

        Args:
            x0: `(n, 3, H, W)` images as they are now.
            phi: their parameters as they are now.
            loss: `(n,)` their misfit.
            images: their positions in the batch; all images of the batch if None.
            x_T: `(n, 3, H, W)` their latents, where these are optimised.
        """
        images = list(range(len(self._problem)) if images is None else images)
        self.keep(loss, images)
        index = self._taken[images[0]]
        for b in images:
            self._taken[b] += 1
        self._observer(
            Step(
                stage=self._stage,
                index=index,
                total=self._total,
                images=images,
                loss=loss,
                sigma_y=rows_of(self._problem.sigma_y, images),
                x0=partial(self._problem.crop, x0),
                phi=phi,
                degradation=self._problem.degradation,
                latent_norm=None if x_T is None else _rms(x_T.detach()),
            )
        )

    def keep(self, loss: Tensor, images: Sequence[int]) -> None:
        """Keep the loss of images that no step has led to, such as those that a stage starts from.

        Args:
            loss: `(n,)` their misfit.
            images: their positions in the batch.
        """
        self._kept.append((images, loss))

    @property
    def losses(self) -> Losses:
        """The losses of every image so far, under the name of the stage."""
        losses: list[list[float]] = [[] for _ in self._taken]
        if self._kept:
            rows = [b for images, _ in self._kept for b in images]
            values = torch.cat([values for _, values in self._kept]).tolist()
            for b, value in zip(rows, values, strict=True):
                losses[b].append(value)
        return {self._stage: losses}


def _rms(x: Tensor) -> Tensor:
    """`(n,)` root of the mean square of each image."""
    return x.square().flatten(1).mean(1).sqrt()

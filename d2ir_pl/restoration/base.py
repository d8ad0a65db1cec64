"""The call that every restoration method answers."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar, Self

import torch

from d2ir_pl.degradations import Degradation
from d2ir_pl.degradations.arguments import KeepsArguments
from d2ir_pl.diffusion import Prior
from d2ir_pl.restoration.found import Found
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.step import Observer, silent

GENTLER = 0.1
"""Factor of the step sizes for an image on which a method has diverged."""


class RestorationMethod(KeepsArguments, ABC):
    """A way to restore images. Its settings are constructor arguments, its state lives in a call.

    A method of one's own defines `solve`, and `check` if it does not fit everything.

    Attributes:
        step_sizes: names of the settings that `gentler` makes smaller.
        through_network: whether the method takes gradients through the prior's network, for which
            a prior needs several times the memory.
    """

    step_sizes: ClassVar[tuple[str, ...]] = ()
    through_network: bool = False

    def restore(self, problem: Problem, prior: Prior, observer: Observer = silent) -> Restoration:
        """Restore a batch. Everything about one image is independent of its neighbours.

        Args:
            problem: degraded images, with all that is known of them.
            prior: diffusion prior.
            observer: function that is told of every step.

        Raises:
            ValueError: if the method does not fit the degradation or the prior.
        """
        known = self.prepared(problem, prior)
        with torch.autocast(problem.y.device.type, enabled=False):
            result = self.solve(known, prior, observer)
        if problem.found is not None or known.found is None:
            return result
        spent = zip(result.nfe, known.found.evaluations(len(known)), strict=True)
        return replace(result, nfe=[n + before for n, before in spent])

    def prepared(self, problem: Problem, prior: Prior) -> Problem:
        """The problem with what need not be found again for every sample of a restoration.

        It is the same where that was done before.

        Args:
            problem: degraded images.
            prior: diffusion prior.

        Raises:
            ValueError: if the method does not fit the degradation or the prior.
        """
        self.check(problem.degradation, prior)
        with torch.autocast(problem.y.device.type, enabled=False):
            prior.prepare(self.through_network)
            return problem if problem.found is not None else self.find(problem, prior)

    def find(self, problem: Problem, prior: Prior) -> Problem:  # noqa: ARG002
        """The part of `prepared` that a method defines: the problem with what is `found`.

        Args:
            problem: degraded images in float32.
            prior: diffusion prior.
        """
        return replace(problem, found=Found())

    @abstractmethod
    def solve(self, problem: Problem, prior: Prior, observer: Observer) -> Restoration:
        """Restore a batch that fits the method: the part of `restore` that a method defines.

        It is called without autocast. It reports its steps by `Steps`, treats images independently
        of each other, draws nothing but from the problem's generators, and ends in
        `Problem.result`.

        Args:
            problem: degraded images in float32.
            prior: diffusion prior.
            observer: function that is told of every step.
        """

    def read(self, problem: Problem) -> None:
        """Read off the photos what `solve` asks of them before it asks the prior.

        The estimates are remembered: `solve` finds them where this was done before, also in
        another process, see `Ahead`. It may do less than `solve` asks for, and never changes a
        result.

        Args:
            problem: degraded images, as they are given to `solve`.
        """
        problem.init()

    def check(self, degradation: Degradation, prior: Prior) -> None:  # noqa: ARG002
        """Refuse a degradation or a prior that the method does not fit.

        Args:
            degradation: family of degradations.
            prior: diffusion prior.

        Raises:
            ValueError: if the method does not fit; the message says what to use instead.
        """
        return None

    def gentler(self) -> Self | None:
        """The same method with a tenth of its step sizes, for an image on which it has diverged.

        It is None for a method without step sizes.
        """
        if not self.step_sizes:
            return None
        method = copy.copy(self)
        for name in self.step_sizes:
            setattr(method, name, GENTLER * getattr(self, name))
        return method

"""Reading off photos, in a process beside, what their restoration will ask."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from d2ir_pl.batches.aliased import as_sampled
from d2ir_pl.batches.observation import Observation
from d2ir_pl.batches.plan import Plan
from d2ir_pl.batches.restoring import exact_gradients
from d2ir_pl.batches.rounded import as_rounded
from d2ir_pl.degradations import Degradation
from d2ir_pl.estimators.remembered import noting, remember
from d2ir_pl.inputs.samples import Sample
from d2ir_pl.restoration import RestorationMethod

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ahead:
    """Reads off photos what can be known of them before the prior is asked.

    That is the noise, the width or the kernel of a blur, the tables of a JPEG, and what is wrong
    with a photo where that is to be found out. It takes seconds in which a GPU would wait, and
    depends on the photo and the settings alone. So a process that reads files ahead does it too:
    the restoration then finds these estimates among those that it remembers. It makes the rest
    itself, and comes to the same results.

    Attributes:
        degradation: family that explains the photos, on the CPU; chosen for each if None.
        method: way to restore them; what suits the chosen degradation if None.
        seed: see `RestorationModule`.
        sigma_y: see there.
        second_opinion: see there.
    """

    degradation: Degradation | None
    method: RestorationMethod | None
    seed: int
    sigma_y: float | None
    second_opinion: bool

    def __call__(self, samples: Iterable[Sample]) -> bytes:
        """The estimates of some photos, for `take_over`."""
        with noting() as readings, exact_gradients(torch.device("cpu")), torch.no_grad():
            for sample in samples:
                try:
                    self._read(sample)
                except Exception:  # it comes up again, and is told, where the photo is restored
                    _logger.debug("%s could not be measured", sample.item.name, exc_info=True)
        # By value: tensors in shared memory would each keep a file open.
        return pickle.dumps(readings)

    def _read(self, sample: Sample) -> None:
        if self.degradation is None:
            plan = Plan.chosen(sample.photo, sample.y, self.sigma_y, self.method)
        else:
            assert self.method is not None
            plan = Plan(self.degradation, self.method)
        observation = Observation.given(sample, sample.y[None], plan.degradation)
        observation, plan = as_rounded(observation, plan, self.sigma_y)
        if as_sampled(observation, plan, self.second_opinion) is plan:
            plan.method.read(Observation.problem([observation], plan, self.seed, self.sigma_y))


def take_over(readings: bytes) -> None:
    """Remember what `Ahead` has read in another process of this program."""
    if readings:
        remember(pickle.loads(readings))

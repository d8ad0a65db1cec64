"""Restoring the photos of a batch: what `predict` and the Python function have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from d2ir_pl.batches.aliased import as_sampled
from d2ir_pl.batches.amount import Amount
from d2ir_pl.batches.attempts import Attempted, Attempts, Outcome
from d2ir_pl.batches.observation import Observation
from d2ir_pl.batches.part import within_the_whole
from d2ir_pl.batches.plan import Plan, alike
from d2ir_pl.batches.rounded import as_rounded
from d2ir_pl.batches.second_opinion import reconsidered
from d2ir_pl.errors import OutputError, in_words
from d2ir_pl.operators.linear import size_of
from d2ir_pl.restoration import (
    Observer,
    Restoration,
    RestorationMethod,
    Step,
    restore_samples,
    with_intervals,
    with_provenance,
)


class _ObserverError(BaseException):
    """An observer has raised an error, which is no fault of the photo that it was told of.

    It is no Exception, so that nothing on its way takes it for such a fault.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def restore_batch(
    attempts: Attempts,
    observations: Mapping[int, Observation],
    plan: Plan,
    observers: Sequence[Observer] = (),
    *,
    seed: int = 0,
    sigma_y: float | None = None,
    num_samples: int = 1,
    second_opinion: bool = False,
    amount: Amount | None = None,
) -> Outcome:
    """Restore the photos of a batch, together or apart.

    Where only a region of them is kept, no more than that and what lies around it is computed.

    Args:
        attempts: what is tried, with which prior, until a photo is restored.
        observations: photos of one size by their positions in the batch.
        plan: way to restore them.
        observers: functions that are told of every step, with the positions of its photos.
        seed: number from which, with the key of its file, every photo draws its noise.
        sigma_y: standard deviation of the photos' noise in [0, 1]; estimated if None.
        num_samples: number of restorations of each photo, whose mean is the result.
        second_opinion: whether a gentler hypothesis takes the place of a result that is likely to
            be further from the truth than its photo, and photos that look aliased are restored as
            such.
        amount: how much of the restorations is kept; all of them if None.
    """
    together = partial(
        _restored,
        attempts,
        observers=observers,
        seed=seed,
        sigma_y=sigma_y,
        num_samples=num_samples,
        second_opinion=second_opinion,
    )
    outcome, plans, photos = Outcome(), {}, {}
    for b, observation in observations.items():
        with outcome.costing(b, "it could not be told how it was compressed"):
            photos[b], plans[b] = as_rounded(observation, plan, sigma_y)
    with _errors_of_observers():
        for group in filter(None, _as_planned(photos, plans, plan)):
            own = plans[next(iter(group))]
            if amount is None or amount.whole:
                outcome.join(together(group, plan=own))
            else:
                outcome.join(_in_part(partial(together, plan=own), group, own, amount))
    return outcome


def _as_planned(
    photos: Mapping[int, Observation], plans: Mapping[int, Plan], plan: Plan
) -> list[dict[int, Observation]]:
    """The photos of a batch that are restored by its plan, and those that have JPEG behind that."""
    rounded = {b: photo for b, photo in photos.items() if plans[b] is not plan}
    return [{b: photo for b, photo in photos.items() if b not in rounded}, rounded]


def _in_part(
    together: Callable[[Mapping[int, Observation]], Outcome],
    observations: Mapping[int, Observation],
    plan: Plan,
    amount: Amount,
) -> Outcome:
    """Restore so much of photos as is kept, or as that needs."""
    parts, whole, outcome = {}, {}, Outcome()
    for b, observation in observations.items():
        with outcome.costing(b, "its region could not be found"):  # such as a mask that is missing
            part = amount.part_of(observation)
            if part is None:
                whole[b] = observation
            else:
                parts[b] = part
    outcome.join(together(whole))
    for b, part in parts.items():
        outcome.join(together({b: part}))
        if b in outcome.restored:
            with outcome.costing(b, "its part could not be put back"):
                restored = outcome.restored[b]
                complete = within_the_whole(part, restored.restoration, outcome.plans[b])
                outcome.restored[b] = replace(restored, restoration=complete)
    for b, attempted in list(outcome.restored.items()):
        own = outcome.plans[b]
        if own.degradation is plan.degradation:  # with what the photo's file says of it
            own = replace(own, degradation=observations[b].degradation)
        with outcome.costing(b, "a part of its restoration could not be kept"):
            restoration = amount.applied(attempted.restoration, observations[b], own)
            outcome.restored[b] = replace(attempted, restoration=restoration)
    return outcome


def _restored(
    attempts: Attempts,
    observations: Mapping[int, Observation],
    plan: Plan,
    observers: Sequence[Observer] = (),
    *,
    seed: int,
    sigma_y: float | None,
    num_samples: int,
    second_opinion: bool = False,
) -> Outcome:
    """Restore photos, or parts of them, and keep all of that; see `restore_batch`."""

    def restore(images: Sequence[int], method: RestorationMethod) -> Restoration:
        part, told = [observations[b] for b in images], _telling(observers, images)
        problem = method.prepared(Observation.problem(part, plan, seed, sigma_y), attempts.prior)
        restored = restore_samples(method, num_samples, problem, attempts.prior, told)
        restored = with_provenance(problem, restored)
        restored = with_intervals(restored, plan.degradation, method, attempts.prior, num_samples)
        return replace(restored, x0=_with_kept(part, restored.x0))

    once_more = partial(
        _restored, attempts, observers=observers, seed=seed, num_samples=num_samples
    )

    def again(b: int, own: Observation, other: Plan, sigma: float | None) -> Attempted | None:
        sigma = sigma_y if sigma is None else sigma
        return once_more({b: own}, other, sigma_y=sigma).restored.get(b)

    outcome, plans = Outcome(), {}
    for b, observation in observations.items():
        with outcome.costing(b, "it could not be told how it was sampled"):
            plans[b] = as_sampled(observation, plan, second_opinion)
    if not plans:
        return outcome
    size = size_of(next(iter(observations.values())).y)
    pixels = math.prod(plan.degradation.frame.output_size(size))
    together = [b for b, own in plans.items() if own.degradation is plan.degradation]
    outcome.join(attempts(restore, plan.method, together, pixels))
    outcome.plans |= {b: plans[b] for b in together}
    for b, first in outcome.restored.items() if second_opinion else ():
        try:
            result = reconsidered(first, observations[b], plans[b], partial(again, b))
            outcome.restored[b], outcome.plans[b] = result
        except OutputError:
            raise
        except Exception as error:  # the first one stands
            first.notes.append(f"a second opinion could not be had ({in_words(error)})")
    for others in alike({b: own for b, own in plans.items() if b not in together}):
        own = next(iter(others.values()))
        apart = {b: observations[b].under(own.degradation) for b in others}
        outcome.join(once_more(apart, own, sigma_y=sigma_y))
        outcome.plans |= others
    return outcome


@contextmanager
def _errors_of_observers() -> Iterator[None]:
    """Raise what an observer has raised inside."""
    try:
        yield
    except _ObserverError as failed:
        raise failed.error from failed.error.__cause__


def _telling(observers: Sequence[Observer], images: Sequence[int]) -> Observer:
    """An observer of some images that tells others, which know them by their positions."""

    def tell(step: Step) -> None:
        step = replace(step, images=[images[i] for i in step.images])
        try:
            for observer in observers:
                observer(step)
        except Exception as error:
            raise _ObserverError(error) from error

    return tell


def _with_kept(observations: Sequence[Observation], x0: Tensor) -> Tensor:
    """Restored images `(B, 3, H, W)` with those pixels that are kept as the photos had them."""
    if all(o.kept is None or o.kept.shape[-2:] != x0.shape[-2:] for o in observations):
        return x0
    whole = [
        torch.zeros_like(x[:1]) if o.kept is None else o.kept[0]
        for o, x in zip(observations, x0, strict=True)
    ]
    return torch.where(torch.stack(whole) == 1, torch.cat([o.y for o in observations]), x0)


@contextmanager
def exact_gradients(device: torch.device) -> Iterator[None]:
    """Compute inside with gradients and in float32, whatever the caller's modes are.

    Tensors of inference mode, in which Lightning predicts, cannot be optimised. Autocast would
    round blurs and scores: only the prior, which casts itself, is reduced.

    Args:
        device: device that is computed on.
    """
    exact = torch.autocast(device.type, enabled=False)
    with torch.inference_mode(False), torch.enable_grad(), exact:
        yield

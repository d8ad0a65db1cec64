"""Test-time optimisation as a LightningModule."""

from __future__ import annotations

import copy
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.model_helpers import is_overridden

from d2ir_pl.batches.ahead import Ahead, take_over
from d2ir_pl.batches.amount import Amount
from d2ir_pl.batches.attempts import Attempts
from d2ir_pl.batches.observation import Observation
from d2ir_pl.batches.plan import Plan, alike
from d2ir_pl.batches.restoring import exact_gradients, restore_batch
from d2ir_pl.degradations import Compose, Degradation, GaussianBlur, Jpeg, Light
from d2ir_pl.errors import UsageError, in_words, naming
from d2ir_pl.inputs.items import Failure
from d2ir_pl.operators.fetching import on_cpu
from d2ir_pl.operators.fft_plans import bound_fft_plans
from d2ir_pl.prediction.arguments import check_arguments
from d2ir_pl.prediction.at_hand import AtHand
from d2ir_pl.prediction.checkpoints import SavesItsSettings
from d2ir_pl.prediction.conversion import as_batch
from d2ir_pl.prediction.data import Batch, RestorationDataModule
from d2ir_pl.prediction.earlier import EarlierRun
from d2ir_pl.prediction.numbering import Numbering
from d2ir_pl.prediction.outcome import BatchResult, image_result
from d2ir_pl.priors import UNetFlags, load_prior
from d2ir_pl.priors.compiling import obstacle
from d2ir_pl.priors.network import Tile
from d2ir_pl.priors.precision import compute_dtype
from d2ir_pl.restoration import D2IR, Observer, PhiTrace, RestorationMethod
from d2ir_pl.restoration.description import described


class RestorationModule(SavesItsSettings):
    """Restores each batch of degraded images with a method, a degradation and a prior.

    `trainer.predict(module, ...)` takes a `RestorationDataModule`, or DataLoaders of what
    `as_batch` knows: tensors, tuples and dictionaries of them. It returns a `BatchResult` for each
    batch. A checkpoint of the module holds its settings, as plain values, and not the weights of
    the prior: `load_from_checkpoint` runs no code that a checkpoint brings along.

    Args:
        prior: `natural-small` (embedded), a published one such as `imagenet-256` (after
            `download`), a file, or a folder of the diffusers library.
        degradation: the family of degradations that explains the photos; `auto` looks at each
            photo and chooses one.
        method: way to restore them; `auto` takes what suits a degradation that was chosen so.
        seed: number, at least 0, from which, with its own name, every image draws its noise.
        sigma_y: standard deviation of the photos' noise in [0, 1]; estimated if null.
        prior_flags: guided-diffusion's flags of a `.pt` state dict given as `prior`.
        tile: largest side in pixels that the prior sees at once; larger photos are predicted on
            overlapping tiles. `auto` is five times the size of the images that the prior was
            trained on, or less where memory does not hold that.
        num_samples: number of restorations of each photo; their mean is the result, and their
            standard deviation a map of where it is uncertain.
        compile: whether the prior's network is compiled by torch.compile, which takes minutes at
            the start and for every new size of photos, and is kept for later runs. Where no
            compiler is installed, or it fails, the network is evaluated as it is.
        label: class of every prediction, 0..999 for ImageNet, where the prior is
            class-conditional.
        start: output folder of an earlier run, in which every photo has the phi that was estimated
            there, or the `.json` of one photo, whose phi all photos have. It is taken as known:
            the degradation must be the same, or `auto`, which takes that from there too.
        second_opinion: whether a result that is likely to be further from the truth than its photo
            is replaced by that of a gentler hypothesis, or by the photo itself, and a note says so;
            and whether photos that look aliased are enlarged as such. Null is true where the
            degradation is `auto`. Phi that is known from `start` is not doubted.
        strength: how much of the restoration is kept, from 0 for the photo itself to 1: less than 1
            leaves a share of the blur and of the grain, see `Amount`.
        keep_grain: share of what was taken for noise that comes back, in [0, 1].
        region: where the restoration applies: a mask file whose bright pixels are restored, a
            folder of these with the names of the photos, or the box [top, left, height, width];
            everywhere if null.
    """

    rename: Callable[[Batch], Batch] | None = None
    """Function that gives the images of a batch names that files can be written under."""

    def __init__(
        self,
        prior: str = "natural-small",
        degradation: Degradation | Literal["auto"] | None = None,
        method: RestorationMethod | Literal["auto"] | None = None,
        seed: int = 0,
        sigma_y: float | None = None,
        prior_flags: UNetFlags | None = None,
        tile: Tile = "auto",
        label: int | None = None,
        num_samples: int = 1,
        compile: bool = False,  # noqa: A002
        start: str | None = None,
        second_opinion: bool | None = None,
        strength: float = 1.0,
        keep_grain: float = 0.0,
        region: str | list[int] | None = None,
    ) -> None:
        super().__init__()
        check_arguments(degradation, method, seed, sigma_y, num_samples)
        self.chooses_degradation = degradation == "auto"
        self.chooses_method = method == "auto"
        self.start = None if start is None else EarlierRun(Path(start))
        # Where they are chosen, these only stand in for what is chosen photo by photo.
        self.degradation: Degradation = (
            GaussianBlur() if degradation is None or degradation == "auto" else degradation
        )
        self.method: RestorationMethod = D2IR() if method is None or method == "auto" else method
        self._load_prior = partial(load_prior, prior, prior_flags, tile, label)
        self.prior = self._load_prior()
        self.method.check(self.degradation, self.prior)
        if self.chooses_degradation and not self.chooses_method:
            with naming("degradation auto needs a method for all that it may choose"):
                self.method.check(Compose([GaussianBlur(), Light(), Jpeg()]), self.prior)
        self.compiles = compile
        self.amount = Amount(strength, keep_grain, region)
        self.seed = seed
        self.sigma_y = sigma_y
        self.num_samples = num_samples
        self.asks = self.chooses_degradation if second_opinion is None else second_opinion
        self.observers: list[Observer] = []
        """Functions that are told of every step, with the positions of its images in the batch."""
        self.batch_observers: list[Callable[[Batch], None]] = []
        """Functions that are told of every batch before its first step."""
        # Where there are fewer photos than processes, some have nothing to do.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self._attempts = Attempts(self.prior)
        self._numbering = Numbering(None)
        self._precision = "32-true"
        settings: dict[str, Any] = {"prior": prior, "tile": tile, "label": label}
        settings |= {"prior_flags": prior_flags, "seed": seed, "sigma_y": sigma_y}
        settings |= {"num_samples": num_samples, "compile": compile, "start": start}
        settings["second_opinion"] = second_opinion
        settings |= {"strength": strength, "keep_grain": keep_grain, "region": region}
        settings["degradation"] = "auto" if self.chooses_degradation else self.degradation
        settings["method"] = "auto" if self.chooses_method else self.method
        self.save_hyperparameters(described(settings))

    def configure_callbacks(self) -> list[pl.Callback]:
        """Refuse what this module cannot do: of all hooks, Lightning calls this one first.

        Raises:
            UsageError: if the trainer is to fit, validate or test.
        """
        doing = str(self.trainer.state.fn.value) if self.trainer.state.fn else "predict"
        step = {"fit": "training_step", "validate": "validation_step", "test": "test_step"}
        if doing in step and not is_overridden(step[doing], self):
            raise UsageError(
                f"{type(self).__name__} has nothing to {doing}: it restores photos with a frozen "
                "prior; call trainer.predict, which also scores photos that have references"
            )
        return []

    def setup(self, stage: str) -> None:  # noqa: ARG002
        # Once, before the strategy wraps the module: converted later, the weights would be
        # inference tensors, through which no gradient passes.
        dtype, before = compute_dtype(self.trainer.precision), self.prior.compute_dtype
        self.prior.cast(dtype)
        if before not in (dtype, torch.float32):
            # What an earlier prediction has rounded is read again.
            weights = self._load_prior().cast(dtype).state_dict()
            self.prior.load_state_dict(weights)
        device = self.trainer.strategy.root_device
        bound_fft_plans(device)
        if self.compiles and obstacle(device) is None:
            self.prior.compile_network()
        self._precision = str(self.trainer.precision)
        self._numbering = Numbering(self.trainer)
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, RestorationDataModule):
            data.ahead = None if self.start is not None else self._ahead()

    def _ahead(self) -> Ahead:
        """What reads off the photos ahead what this module will ask of them."""
        family = None if self.chooses_degradation else copy.deepcopy(self.degradation).cpu()
        method = None if self.chooses_method else self.method
        return Ahead(family, method, self.seed, self.sigma_y, self.asks)

    def predict_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> BatchResult:
        """Restore a batch: a `Batch`, or anything else that `as_batch` takes."""
        with exact_gradients(self.device):
            numbers = partial(self._numbering, batch_idx, dataloader_idx)
            photos = as_batch(batch, numbers, forgiving=self.rename is not None).to(self.device)
            take_over(photos.readings)
            photos = photos if self.rename is None else self.rename(photos)
            parts = [result for part in photos.parts for result in self._restore(part)]
        results = [image for part in parts for image in part.results]
        return BatchResult(results, photos.failures + [f for part in parts for f in part.failures])

    def _restore(self, batch: Batch) -> list[BatchResult]:
        """Restore a batch of one size: those together that are restored in the same way."""
        for tell in self.batch_observers:
            tell(batch)
        rows = list(range(len(batch)))
        if not self.chooses_degradation and rows:
            plan = Plan(self.degradation, self.method, start=self.start)
            return [self._predict(batch, dict.fromkeys(rows, plan))]
        plans, lost = {}, []
        for b in rows:
            try:
                plans[b] = self._plan(batch, b)
            except UsageError:
                raise
            except Exception as error:  # whatever one photo does, the others are restored
                reason = f"its damage could not be measured ({in_words(error)}): name a degradation"
                lost.append(batch.samples[b].failed(reason, traceback.format_exc()))
        return [BatchResult([], lost), *(self._predict(batch, own) for own in alike(plans))]

    def _predict(self, batch: Batch, plans: dict[int, Plan]) -> BatchResult:
        """Restore those images of a batch that are restored in the same way.

        Args:
            batch: images of one size.
            plans: how each is restored, by its position: they differ in their reasons alone.
        """
        start = time.perf_counter()
        plan = replace(next(iter(plans.values())), reasons=())
        observations, refused = self._observe(batch, plans, plan)
        phi_trace = PhiTrace()
        outcome = restore_batch(
            self._attempts,
            observations,
            plan,
            [phi_trace, *self.observers],
            seed=self.seed,
            sigma_y=self.sigma_y,
            num_samples=self.num_samples,
            second_opinion=self.asks,
            amount=self.amount,
        )
        account = partial(
            image_result,
            precision=self._precision,
            seed=self.seed,
            num_samples=self.num_samples,
            seconds=(time.perf_counter() - start) / max(1, len(observations)),
        )
        fault = "no account of its restoration could be made"
        at_hand: dict[int, AtHand] = {}
        for b, restored in sorted(outcome.restored.items()):
            with outcome.costing(b, fault):
                at_hand[b] = AtHand.of(observations[b], restored, outcome.plans[b])
        results = []
        for b, here in zip(at_hand, on_cpu([*at_hand.values()]), strict=True):
            with outcome.costing(b, fault):
                restored, own, change = outcome.restored[b], outcome.plans[b], phi_trace.changes(b)
                results.append(account(observations[b], restored, here, own, phi_change=change))
        lost = [
            batch.samples[b].failed(reason, outcome.traces.get(b, ""))
            for b, reason in outcome.failed.items()
        ]
        return BatchResult(results, [*refused, *lost])

    def _plan(self, batch: Batch, b: int) -> Plan:
        """What is chosen for a photo."""
        if batch.y.ndim != 4 or batch.degrade_noise is not None:
            raise UsageError("degradation auto takes photos that are degraded, and no scenes")
        method = None if self.chooses_method else self.method
        if self.start is not None:
            try:
                return Plan.continued(self.start(batch.samples[b]), self.start, method)
            except ValueError:  # which the photo is refused for
                return Plan(self.degradation, self.method, start=self.start)
        return Plan.chosen(batch.samples[b].photo, batch.y[b], self.sigma_y, method)

    def _observe(
        self, batch: Batch, plans: dict[int, Plan], plan: Plan
    ) -> tuple[dict[int, Observation], list[Failure]]:
        """Images of a batch by their positions, and those that lack something."""
        observations, refused = {}, []
        for b, own in plans.items():
            sample, y = batch.samples[b], batch.y[b : b + 1]
            try:
                if batch.degrade_noise is None:
                    observation = Observation.given(sample, y, plan.degradation)
                else:
                    noise, photons = batch.degrade_noise, batch.degrade_photons
                    observation = Observation.made(
                        sample, y, plan.degradation, noise, self.seed, photons
                    )
                observations[b] = replace(observation.started(plan.start), why=own.reasons)
            except ValueError as error:  # such as a mask that is missing
                refused.append(sample.failed(str(error)))
            except Exception as error:  # whatever one photo does, the others are restored
                reason = f"it could not be prepared ({in_words(error)}): export it again"
                refused.append(sample.failed(reason, traceback.format_exc()))
        return observations, refused

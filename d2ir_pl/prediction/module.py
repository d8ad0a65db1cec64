"""Test-time optimisation as a LightningModule."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
import torch

from d2ir_pl.batches.attempts import Attempted, Attempts
from d2ir_pl.batches.plan import Observation, Plan
from d2ir_pl.batches.restoring import exact_gradients, restore_batch
from d2ir_pl.degradations import Compose, Degradation, GaussianBlur, Jpeg, Light
from d2ir_pl.errors import naming, require
from d2ir_pl.inputs.items import Failure
from d2ir_pl.prediction.data import Batch
from d2ir_pl.prediction.earlier import EarlierRun
from d2ir_pl.prediction.outcome import BatchResult, ImageResult, score
from d2ir_pl.priors import UNetFlags, load_prior
from d2ir_pl.priors.network import Tile
from d2ir_pl.priors.precision import compute_dtype
from d2ir_pl.restoration import D2IR, Observer, PhiTrace, RestorationMethod


class RestorationModule(pl.LightningModule):
    """Restores each batch of degraded images with a method, a degradation and a prior.

    Args:
        prior: `natural-small` (embedded), a published one such as `imagenet-256` (after
            `download`), a file, or a folder of the diffusers library.
        degradation: the family of degradations that explains the photos; `auto` looks at each
            photo and chooses one.
        method: way to restore them; `auto` takes what suits a degradation that was chosen so.
        seed: number from which, with its own name, every image draws its noise.
        sigma_y: standard deviation of the photos' noise in [0, 1]; estimated if null.
        prior_flags: guided-diffusion's flags of a `.pt` state dict given as `prior`.
        tile: largest side in pixels that the prior sees at once; larger photos are predicted on
            overlapping tiles. `auto` is five times the size of the images that the prior was
            trained on, or less where memory does not hold that.
        num_samples: number of restorations of each photo; their mean is the result, and their
            standard deviation a map of where it is uncertain.
        compile: whether the prior's network is compiled by torch.compile, which takes minutes at
            the start and for every new size of photos.
        label: class of every prediction, 0..999 for ImageNet, where the prior is
            class-conditional.
        start: output folder of an earlier run, in which every photo has the phi that was estimated
            there, or the `.json` of one photo, whose phi all photos have. It is taken as known:
            the degradation must be the same, or `auto`, which takes that from there too.
    """

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
    ) -> None:
        super().__init__()
        require("num_samples", num_samples, 1)
        if sigma_y is not None:
            require("sigma_y", sigma_y, 0, below=1, remedy="which is grey levels / 255")
        if method == "auto" and degradation != "auto":
            raise ValueError(
                "method auto chooses what suits a chosen degradation: set the degradation to auto "
                "too, or name a method"
            )
        self.start = None if start is None else EarlierRun(Path(start))
        self.chooses_degradation = degradation == "auto"
        self.chooses_method = method == "auto"
        # Where they are chosen, these only stand in for what is chosen photo by photo.
        self.degradation: Degradation = (
            GaussianBlur() if degradation is None or degradation == "auto" else degradation
        )
        self.method: RestorationMethod = D2IR() if method is None or method == "auto" else method
        self.prior = load_prior(prior, prior_flags, tile, label)
        self.method.check(self.degradation, self.prior)
        if self.chooses_degradation and not self.chooses_method:
            with naming("degradation auto needs a method for all that it may choose"):
                self.method.check(Compose([GaussianBlur(), Light(), Jpeg()]), self.prior)
        if compile:
            self.prior.unet.compile()
        self.seed = seed
        self.sigma_y = sigma_y
        self.num_samples = num_samples
        self.degrade_noise: float | None = None
        """Noise in [0, 1] that is added to clean inputs; None where inputs are degraded photos."""
        self.observers: list[Observer] = []
        """Functions that are told of every step, with the positions of its images in the batch."""
        self._attempts = Attempts(self.prior)
        self._precision = "32-true"

    def setup(self, stage: str) -> None:  # noqa: ARG002
        # Once, before the strategy wraps the module: converted later, the weights would be
        # inference tensors, through which no gradient passes.
        self.prior.cast(compute_dtype(self.trainer.precision))
        self._precision = str(self.trainer.precision)

    def transfer_batch_to_device(
        self,
        batch: Batch,
        device: torch.device,
        dataloader_idx: int,  # noqa: ARG002
    ) -> Batch:
        return replace(batch, y=batch.y.to(device))

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> BatchResult:  # noqa: ARG002
        start = time.perf_counter()
        with exact_gradients(self.device):
            try:
                plan = self._plan(batch)
            except (MemoryError, RuntimeError) as error:
                reason = f"its damage could not be measured ({error!r:.200}): name a degradation"
                lost = [sample.failed(reason) for sample in batch.samples]
                return BatchResult([], [*batch.failures, *lost])
            observations, refused = self._observe(batch, plan)
            trace = PhiTrace()
            outcome = restore_batch(
                self._attempts,
                observations,
                plan,
                [trace, *self.observers],
                seed=self.seed,
                sigma_y=self.sigma_y,
                num_samples=self.num_samples,
            )
            seconds = (time.perf_counter() - start) / max(1, len(observations))
            results = [
                self._result(plan, observations[b], restored, trace.changes(b), seconds)
                for b, restored in sorted(outcome.restored.items())
            ]
        lost = [batch.samples[b].failed(reason) for b, reason in outcome.failed.items()]
        return BatchResult(results, [*batch.failures, *refused, *lost])

    def _plan(self, batch: Batch) -> Plan:
        """What the settings say, or what is chosen for the photo of the batch."""
        if not self.chooses_degradation or not batch.samples:
            return Plan(self.degradation, self.method, start=self.start)
        if len(batch.samples) > 1 or batch.y.ndim != 4 or self.degrade_noise is not None:
            raise ValueError("degradation auto takes one photo at a time, already degraded")
        method = None if self.chooses_method else self.method
        if self.start is not None:
            try:
                return Plan.continued(self.start(batch.samples[0]), self.start, method)
            except ValueError:  # which the photo is refused for
                return Plan(self.degradation, self.method, start=self.start)
        return Plan.chosen(batch.samples[0].photo, batch.y[0], self.sigma_y, method)

    def _observe(self, batch: Batch, plan: Plan) -> tuple[dict[int, Observation], list[Failure]]:
        """The images of a batch by their positions, and those that lack something."""
        observations, refused = {}, []
        for b, sample in enumerate(batch.samples):
            y = batch.y[b : b + 1]
            try:
                if self.degrade_noise is None:
                    observation = Observation.given(sample, y, plan.degradation)
                else:
                    observation = Observation.made(
                        sample, y, plan.degradation, self.degrade_noise, self.seed
                    )
                observations[b] = observation.started(plan.start)
            except ValueError as error:  # such as a mask that is missing
                refused.append(sample.failed(str(error)))
        return observations, refused

    @torch.no_grad()
    def _result(
        self,
        plan: Plan,
        observation: Observation,
        restored: Attempted,
        phi_change: list[float | None],
        seconds: float,
    ) -> ImageResult:
        """All there is to know of a restored image, on the CPU."""
        degradation, y = plan.degradation, observation.y
        restoration = restored.restoration
        shown = y
        if shown.shape != restoration.x0.shape:
            shown = degradation.frame.crop(degradation.lift(y, restoration.phi))
        restoration, y, shown = restoration.cpu(), y.cpu(), shown.cpu()
        reference = None if observation.reference is None else observation.reference.cpu()
        return ImageResult(
            sample=observation.restored_as,
            degradation=degradation,
            y=y[0],
            shown=shown[0],
            reference=None if reference is None else reference[0],
            true_phi=None if observation.true_phi is None else observation.true_phi.to("cpu"),
            restoration=restoration,
            scores=score(restoration, y, shown, reference),
            notes=restored.notes,
            reasons=[*plan.reasons, *observation.degradation.reasons],
            tile=restored.tile,
            precision="32-true" if restored.in_float32 else self._precision,
            phi_change=phi_change,
            seed=self.seed,
            num_samples=self.num_samples,
            seconds=seconds,
            start=observation.start,
        )

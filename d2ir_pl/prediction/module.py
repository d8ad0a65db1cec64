"""Test-time optimisation as a LightningModule."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import pytorch_lightning as pl
import torch
from torch import Tensor

from d2ir_pl.degradations import Compose, Degradation, GaussianBlur, Jpeg, Light
from d2ir_pl.diagnosis.proposal import propose
from d2ir_pl.errors import naming
from d2ir_pl.inputs.items import Failure
from d2ir_pl.inputs.samples import Sample
from d2ir_pl.operators.linear import size_of
from d2ir_pl.prediction.attempts import Attempts
from d2ir_pl.prediction.data import Batch
from d2ir_pl.prediction.outcome import BatchResult, Outcome, Scene
from d2ir_pl.priors import UNetFlags, load_prior
from d2ir_pl.priors.network import Tile
from d2ir_pl.priors.precision import compute_dtype
from d2ir_pl.randomness import image_generator, normal_like
from d2ir_pl.restoration import (
    D2IR,
    PhiTrace,
    Problem,
    Restoration,
    RestorationMethod,
    Step,
    restore_samples,
)
from d2ir_pl.results import metrics


class RestorationModule(pl.LightningModule):
    """Restores each batch of degraded images with a method, a degradation and a prior.

    Args:
        prior: `natural-small` (embedded), a published one such as `imagenet-256` (after
            `download`), a file, or a folder of the diffusers library.
        degradation: the family of degradations that explains the photos; `auto` looks at each
            photo and chooses one (`proposal.py`).
        method: how they are restored; `auto` is what suits a degradation that was chosen so.
        seed: every image draws its noise from this number and its own name.
        sigma_y: standard deviation of the photos' noise in [0, 1]; estimated if null.
        prior_flags: guided-diffusion's flags of a `.pt` state dict given as `prior`.
        tile: largest side in pixels that the prior sees at once; larger photos are predicted on
            overlapping tiles. `auto` is five times the size of the images that the prior was
            trained on, or less where memory does not hold that.
        num_samples: restorations of each photo; their mean is the result, and their standard
            deviation a map of where it is uncertain.
        compile: compile the prior's network with torch.compile. It takes minutes at the start and
            for every new size of photos.
        label: class of every prediction, 0..999 for ImageNet, where the prior is
            class-conditional.
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
        compile: bool = False,
    ) -> None:
        super().__init__()
        if num_samples < 1:
            raise ValueError(f"model.num_samples {num_samples} must be at least 1")
        if sigma_y is not None and not 0 <= sigma_y < 1:
            raise ValueError(f"model.sigma_y {sigma_y} must lie in [0, 1): grey levels / 255")
        if method == "auto" and degradation != "auto":
            raise ValueError(
                "model.method auto chooses what suits a chosen degradation: set model.degradation "
                "to auto too, or name a method"
            )
        self.chooses_degradation = degradation == "auto"
        self.chooses_method = method == "auto"
        # Where they are chosen, these are what was chosen for the photo at hand.
        self.degradation: Degradation = (
            GaussianBlur() if degradation is None or degradation == "auto" else degradation
        )
        self.method: RestorationMethod = D2IR() if method is None or method == "auto" else method
        self.prior = load_prior(prior, prior_flags, tile, label)
        self.method.check(self.degradation, self.prior)
        if self.chooses_degradation and not self.chooses_method:
            with naming("model.degradation auto needs a method for all that it may choose"):
                self.method.check(Compose([GaussianBlur(), Light(), Jpeg()]), self.prior)
        if compile:
            self.prior.unet.compile()
        self.seed = seed
        self.sigma_y = sigma_y
        self.num_samples = num_samples
        self.degrade_noise: float | None = None
        """Set by the program where the inputs are clean images to be degraded first."""
        self.observers: list[Callable[[Step], None]] = []
        self._attempts = Attempts(self.prior)
        self._trace = PhiTrace()

    def setup(self, stage: str) -> None:
        # Once, before the strategy wraps the module: converted later, the weights would be
        # inference tensors, through which no gradient passes.
        self.prior.cast(compute_dtype(self.trainer.precision))

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        return replace(batch, y=batch.y.to(device))

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> BatchResult:
        start = time.perf_counter()
        # Lightning predicts in inference mode, whose tensors cannot be optimised.
        # Its autocast would round blurs and scores: only the prior, which casts itself, is reduced.
        exact = torch.autocast(self.device.type, enabled=False)
        with torch.inference_mode(False), torch.enable_grad(), exact:
            try:
                reasons = self._choose(batch) if self.chooses_degradation else []
            except (MemoryError, RuntimeError) as error:
                reason = f"its damage could not be measured ({error!r:.200}): name a degradation"
                lost = [Failure(s.item, reason, s.digest) for s in batch.samples]
                return _failed([*batch.failures, *lost])
            positions, failures = self._fitting(batch)
            scenes = {}
            for b in positions:
                sample = batch.samples[b]
                try:
                    scenes[b] = self._scene(batch.y[b : b + 1], sample)
                except ValueError as error:  # such as a mask that is missing
                    failures.append(Failure(sample.item, str(error), sample.digest))
            if not scenes:
                return _failed(failures)
            positions, samples = list(scenes), [batch.samples[b] for b in scenes]
            scene = Scene.join(list(scenes.values()))
            outcome = self._restore(scene, samples, positions)
            for b, reason in outcome.failed.items():
                failures.append(Failure(samples[b].item, reason, samples[b].digest))
            restored = sorted(outcome.restored)
            phi_change = self._trace.take([positions[b] for b in restored])
            if not restored:
                return _failed(failures)
            seconds = (time.perf_counter() - start) / len(samples)
            restoration = Restoration.join([outcome.restored[b] for b in restored])
            scene = scene.select(restored)
            shown = scene.y
            if shown.shape != restoration.x0.shape:
                lifted = self.degradation.lift(scene.y, restoration.phi)
                shown = self.degradation.frame.crop(lifted)
        restoration, scene, shown = restoration.cpu(), scene.cpu(), shown.cpu()
        with torch.autocast("cpu", enabled=False):
            scores = _scores(scene, shown, restoration)
        return BatchResult(
            [samples[b] for b in restored],
            [positions[b] for b in restored],
            [outcome.notes.get(b, []) for b in restored],
            [reasons for _ in restored],
            [outcome.tiles[b] for b in restored],
            [b in outcome.in_float32 for b in restored],
            failures,
            scene,
            shown,
            phi_change,
            restoration,
            scores,
            seconds,
        )

    def _choose(self, batch: Batch) -> list[str]:
        """Choose degradation and method for the photo of the batch, and say why."""
        if len(batch.samples) > 1 or batch.y.ndim != 4 or self.degrade_noise is not None:
            raise ValueError("model.degradation auto takes one photo at a time, already degraded")
        if not batch.samples:
            return []
        proposal = propose(batch.y[0], batch.samples[0].photo.tables, self.sigma_y)
        self.degradation = proposal.degradation.to(self.device)
        self._trace = PhiTrace()
        if self.chooses_method:
            self.method = proposal.method
        return list(proposal.reasons)

    def _fitting(self, batch: Batch) -> tuple[list[int], list[Failure]]:
        """The positions of samples whose reference is not of a wrong size; and all failures."""
        keep, failures = [], list(batch.failures)
        for b, sample in enumerate(batch.samples):
            size = self.degradation.frame.output_size(size_of(batch.y))
            reference = None if sample.reference is None else sample.reference.pixels
            if reference is None or size_of(reference) == size:
                keep.append(b)
                continue
            theirs = f"{reference.shape[-2]}x{reference.shape[-1]}"
            reason = f"its reference {sample.item.reference} is {theirs}, not {size[0]}x{size[1]}"
            failures.append(Failure(sample.item, reason, sample.digest))
        return keep, failures

    def _scene(self, y: Tensor, sample: Sample) -> Scene:
        if self.degrade_noise is not None:
            return self._degrade(y.clone(), self._degradation([sample]), [sample])
        reference = None if sample.reference is None else sample.reference.pixels[None].to(y)
        return Scene(y.clone(), reference)

    def _degradation(self, samples: Sequence[Sample]) -> Degradation:
        photos, keys = [s.photo for s in samples], [s.item.key for s in samples]
        return self.degradation.for_images(photos, keys, degraded=self.degrade_noise is None)

    def _restore(
        self, scene: Scene, samples: Sequence[Sample], positions: Sequence[int]
    ) -> Outcome:
        def restore(images: Sequence[int], method: RestorationMethod) -> Restoration:
            part = [samples[b] for b in images]
            generators = [image_generator(self.seed, s.item.key) for s in part]
            noise = None if self.sigma_y is None else torch.full((len(part),), 2 * self.sigma_y)
            problem = Problem.of(scene.y[list(images)], self._degradation(part), generators, noise)
            return restore_samples(
                method,
                self.num_samples,
                problem,
                self.prior,
                lambda step: self._observe(
                    replace(step, images=[positions[images[i]] for i in step.images])
                ),
            )

        height, width = self.degradation.frame.output_size(size_of(scene.y))
        return self._attempts(restore, self.method, len(samples), height * width)

    def _observe(self, step: Step) -> None:
        self._trace(step)
        for observer in self.observers:
            observer(step)

    @torch.no_grad()
    def _degrade(self, x: Tensor, degradation: Degradation, samples: Sequence[Sample]) -> Scene:
        """y = D_phi(x) + n in 8 bits, as a camera would have stored it."""
        assert self.degrade_noise is not None
        x = degradation.frame.fit(x)
        generators = [image_generator(self.seed, s.item.key, "degrade") for s in samples]
        phi = degradation.draw(generators, x)
        y = degradation(degradation.frame.embed(x), phi)
        n = normal_like(y, generators)
        for b, sample in enumerate(samples):
            if sample.photo.grey:
                n[b] = n[b].narrow(-3, 0, 1)
        # Where y says nothing, as in a hole, there is no noise either.
        y = y + 2 * self.degrade_noise * degradation.residual(n, torch.zeros_like(n), phi)
        return Scene(((y.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1, x, phi)


def _failed(failures: list[Failure]) -> BatchResult:
    nothing = torch.empty(0, 3, 1, 1)
    return BatchResult([], [], [], [], [], [], failures, Scene(nothing), nothing, [], None, {}, 0.0)


def _scores(scene: Scene, shown: Tensor, restoration: Restoration) -> dict[str, list[float]]:
    assert restoration.reblurred is not None
    scores = {}
    if restoration.reblurred.ndim == 4:
        scores["reblur_psnr"] = metrics.psnr(restoration.reblurred, scene.y)
    if scene.reference is not None:
        scores["psnr"] = metrics.psnr(restoration.x0, scene.reference)
        scores["ssim"] = metrics.ssim(restoration.x0, scene.reference)
        scores["input_psnr"] = metrics.psnr(shown, scene.reference)
        lpips = metrics.lpips(restoration.x0, scene.reference)
        if lpips is not None:
            scores["lpips"] = lpips
    return {name: values.tolist() for name, values in scores.items()}

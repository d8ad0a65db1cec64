"""Test-time optimisation as a LightningModule."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytorch_lightning as pl
import torch
from torch import Tensor

from d2ir_pl import metrics
from d2ir_pl.data import Batch, Failure, Sample
from d2ir_pl.degradations import Degradation, GaussianBlur, Phi
from d2ir_pl.noise import image_generator, normal_like
from d2ir_pl.priors import UNetFlags, load_prior
from d2ir_pl.restoration import D2IR, Restoration, RestorationMethod, Step
from d2ir_pl.restoration.base import per_image

_DTYPES = {
    "32-true": torch.float32,
    "bf16-mixed": torch.bfloat16,
    "16-mixed": torch.float16,
}


@dataclass
class BatchResult:
    """What `predict_step` hands to the callbacks.

    Attributes:
        samples: the images that were restored.
        failures: the others, with reasons.
        y: `(B, 3, H, W)` the degraded images, on the CPU like everything here.
        restoration: None if no image of the batch could be read.
        scores: name -> one number per image.
        true_phi: the parameters with which the program itself degraded the images.
        reference: clean images, where they are known.
        seconds: time spent on each image.
    """

    samples: list[Sample]
    failures: list[Failure]
    y: Tensor
    restoration: Restoration | None
    scores: dict[str, list[float]]
    true_phi: Phi | None
    reference: Tensor | None
    seconds: float


class RestorationModule(pl.LightningModule):
    """Restores each batch of degraded images with a method, a degradation and a prior.

    Args:
        prior: `natural-small` (embedded), `imagenet-256` (after `download`), or a file.
        degradation: the family of degradations that explains the photos.
        method: how they are restored.
        seed: every image draws its noise from this number and its own name.
        sigma_y: standard deviation of the photos' noise in [0, 1]; estimated if null.
        prior_flags: guided-diffusion's flags of a `.pt` state dict given as `prior`.
        tile: largest side in pixels that the prior sees at once; larger photos are predicted on
            overlapping tiles.
    """

    def __init__(
        self,
        prior: str = "natural-small",
        degradation: Degradation | None = None,
        method: RestorationMethod | None = None,
        seed: int = 0,
        sigma_y: float | None = None,
        prior_flags: UNetFlags | None = None,
        tile: int = 512,
    ) -> None:
        super().__init__()
        if sigma_y is not None and not 0 <= sigma_y < 1:
            raise ValueError(f"model.sigma_y {sigma_y} must lie in [0, 1): grey levels / 255")
        self.degradation = GaussianBlur() if degradation is None else degradation
        self.method = D2IR() if method is None else method
        self.prior = load_prior(prior, prior_flags, tile)
        self.method.check(self.degradation, self.prior)
        self.seed = seed
        self.sigma_y = sigma_y
        self.degrade_noise: float | None = None
        """Set by the program where the inputs are clean images to be degraded first."""
        self.observers: list[Callable[[Step], None]] = []

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
        if not batch.samples:
            return _failed(batch.failures)
        # Lightning predicts in inference mode, whose tensors cannot be optimised.
        # Its autocast would round blurs and scores: only the prior, which casts itself, is reduced.
        exact = torch.autocast(self.device.type, enabled=False)
        with torch.inference_mode(False), torch.enable_grad(), exact:
            y, true_phi = batch.y.clone(), None
            reference = None
            if self.degrade_noise is not None:
                reference = y
                y, true_phi = self._degrade(y, batch.samples, self.degrade_noise)
            elif batch.samples[0].reference is not None:
                references = [s.reference for s in batch.samples if s.reference is not None]
                reference = torch.stack(references).to(y)
            try:
                restoration = self._restore(y, batch.samples)
            except ValueError as error:
                # Such as a size that the degradation cannot handle; others may still do.
                refused = [Failure(s.item, str(error), s.digest) for s in batch.samples]
                return _failed(batch.failures + refused)
        seconds = (time.perf_counter() - start) / len(y)
        restoration, y = restoration.cpu(), y.cpu()
        reference = None if reference is None else reference.cpu()
        with torch.autocast("cpu", enabled=False):
            scores = _scores(y, restoration, reference)
        return BatchResult(
            batch.samples,
            batch.failures,
            y,
            restoration,
            scores,
            None if true_phi is None else {k: v.cpu() for k, v in true_phi.items()},
            reference,
            seconds,
        )

    def _restore(self, y: Tensor, samples: Sequence[Sample]) -> Restoration:
        sigma_y = None if self.sigma_y is None else torch.full_like(y[:, 0, 0, 0], 2 * self.sigma_y)
        return self.method.restore(
            y,
            self.degradation,
            self.prior,
            [image_generator(self.seed, s.item.key) for s in samples],
            sigma_y,
            self._observe,
        )

    def _observe(self, step: Step) -> None:
        for observer in self.observers:
            observer(step)

    @torch.no_grad()
    def _degrade(self, x: Tensor, samples: Sequence[Sample], noise: float) -> tuple[Tensor, Phi]:
        """y = D_phi(x) + n in 8 bits, as a camera would have stored it."""
        generators = [image_generator(self.seed, s.item.key, "degrade") for s in samples]
        phi = self.degradation.draw(generators, x)
        y = self.degradation(self.degradation.lift(x), phi)
        n = normal_like(y, generators)
        grey = torch.tensor([s.photo.grey for s in samples], device=y.device)
        n = torch.where(per_image(grey), n[:, :1], n)
        y = y + 2 * noise * n
        return ((y.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1, phi


def compute_dtype(precision: str) -> torch.dtype:
    """What the network computes in under a precision of Lightning's.

    Raises:
        ValueError: for unknown precisions, and those that would also convert the schedule and the
            linear algebra.
    """
    if precision not in _DTYPES:
        raise ValueError(
            f"--trainer.precision {precision} is not supported, as only the prior may compute in "
            f"half precision: use one of {', '.join(_DTYPES)}"
        )
    return _DTYPES[precision]


def _failed(failures: list[Failure]) -> BatchResult:
    return BatchResult([], failures, torch.empty(0, 3, 1, 1), None, {}, None, None, 0.0)


def _scores(
    y: Tensor, restoration: Restoration, reference: Tensor | None
) -> dict[str, list[float]]:
    assert restoration.reblurred is not None
    scores = {"reblur_psnr": metrics.psnr(restoration.reblurred, y)}
    if reference is not None:
        scores["psnr"] = metrics.psnr(restoration.x0, reference)
        scores["ssim"] = metrics.ssim(restoration.x0, reference)
        if y.shape == reference.shape:
            scores["input_psnr"] = metrics.psnr(y, reference)
        lpips = metrics.lpips(restoration.x0, reference)
        if lpips is not None:
            scores["lpips"] = lpips
    return {name: values.tolist() for name, values in scores.items()}

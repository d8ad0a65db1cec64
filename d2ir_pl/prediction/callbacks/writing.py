"""Results: every image is written as soon as it is restored."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.inputs.items import Failure
from d2ir_pl.inputs.samples import Sample
from d2ir_pl.operators.linear import size_of
from d2ir_pl.prediction.data import Batch
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.prediction.outcome import BatchResult
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.pictures import Pictures, write_result
from d2ir_pl.results.record import Record


class ImageWriter(pl.Callback):
    """Writes every image as soon as it is restored.

    Args:
        folder: where.
        fingerprint: digest of the settings, kept in every record.
    """

    def __init__(self, folder: ResultFolder, fingerprint: str) -> None:
        self.folder = folder
        self.fingerprint = fingerprint

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        assert isinstance(pl_module, RestorationModule)
        assert isinstance(outputs, BatchResult)
        for failure in outputs.failures:
            self._fail(failure)
        if outputs.restoration is None:
            return
        pictures = pl_module.degradation.picture(outputs.restoration.phi)
        for b, record in enumerate(records(outputs, pl_module, self.fingerprint)):
            sample = outputs.samples[b]
            x0 = outputs.restoration.x0[b]
            seen = Pictures(
                x0,
                degradation=None if pictures is None else pictures[b],
                degraded=None if outputs.scene.true_phi is None else outputs.shown[b],
                std=None if outputs.restoration.std is None else outputs.restoration.std[b],
                alpha=_resized(sample.photo.alpha, x0),
                bit_depth=sample.photo.bit_depth,
                grey=sample.photo.grey and pl_module.degradation.keeps_grey,
                icc_profile=sample.photo.icc_profile,
            )
            write_result(self.folder, record, seen)

    def _fail(self, failure: Failure) -> None:
        self.folder.write_record(
            Record(
                failure.item.name, "failed", self.fingerprint, failure.digest, reason=failure.reason
            )
        )


def records(result: BatchResult, module: RestorationModule, fingerprint: str) -> list[Record]:
    """The record of each restored image; squared residuals and noise brought to [0, 1]."""
    r = result.restoration
    assert r is not None

    def score(name: str, b: int) -> float | None:
        value = result.scores.get(name, [math.nan] * (b + 1))[b]
        return value if math.isfinite(value) else None

    described = module.degradation.describe(r.phi)
    drawn = result.scene.true_phi
    side = max(module.degradation.frame.image_size(size_of(result.scene.y)))
    true_phi = None if drawn is None else module.degradation.describe(drawn)
    return [
        Record(
            name=sample.item.name,
            status="restored",
            fingerprint=fingerprint,
            input_sha256=sample.digest,
            reference_sha256=_reference_digest(sample, drawn is not None),
            height=r.x0.shape[-2],
            width=r.x0.shape[-1],
            seed=module.seed,
            sigma_y=float(r.sigma_y[b]) / 2,
            residual=float(r.residual[b]) / 4,
            stopped_by=r.stopped_by[b],
            nfe=r.nfe[b],
            num_samples=module.num_samples,
            std=None if r.std is None else float(r.std[b].square().mean().sqrt()) / 2,
            precision="32-true" if result.in_float32[b] else str(module.trainer.precision),
            tile=result.tiles[b] if side > result.tiles[b] else None,
            seconds=round(result.seconds, 3),
            losses={stage: [v / 4 for v in losses[b]] for stage, losses in r.losses.items()},
            phi=described[b],
            phi_change=result.phi_change[b],
            true_phi=None if true_phi is None else true_phi[b],
            notes=[*sample.photo.notes, *result.notes[b]],
            reasons=result.reasons[b],
            psnr=score("psnr", b),
            ssim=score("ssim", b),
            lpips=score("lpips", b),
            input_psnr=score("input_psnr", b),
            reblur_psnr=score("reblur_psnr", b),
        )
        for b, sample in enumerate(result.samples)
    ]


def _reference_digest(sample: Sample, degraded: bool) -> str:
    """Of the clean image: the input itself where the program degraded it."""
    if degraded:
        return sample.digest
    return "" if sample.reference is None else sample.reference.sha256


def _resized(alpha: Tensor | None, image: Tensor) -> Tensor | None:
    """Transparency at the size of the restored image, which may be larger than the photo."""
    if alpha is None or alpha.shape[-2:] == image.shape[-2:]:
        return alpha
    return F.interpolate(alpha[None], image.shape[-2:], mode="bilinear")[0]

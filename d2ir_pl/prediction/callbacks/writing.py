"""Results: every image is written as soon as it is restored."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.prediction.callbacks.base import RestorationCallback
from d2ir_pl.prediction.outcome import BatchResult, ImageResult
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.pictures import Pictures, write_result
from d2ir_pl.results.record import Record


class ImageWriter(RestorationCallback):
    """Writes every image as soon as it is restored, and why the others are not.

    Args:
        folder: results that the files belong to.
        fingerprint: digest of the settings, kept in every record.
    """

    def __init__(self, folder: ResultFolder, fingerprint: str) -> None:
        self.folder = folder
        self.fingerprint = fingerprint

    def finish(self, result: BatchResult) -> None:
        for failure in result.failures:
            name, reason = failure.item.name, failure.reason
            record = Record(name, "failed", self.fingerprint, failure.digest, reason=reason)
            self.folder.write_record(record)
        for image in result.results:
            write_result(self.folder, image.record(self.fingerprint), _pictures(image))


def _pictures(image: ImageResult) -> Pictures:
    """What is written of an image, of the kind that its file was."""
    photo = image.sample.photo
    return Pictures(
        image.x0,
        degradation=image.picture,
        degraded=None if image.true_phi is None else image.shown,
        std=image.std,
        alpha=_resized(photo.alpha, image.x0),
        bit_depth=photo.bit_depth,
        grey=photo.grey and image.degradation.keeps_grey,
        icc_profile=photo.icc_profile,
    )


def _resized(alpha: Tensor | None, image: Tensor) -> Tensor | None:
    """Transparency at the size of the restored image, which may be larger than the photo."""
    if alpha is None or alpha.shape[-2:] == image.shape[-2:]:
        return alpha
    return F.interpolate(alpha[None], image.shape[-2:], mode="bilinear")[0]

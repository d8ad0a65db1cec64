"""Results: every image is written as soon as it is restored."""

from __future__ import annotations

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
    return Pictures(
        image.sample.photo.restored(image.x0, image.degradation.keeps_grey),
        degradation=image.picture,
        degraded=None if image.true_phi is None else image.shown,
        std=image.std,
    )

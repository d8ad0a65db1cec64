"""Results: every image is written as soon as it is restored."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import d2ir_pl
from d2ir_pl.errors import UnwritableError, UserError, in_words
from d2ir_pl.image_io import Output
from d2ir_pl.inputs.items import Failure
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
        previews: whether the run writes pictures for the report; earlier ones are removed if not.
        curves: whether it writes curves; earlier ones are removed if not.
        output: how restored photos are written; as PNG if None.
        prior: name of the prior, or path of its file.
        prior_sha256: digests of the files of its weights.
    """

    def __init__(
        self,
        folder: ResultFolder,
        fingerprint: str,
        previews: bool = True,
        curves: bool = True,
        output: Output | None = None,
        prior: str = "",
        prior_sha256: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.previews = previews
        self.curves = curves
        self.output = output
        self.prior = Path(prior).name
        self.prior_sha256 = list(prior_sha256)

    def finish(self, result: BatchResult) -> None:
        for image in list(result.results):
            if (failure := self._written(image)) is not None:
                result.results.remove(image)
                result.failures.append(failure)
        for failure in result.failures:
            self._fail(failure)

    def _written(self, image: ImageResult) -> Failure | None:
        """Write an image, or say why it cannot be written."""
        try:
            if not self.previews:
                self.folder.remove_previews(image.name)
            if not self.curves:
                self.folder.remove_curves(image.name)
            output = self.output or Output()
            if image.opinion == "the photo":  # no model has a part in that
                output = replace(output, mark_generated=False)
            record = replace(
                image.record(self.fingerprint),
                prior=self.prior,
                prior_sha256=self.prior_sha256,
                version=d2ir_pl.__version__,
            )
            write_result(self.folder, record, _pictures(image), output)
        except UnwritableError as error:
            return image.sample.failed(str(error))
        except UserError:
            raise
        except Exception as error:  # whatever one photo does, the others are kept
            reason = f"its results could not be written ({in_words(error)})"
            return image.sample.failed(reason, traceback.format_exc())
        return None

    def _fail(self, failure: Failure) -> None:
        """Write why an image has no result, in place of an earlier one's files."""
        record = Record(
            failure.name,
            "failed",
            self.fingerprint,
            failure.digest,
            reason=failure.reason,
            trace=failure.trace,
        )
        # Under a name that cannot be written there is nothing to remove; the summary names it.
        with suppress(UnwritableError):
            self.folder.remove_pictures(failure.name)
            self.folder.remove_curves(failure.name)
        with suppress(UnwritableError):
            self.folder.write_record(record)


def _pictures(image: ImageResult) -> Pictures:
    """What is written of an image, of the kind that its file was."""
    intervals = image.restoration.intervals
    known = None if intervals is None else intervals.select([0]).half_width
    return Pictures(
        image.sample.photo.restored(image.x0, image.degradation.keeps_grey),
        degradation=image.picture,
        degraded=None if image.true_phi is None else image.shown,
        std=image.std,
        filled_in=image.filled_in,
        half_width=None if known is None else known[0],
    )

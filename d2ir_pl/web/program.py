"""The program of `predict` for one photo, without its command line."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import yaml
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from rich.console import Console

from d2ir_pl.console import quiet
from d2ir_pl.errors import PriorError, UsageError
from d2ir_pl.image_io import Output, Photo
from d2ir_pl.prediction.data import RestorationDataModule
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.prediction.run import RunSettings, run
from d2ir_pl.prediction.trainer import restoration_trainer
from d2ir_pl.priors.precision import device_type, trainer_precision
from d2ir_pl.restoration import Observer
from d2ir_pl.restoration.construction import Settings, completed, construct
from d2ir_pl.shipped.durations import usual_seconds


@dataclass(frozen=True)
class PageSettings:
    """What all restorations of a page have in common.

    Attributes:
        prior: a name, a file or a folder, as `RestorationModule` takes it.
        precision: what the prior computes in: `auto`, or a precision that Lightning knows.
        accelerator: the device, as Lightning's trainer takes it.
        max_pixels: the largest number of pixels that a photo may have.
    """

    prior: str = "natural-small"
    precision: str = "auto"
    accelerator: str = "auto"
    max_pixels: int = 52_000_000

    def seconds(self, pixels: int) -> float | None:
        """About how long so many pixels take to restore; None where that is not known."""
        on_cpu = device_type(self.accelerator) == "cpu"
        return usual_seconds(pixels, self.precision) if on_cpu else None

    def check(self) -> None:
        """Raise what is wrong with the settings, before anyone comes.

        Raises:
            PriorError: if the prior cannot be loaded.
            UsageError: if the prior, the precision or the device cannot be used.
        """
        with quiet():
            _module({"prior": self.prior})
            self.trainer()

    def trainer(self) -> pl.Trainer:
        """Make a trainer for one device.

        Raises:
            UsageError: if the machine has no such device, or the precision is unknown.
        """
        try:
            return restoration_trainer(
                accelerator=self.accelerator,
                devices=1,
                precision=trainer_precision(self.precision, device_type(self.accelerator)),
            )
        except (MisconfigurationException, ValueError) as error:
            raise UsageError(" ".join(str(error).split())) from None


def restore_file(
    file: Path,
    photo: Photo,
    output: Path,
    model: Settings,
    page: PageSettings,
    observer: Observer,
    form: Output | None = None,
) -> None:
    """Restore one photo, and write all results to a folder.

    Args:
        file: the file of the photo; its name decides what noise is drawn.
        photo: what the file holds, which is not decoded again.
        output: the folder for the results.
        model: settings of `RestorationModule`; the prior is that of the page.
        page: what all restorations have in common.
        observer: a function that is told of every step.
        form: how the restored photo is written; as PNG if None.

    Raises:
        PriorError: if the prior cannot be loaded.
        UsageError: if a setting is wrong.
    """
    form = form or Output()
    settings = completed(RestorationModule, {**model, "prior": page.prior})
    data = RestorationDataModule(str(file), format=form.format, strip_metadata=form.strip_metadata)
    data.decoded[file] = photo
    with quiet():
        run(
            _module(settings),
            data,
            page.trainer(),
            _run_settings(output, settings, page, form),
            [observer],
            Console(file=io.StringIO()),
        )


def _module(settings: Settings) -> RestorationModule:
    try:
        return construct(RestorationModule, settings)
    except PriorError:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from None


def _run_settings(output: Path, model: Settings, page: PageSettings, form: Output) -> RunSettings:
    config = {
        "seed": model["seed"],
        # As on the command line, where the seed of the model is that of the run.
        "model": {key: value for key, value in model.items() if key != "seed"},
        "data": {
            "degrade": False,
            "format": form.format,
            "strip_metadata": form.strip_metadata,
        },
        "trainer": {"precision": page.precision},
    }
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    return RunSettings(output, config, text, tensorboard=False)

"""The program of `predict`: restore what is pending, and give an account of it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger
from rich.console import Console

from d2ir_pl import compat
from d2ir_pl.console import say
from d2ir_pl.errors import ProcessError, TerminatedError
from d2ir_pl.prediction.callbacks import (
    Behind,
    ImageWriter,
    Observers,
    Previews,
    ProcessWatch,
    RestorationCallback,
    RestorationProgress,
    StopSignals,
    TrajectoryLogger,
)
from d2ir_pl.prediction.data import RestorationDataModule
from d2ir_pl.prediction.fingerprint import prior_digests, prior_name, settings_fingerprint
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.prediction.photos import FoundPhotos, FreeNames, Photos, YieldedPhotos
from d2ir_pl.priors.compiling import obstacle
from d2ir_pl.priors.precision import precision_warning
from d2ir_pl.reports.page import write_report
from d2ir_pl.reports.session import write_session
from d2ir_pl.reports.summary import report_summary
from d2ir_pl.restoration import Observer
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.pictures import sweep_pictures
from d2ir_pl.results.record import METRICS, Record, means
from d2ir_pl.results.settings import log_settings
from d2ir_pl.shipped.durations import LARGE, in_time, usual_seconds
from d2ir_pl.stopping import KEPT, asked_of

TOLD = 1.25
"""How many times more or fewer pixels a user is not told again of."""

LEAVING = 2.0
"""Seconds within which a process that others have lost has ended."""

TERMINATED = 143
"""The exit status of a program that SIGTERM has ended, 128 and the number of the signal."""


@dataclass(frozen=True)
class RunSettings:
    """What a run is told beside its module, its data and its trainer.

    Attributes:
        output: the folder for all results.
        config: the options of `model`, `data` and `trainer` as a tree of plain values. Those that
            decide on the results have a digest, which tells whether a result that is already there
            was made by the same settings.
        text: contents of `config.yaml` in that folder.
        overwrite: whether complete results are made again.
        tensorboard: whether curves and pictures of every step are written to `tensorboard/` in that
            folder. The loggers of the trainer get them in any case.
        progress: `auto` for a bar in a terminal and a line an image elsewhere, `none` for the
            summary alone.
        report: whether `report.html` is written.
        told: number of pixels of which the user knows already how long they take.
    """

    output: Path
    config: dict[str, Any]
    text: str
    overwrite: bool = False
    tensorboard: bool = True
    progress: Literal["auto", "none"] = "auto"
    report: bool = True
    told: int = 0


def run(
    module: RestorationModule,
    data: pl.LightningDataModule,
    trainer: pl.Trainer,
    settings: RunSettings,
    observers: Sequence[Observer] = (),
    console: Console | None = None,
) -> int:
    """Restore the photos of `data`, write all results, and return the exit status of `predict`.

    Args:
        module: module that restores the batches.
        data: the photos; or data of one's own, whose `predict_dataloader` yields what `as_batch`
            takes.
        trainer: trainer that `restoration_trainer` has made.
        settings: what else the run is told.
        observers: functions that are told of every step.
        console: terminal that shows progress and the summary; stderr if None.

    Raises:
        UsageError, OutputError: if the settings contradict each other, or the folder cannot be
            used.
    """
    console = Console(stderr=True) if console is None else console
    folder = ResultFolder(settings.output)
    photos: FoundPhotos | YieldedPhotos
    if isinstance(data, RestorationDataModule):
        photos = FoundPhotos(module, data, trainer)
    else:
        photos = YieldedPhotos(data, trainer, folder)
    folder.prepare()
    with contextlib.ExitStack() as stack:
        if trainer.is_global_zero:
            stack.enter_context(folder.lock())
            folder.sweep()
            sweep_pictures(folder)
        digests = prior_digests(settings.config)
        fingerprint = settings_fingerprint(settings.config, digests)
        if isinstance(photos, FoundPhotos):
            photos.skip_complete(folder, fingerprint, settings.overwrite)
        elif trainer.is_global_zero:
            photos.make_room(settings.overwrite)
        if trainer.is_global_zero:
            folder.write_settings(settings.text)
            _announce(module, photos, trainer, settings, console)
            log_settings(trainer.loggers, folder.root)
        terminated = False
        curves = TrajectoryLogger(folder if settings.tensorboard else None)
        if photos.pending:
            progress = RestorationProgress(photos.count, console, photos.work())
            output = data.output if isinstance(data, RestorationDataModule) else None
            model = prior_name(settings.config), digests
            shown = settings.report, settings.tensorboard
            writer = ImageWriter(folder, fingerprint, *shown, output, *model)
            own = _callbacks(settings, folder, writer, observers, curves, progress)
            terminated = _predict(module, data, trainer, own, photos.rename)
        if not trainer.is_global_zero:
            # Rank 0 reports for all: a child that exits with an error would have it killed.
            return TERMINATED if terminated else 0
        names = photos.names()
        folder.write_metrics()
        if settings.report and folder.names():  # none where a limit left out all that is new
            write_report(folder)
        records = folder.records(names)
        if settings.tensorboard:
            write_session(folder, records)
        _log_means(trainer.loggers, records, curves.steps)
        status = report_summary(
            folder, names, photos.skipped, console, photos.left_out(), terminated, photos.not_read()
        )
        return TERMINATED if terminated else status


def _log_means(loggers: Sequence[Logger], records: Iterable[Record], step: int) -> None:
    """Log the means of the scores of all restored images, `mean/psnr` and so on.

    Args:
        loggers: loggers of the trainer.
        records: what is known about the images of the run; failed ones are left out.
        step: number of rows that the loggers have got before.
    """
    scores = means((r for r in records if r.status == "restored"), METRICS)
    for logger in loggers if scores else ():
        logger.log_metrics({f"mean/{name}": value for name, value in scores.items()}, step)
        logger.save()
        logger.finalize("success")


def _announce(
    module: RestorationModule,
    photos: Photos,
    trainer: pl.Trainer,
    settings: RunSettings,
    console: Console,
) -> None:
    if photos.skipped and settings.progress == "auto":
        console.print(f"{photos.skipped} of {photos.found} images are complete: skipped")
    on_cpu = trainer.strategy.root_device.type == "cpu"
    pixels = photos.pixels(LARGE) if settings.progress == "auto" and on_cpu else 0
    if pixels >= LARGE and not settings.told / TOLD < pixels < settings.told * TOLD:
        count = f"{photos.count} photos have" if photos.count != 1 else "the photo has"
        seconds = usual_seconds(pixels, str(trainer.precision))
        usual = f"about {in_time(seconds)} on this computer"
        if module.amount.region is not None:
            usual = f"{usual} if all of them were restored, and less for a region"
        say(console, f"{count} {pixels / 1e6:.0f} megapixels: {usual}")
    asked, device = settings.config["trainer"]["precision"], trainer.strategy.root_device
    if photos.pending and (warning := precision_warning(asked, str(trainer.precision), device)):
        say(console, warning)
    if photos.pending and module.compiles and (reason := obstacle(device)) is not None:
        say(console, reason)


def _callbacks(
    settings: RunSettings,
    folder: ResultFolder,
    writer: ImageWriter,
    observers: Sequence[Observer],
    curves: TrajectoryLogger,
    progress: RestorationProgress,
) -> list[pl.Callback]:
    """What happens around the restoration, in the order in which it happens."""
    # Behind what belongs to an image: its restored picture is the mark that all of it is there.
    account: list[RestorationCallback] = [curves, writer]
    if settings.report:
        account.insert(0, Previews(folder))
    if settings.progress == "auto":
        account.append(progress)
    return [Observers(observers), Behind(account)]


def _predict(
    module: RestorationModule,
    data: pl.LightningDataModule,
    trainer: pl.Trainer,
    own: Sequence[pl.Callback],
    rename: FreeNames | None,
) -> bool:
    """Let the trainer restore what is pending; return when all processes are done.

    Args:
        module: module that restores.
        data: the photos.
        trainer: trainer of the run.
        own: callbacks of the program, which are added for this prediction.
        rename: gives the images the names of their results, where they have none yet.

    Returns:
        Whether the system has asked for the end before.

    Raises:
        ProcessError: if another process died while this one waited for it.
    """
    watch = ProcessWatch()
    callbacks = compat.callbacks(trainer)
    before, module.rename = list(callbacks), rename
    callbacks += [*own, watch, StopSignals()]
    # In processes started from here, PyTorch's own account of a lost one is a C++ trace.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        with compat.hyperparameters_unlogged(module, data):  # they are among the settings
            trainer.predict(module, data, return_predictions=False)
        trainer.strategy.barrier()
    except TerminatedError:
        watch.stop()
        _pass_on(trainer)
        return True
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None
    except RuntimeError as error:
        if not compat.lost_connection(error):
            raise
        asked = asked_of(compat.started_processes(trainer), LEAVING)
        if asked == signal.SIGTERM:
            watch.stop()
            _pass_on(trainer)
            return True
        if asked:
            raise KeyboardInterrupt from None
        raise ProcessError(f"another process has died: the run stops; {KEPT}") from None
    finally:
        callbacks[:], module.rename = before, None
    watch.stop()
    return False


def _pass_on(trainer: pl.Trainer) -> None:
    """Ask the processes that this one has started to end as well."""
    for process in compat.started_processes(trainer):
        process.terminate()

"""The program of `predict`: restore what is pending, and give an account of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger
from rich.console import Console

from d2ir_pl import compat
from d2ir_pl.console import say
from d2ir_pl.errors import OutputError, ProcessError, UsageError
from d2ir_pl.inputs.finding import group_by_size
from d2ir_pl.inputs.items import Item
from d2ir_pl.prediction.callbacks import (
    ImageWriter,
    Observers,
    Previews,
    ProcessWatch,
    RestorationProgress,
    TrajectoryLogger,
)
from d2ir_pl.prediction.data import RestorationDataModule
from d2ir_pl.prediction.fingerprint import settings_fingerprint
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.priors.precision import slow_precision
from d2ir_pl.reports.page import write_report
from d2ir_pl.reports.session import write_session
from d2ir_pl.reports.summary import report_summary
from d2ir_pl.restoration import Observer
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.pictures import sweep_pictures
from d2ir_pl.results.record import METRICS, Record, means
from d2ir_pl.results.settings import log_settings


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
    """

    output: Path
    config: dict[str, Any]
    text: str
    overwrite: bool = False
    tensorboard: bool = True
    progress: Literal["auto", "none"] = "auto"
    report: bool = True


def run(
    module: RestorationModule,
    data: RestorationDataModule,
    trainer: pl.Trainer,
    settings: RunSettings,
    observers: Sequence[Observer] = (),
    console: Console | None = None,
) -> int:
    """Restore the photos of `data`, write all results, and return the exit status of `predict`.

    Args:
        module: module that restores the batches.
        data: the photos; those that are complete already are taken out of `data.pending`.
        trainer: trainer that `restoration_trainer` has made.
        settings: what else the run is told.
        observers: functions that are told of every step.
        console: terminal that shows progress and the summary; stderr if None.

    Raises:
        UsageError, OutputError: if the settings contradict each other, or the folder cannot be
            used.
    """
    console = Console(stderr=True) if console is None else console
    _adapt(module, data)
    folder = ResultFolder(settings.output)
    folder.prepare()
    with contextlib.ExitStack() as stack:
        if trainer.is_global_zero:
            stack.enter_context(folder.lock())
            folder.sweep()
            sweep_pictures(folder)
        fingerprint = settings_fingerprint(settings.config)
        start = module.start.digest if module.start is not None else _no_start
        skipped = _skip_complete(data, folder, fingerprint, settings.overwrite, start)
        if trainer.is_global_zero:
            folder.write_settings(settings.text)
            _announce(data, trainer, settings, skipped, console)
            log_settings(trainer.loggers, folder.root)
        left_out = _beyond_limit(data, trainer)
        curves = TrajectoryLogger(folder if settings.tensorboard else None)
        if data.pending:
            progress = RestorationProgress(len(data.pending) - len(left_out), console)
            own = _callbacks(settings, folder, fingerprint, observers, curves, progress)
            _predict(module, data, trainer, own)
        if not trainer.is_global_zero:
            # Rank 0 reports for all: a child that exits with an error would have it killed.
            return 0
        folder.write_metrics()
        if settings.report:
            write_report(folder)
        names = [item.name for item in data.items if item.name not in left_out]
        records = folder.records(names)
        if settings.tensorboard:
            write_session(folder, records)
        _log_means(trainer.loggers, records, curves.steps)
        return report_summary(folder, names, skipped, console, _limit(trainer, len(left_out)))


def _adapt(module: RestorationModule, data: RestorationDataModule) -> None:
    """Tell the data what the module can do."""
    if module.chooses_degradation:
        if data.degrade or data.scenes:
            option = "data.degrade" if data.degrade else "data.scenes"
            raise UsageError(f"--{option} true needs a --model.degradation other than auto")
        data.batch_size = 1


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
    data: RestorationDataModule,
    trainer: pl.Trainer,
    settings: RunSettings,
    skipped: int,
    console: Console,
) -> None:
    if skipped and settings.progress == "auto":
        console.print(f"{skipped} of {len(data.items)} images are complete: skipped")
    asked, device = settings.config["trainer"]["precision"], trainer.strategy.root_device
    if data.pending and (warning := slow_precision(asked, str(trainer.precision), device)):
        say(console, warning)


def _callbacks(
    settings: RunSettings,
    folder: ResultFolder,
    fingerprint: str,
    observers: Sequence[Observer],
    curves: TrajectoryLogger,
    progress: RestorationProgress,
) -> list[pl.Callback]:
    """What happens around the restoration, in the order in which it happens."""
    callbacks: list[pl.Callback] = [Observers(observers)]
    if settings.report:
        callbacks.append(Previews(folder))
    callbacks.append(ImageWriter(folder, fingerprint))
    callbacks.append(curves)
    if settings.progress == "auto":
        callbacks.append(progress)
    return callbacks


def _predict(
    module: RestorationModule,
    data: RestorationDataModule,
    trainer: pl.Trainer,
    own: Sequence[pl.Callback],
) -> None:
    """Let the trainer restore what is pending; return when all processes are done.

    Raises:
        ProcessError: if another process died while this one waited for it.
    """
    watch = ProcessWatch()
    callbacks = compat.callbacks(trainer)
    before = list(callbacks)
    callbacks += [*own, watch]
    # In processes started from here, PyTorch's own account of a lost one is a C++ trace.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        with compat.hyperparameters_unlogged(module, data):  # they are among the settings
            trainer.predict(module, data, return_predictions=False)
        trainer.strategy.barrier()
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None
    except RuntimeError as error:
        if not compat.lost_connection(error):
            raise
        raise ProcessError(
            "another process has died: the run stops; finished images are kept, and the same "
            "command does the rest"
        ) from None
    finally:
        callbacks[:] = before
    watch.stop()


def _skip_complete(
    data: RestorationDataModule,
    folder: ResultFolder,
    fingerprint: str,
    overwrite: bool,
    start: Callable[[Item], str],
) -> int:
    """Leave only what has to be done in `data.pending`; return how many images are complete.

    Args:
        data: the photos.
        folder: results that may be there already.
        fingerprint: digest of the settings.
        overwrite: whether all photos are restored again.
        start: digest of the phi that a photo starts from; empty where there is none.
    """
    if overwrite:
        return 0
    pending, other = [], []
    for item in data.items:
        state = folder.state(item.name, fingerprint, item.digest, partial(start, item))
        if state == "other settings":
            other.append(item.name)
        if state != "complete":
            pending.append(item)
    if other:
        raise OutputError(
            f"{folder.root} holds {len(other)} results made with other settings ({other[0]} among "
            "them): add --overwrite true to replace them, or choose another --output"
        )
    data.pending = pending
    return len(data.items) - len(pending)


def _no_start(item: Item) -> str:  # noqa: ARG001
    """The digest of the phi that a photo starts from, where it is estimated."""
    return ""


def _beyond_limit(data: RestorationDataModule, trainer: pl.Trainer) -> set[str]:
    """Names of the pending images that a limit of batches leaves out, in all processes."""
    limit, world = trainer.limit_predict_batches, trainer.world_size
    if limit == 1.0 and isinstance(limit, float):
        return set()
    batches = group_by_size(data.pending, data.batch_size)
    shares = [batches[rank::world] for rank in range(world)]
    beyond = [
        share[limit if isinstance(limit, int) else int(limit * len(share)) :] for share in shares
    ]
    return {item.name for share in beyond for batch in share for item in batch}


def _limit(trainer: pl.Trainer, count: int) -> str:
    """What the summary says of a limit that left out images; empty if it left out none."""
    if not count:
        return ""
    limit = f"limit_predict_batches {trainer.limit_predict_batches}"
    option = "fast_dev_run" if trainer.fast_dev_run else limit  # type: ignore[attr-defined]
    left_out = f"{count} image" if count == 1 else f"{count} images"
    return (
        f"only a part was done: --trainer.{option} left out {left_out}; the same command without "
        "it does the rest"
    )

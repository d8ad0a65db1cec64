"""The program of `predict`: restore what is pending, and give an account of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from rich.console import Console

import d2ir_pl
from d2ir_pl import compat
from d2ir_pl.console import say
from d2ir_pl.errors import OutputError, ProcessError, UsageError
from d2ir_pl.inputs.digest import file_digest
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
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.priors.precision import slow_precision
from d2ir_pl.priors.registry import prior_files
from d2ir_pl.reports.page import write_report
from d2ir_pl.reports.session import write_session
from d2ir_pl.reports.summary import report_summary
from d2ir_pl.restoration import Observer
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.pictures import sweep_pictures


@dataclass(frozen=True)
class RunSettings:
    """What a run is told beside its module, its data and its trainer.

    Attributes:
        output: the folder for all results.
        config: the options of `model`, `data` and `trainer` as a tree of plain values. Their digest
            tells whether a result that is already there was made by the same settings.
        text: contents of `config.yaml` in that folder.
        overwrite: whether complete results are made again.
        tensorboard: whether curves and pictures of every step are written.
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
        fingerprint = _fingerprint(settings.config)
        start = module.start.digest if module.start is not None else _no_start
        skipped = _skip_complete(data, folder, fingerprint, settings.overwrite, start)
        if trainer.is_global_zero:
            folder.write_settings(settings.text)
            _announce(data, trainer, settings, skipped, console)
        if data.pending:
            progress = RestorationProgress(len(data.pending), console)
            own = _callbacks(settings, folder, fingerprint, observers, progress)
            _predict(module, data, trainer, own)
        if not trainer.is_global_zero:
            # Rank 0 reports for all: a child that exits with an error would have it killed.
            return 0
        folder.write_metrics()
        if settings.report:
            write_report(folder)
        names = [item.name for item in data.items]
        if settings.tensorboard:
            write_session(folder, folder.records(names))
        return report_summary(folder, names, skipped, console)


def _adapt(module: RestorationModule, data: RestorationDataModule) -> None:
    """Tell the module what the data need, and the data what the module can do."""
    if module.chooses_degradation:
        if data.degrade or data.scenes:
            option = "data.degrade" if data.degrade else "data.scenes"
            raise UsageError(f"--{option} true needs a --model.degradation other than auto")
        data.batch_size = 1
    module.degrade_noise = data.degrade_noise if data.degrade else None


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
    progress: RestorationProgress,
) -> list[pl.Callback]:
    """What happens around the restoration, in the order in which it happens."""
    callbacks: list[pl.Callback] = [Observers(observers)]
    if settings.report:
        callbacks.append(Previews(folder))
    callbacks.append(ImageWriter(folder, fingerprint))
    if settings.tensorboard:
        callbacks.append(TrajectoryLogger(folder))
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


def _fingerprint(config: dict[str, Any]) -> str:
    """Digest of everything that decides what all restored images look like.

    What an image alone depends on, such as its file and the phi that it starts from, is left out.
    """
    data = config["data"]
    model = {name: value for name, value in config["model"].items() if name != "start"}
    if config["model"].get("start") is not None:
        model["start"] = True
    settings = {
        "model": model,
        "degrade": [data["degrade"], data["degrade_noise"]] if data["degrade"] else None,
        "precision": str(config["trainer"]["precision"]),
        "prior": [file_digest(path) for path in prior_files(config["model"]["prior"])],
        "version": d2ir_pl.__version__,
    }
    text = json.dumps(settings, sort_keys=True, default=str)
    text += "".join(file_digest(path) for path in _files(settings["model"]))
    return hashlib.sha256(text.encode()).hexdigest()


def _files(tree: Any) -> list[Path]:
    """The files that settings name, and those in folders that they name, such as masks."""
    if isinstance(tree, dict):
        return [path for key, value in tree.items() if key != "prior" for path in _files(value)]
    if isinstance(tree, list):
        return [path for value in tree for path in _files(value)]
    if not isinstance(tree, str) or not Path(tree).exists():
        return []
    named = Path(tree)
    return [named] if named.is_file() else sorted(p for p in named.rglob("*") if p.is_file())

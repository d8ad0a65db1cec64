"""The program of `fit`: train, write checkpoints, and go on from them."""

from __future__ import annotations

import contextlib
import os
import traceback
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from rich.console import Console
from torch import Tensor

from d2ir_pl import compat
from d2ir_pl.console import say
from d2ir_pl.errors import UsageError, UserError, in_words
from d2ir_pl.priors.export import CHECKPOINT_KEY
from d2ir_pl.priors.precision import precision_warning
from d2ir_pl.priors.state_dict import UnusableWeightsError, read_pickle
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.settings import log_settings
from d2ir_pl.training.callbacks import Checkpoints, StopBetween, TrainingProgress
from d2ir_pl.training.data import PriorDataModule
from d2ir_pl.training.module import PriorTrainingModule

_NAMED = 5
"""Photographs at most of which it is said why they are left out."""


@dataclass(frozen=True)
class TrainingSettings:
    """What a training is told beside its module, its data and its trainer.

    Attributes:
        output: the folder for checkpoints and curves.
        text: what is written to `config.yaml` in that folder.
        precision: what the user asked the network to compute in, such as `auto`.
        ckpt_path: the checkpoint to go on from, `last` for the one in `output`; None to start
            afresh.
        checkpoint_minutes: time between two checkpoints.
        checkpoints: whether checkpoints are written.
        tensorboard: whether curves go to TensorBoard where the trainer has no loggers.
    """

    output: Path
    text: str
    precision: str = "auto"
    ckpt_path: str | None = None
    checkpoint_minutes: float = 10.0
    checkpoints: bool = True
    tensorboard: bool = True


def run(
    module: PriorTrainingModule,
    data: pl.LightningDataModule,
    trainer: pl.Trainer,
    settings: TrainingSettings,
    console: Console | None = None,
) -> int:
    """Train a prior, and return the exit status of `fit`.

    Args:
        module: the network and its loss.
        data: the patches; or data of one's own that yield images, see `clean_images`.
        trainer: one that `training_trainer` has made.
        settings: see `TrainingSettings`.
        console: where progress is printed; stderr if None.

    Raises:
        UsageError, OutputError: if the settings contradict each other, or the folder cannot be
            used.
        KeyboardInterrupt, TerminatedError: if the training was stopped, by the user or the system;
            its last step is kept, or its last checkpoint where there are several processes.
    """
    console = Console(stderr=True) if console is None else console
    if settings.checkpoint_minutes <= 0:
        raise UsageError(f"--checkpoint_minutes {settings.checkpoint_minutes} must be positive")
    folder = ResultFolder(settings.output)
    folder.prepare()
    last = folder.root / "last.ckpt"
    with contextlib.ExitStack() as stack:
        if trainer.is_global_zero:
            stack.enter_context(folder.lock())
        trial = bool(trainer.fast_dev_run)  # type: ignore[attr-defined]
        keeps = settings.checkpoints and not trial
        start = _start(settings.ckpt_path, last, keeps)
        if start is not None:
            _check_checkpoint(start, module)
        if settings.tensorboard and not trainer.loggers and not trial:
            trainer.logger = TensorBoardLogger(folder.root, name="tensorboard", version="")
        if trainer.is_global_zero:
            _announce(module, data, trainer, settings, console)
            folder.write_settings(settings.text)
            log_settings(trainer.loggers, folder.root, trainer=True)
        compat.callbacks(trainer).append(TrainingProgress(console))
        if keeps:
            interval = timedelta(minutes=settings.checkpoint_minutes)
            compat.callbacks(trainer).append(Checkpoints(last, interval))
        compat.callbacks(trainer).append(StopBetween())
        begun = _Begun()
        compat.callbacks(trainer).append(begun)
        try:
            with compat.hyperparameters_unlogged(module, data):  # they are among the settings
                trainer.fit(module, data, ckpt_path=start, weights_only=True)
        except SystemExit:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from None
        except UserError:
            raise
        except Exception as error:  # what is not checked of a checkpoint may be anything
            if start is None or (begun.yes and not (begun.first and _of_state(error))):
                raise
            raise _unusable(start, in_words(error)) from error
    if trainer.is_global_zero:
        left = (
            f"export the prior with 'd2ir export-prior {last} prior.safetensors'"
            if keeps
            else f"no checkpoint is kept of {'a trial' if trial else 'them'}"
        )
        say(console, f"trained {trainer.global_step} steps; {left}")
    return 0


class _Begun(pl.Callback):
    """Knows whether a training has begun, which it does once its checkpoint is loaded.

    Attributes:
        yes: whether it has.
        first: whether its first step is not done.
    """

    yes, first = False, True
    _before = 0

    def on_sanity_check_start(self, *_: object) -> None:
        self.yes = True

    def on_train_start(self, trainer: pl.Trainer, *_: object) -> None:
        self.yes, self._before = True, trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        self.first = trainer.global_step == self._before


def _of_state(error: Exception) -> bool:
    """Whether an error comes of what optimisers, their schedules or Lightning keep of a training.

    They take it from a checkpoint without a look, and fail on it in the first step.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    module = frames[-1][0].f_globals.get("__name__", "") if frames else ""
    keeping = module.startswith(("torch.optim", "pytorch_lightning."))
    return keeping and not isinstance(error, MemoryError | torch.OutOfMemoryError)


def _announce(
    module: PriorTrainingModule,
    data: pl.LightningDataModule,
    trainer: pl.Trainer,
    settings: TrainingSettings,
    console: Console,
) -> None:
    what = type(data).__name__
    if isinstance(data, PriorDataModule):
        for reason in data.skipped[:_NAMED]:
            say(console, f"left out: {reason}")
        if len(data.skipped) > _NAMED:
            say(console, f"left out: {len(data.skipped) - _NAMED} more")
        what = f"{len(data.train_paths)} photographs, validating on {len(data.val_paths)}"
    millions = sum(p.numel() for p in module.unet.parameters()) / 1e6
    say(console, f"training on {what}; {millions:.1f} million parameters in {trainer.precision}")
    device = trainer.strategy.root_device
    if warning := precision_warning(settings.precision, str(trainer.precision), device):
        say(console, warning)


def _start(ckpt_path: str | None, last: Path, keeps: bool) -> Path | None:
    """The checkpoint to go on from.

    Args:
        ckpt_path: what the user asked for.
        last: the checkpoint of an earlier run, if there is one.
        keeps: whether this run writes there.

    Raises:
        UsageError: if there is none, or one that would be overwritten.
    """
    if ckpt_path is None:
        again = os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
        if keeps and last.is_file() and again:
            return last  # the same command again, by the system
        if keeps and last.exists():
            raise UsageError(
                f"{last} is there from an earlier run: go on from it with --ckpt_path last, or "
                "choose another --output"
            )
        return None
    path = last if ckpt_path == "last" else Path(ckpt_path)
    if not path.is_file():
        raise UsageError(f"--ckpt_path {path} does not exist: leave it out to start afresh")
    return path


def _check_checkpoint(path: Path, module: PriorTrainingModule) -> None:
    """Check that a training can go on from a checkpoint, before it begins.

    Raises:
        UsageError: if the file is no such checkpoint, or one of another network.
    """
    try:
        content = read_pickle(path)
    except UnusableWeightsError as reason:
        raise _unusable(path, f"it {reason}") from None
    about = content.get(CHECKPOINT_KEY) if isinstance(content, dict) else None
    if not isinstance(about, dict) or not isinstance(content.get("state_dict"), dict):
        raise _unusable(path, "it is no checkpoint of a training")
    if not isinstance(about.get("training"), dict) or "seconds" not in about["training"]:
        raise _unusable(path, "it does not tell of its training")
    own, kept = module.state_dict(), content["state_dict"]
    for name, value in own.items():
        if not isinstance(kept.get(name), Tensor) or kept[name].shape != value.shape:
            raise _unusable(path, f"it belongs to another network, by its {name}")


def _unusable(path: Path, reason: str) -> UsageError:
    return UsageError(
        f"--ckpt_path {path} cannot be gone on from ({reason}): give a checkpoint that 'fit' has "
        "written with these settings, or leave it out to start afresh"
    )

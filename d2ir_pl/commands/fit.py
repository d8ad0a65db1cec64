"""`fit`: train a prior on a folder of photographs through Lightning."""

from __future__ import annotations

import contextlib
import math
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from jsonargparse import Namespace
from pytorch_lightning.cli import LightningArgumentParser
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.exceptions import SIGTERMException
from rich.console import Console

from d2ir_pl.commands.options import (
    CommandCLI,
    UsageError,
    parse,
    resolve_precision,
    slow_precision,
)
from d2ir_pl.commands.quiet import quiet
from d2ir_pl.memory import keep_freed_memory
from d2ir_pl.prior_data import PriorDataModule
from d2ir_pl.prior_training import PriorTrainingModule
from d2ir_pl.results import OutputError, ResultFolder

# Options of Lightning's trainer that do not fit an endless stream of patches, or are set here.
_NOT_OFFERED = {
    "max_epochs",
    "min_epochs",
    "min_steps",
    "limit_train_batches",
    "limit_test_batches",
    "limit_predict_batches",
    "fast_dev_run",
    "overfit_batches",
    "check_val_every_n_epoch",
    "num_sanity_val_steps",
    "reload_dataloaders_every_n_epochs",
    "enable_autolog_hparams",
    "model_registry",
    "inference_mode",
    "barebones",
    "default_root_dir",
    "enable_checkpointing",
    "enable_model_summary",
    "use_distributed_sampler",
    "logger",
}


class TrainingCLI(CommandCLI):
    """`fit`: options of the training, its data and Lightning's trainer, and a few of its own."""

    module_class = PriorTrainingModule
    data_class = PriorDataModule
    trainer_skip = _NOT_OFFERED
    network = "the network"

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--output", type=str, default="results/prior", help="folder for logs and checkpoints"
        )
        parser.add_argument("--seed", type=int, default=0, help="seed of weights and every draw")
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            default=None,
            help="checkpoint to go on from; 'last' is the one in --output",
        )
        parser.add_argument(
            "--checkpoint_minutes",
            type=float,
            default=10.0,
            help="write a checkpoint every so many minutes, beside the one at the end",
        )
        parser.link_arguments("seed", "model.seed")
        parser.link_arguments("seed", "data.seed")
        parser.set_defaults(
            {
                "trainer.max_steps": 10_000,
                "trainer.val_check_interval": 500,
                "trainer.gradient_clip_val": 1.0,
            }
        )


class Checkpoints(pl.Callback):
    """Writes `last.ckpt` at intervals of time, at the end, and where a run is stopped.

    Args:
        path: the file; it is replaced as a whole or not at all.
        interval: time between two checkpoints.
    """

    def __init__(self, path: Path, interval: timedelta) -> None:
        self.path = path
        self.interval = interval.total_seconds()
        self._due = 0.0
        self._saved_step = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._due = time.monotonic() + self.interval
        self._saved_step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        complete = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        # All processes have to take part: the clock of the first one decides.
        if complete and trainer.strategy.broadcast(time.monotonic() >= self._due):
            self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        # After any other error the weights may be broken, or another process dead.
        if isinstance(exception, KeyboardInterrupt | SIGTERMException) and trainer.world_size == 1:
            self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        self._due = time.monotonic() + self.interval
        if trainer.global_step != self._saved_step:
            try:
                trainer.save_checkpoint(self.path)
            except OSError as error:
                raise OutputError(
                    f"{self.path} cannot be written ({error.strerror or error}): make room for it "
                    "and go on with --ckpt_path last"
                ) from error
            self._saved_step = trainer.global_step


class TrainingProgress(pl.Callback):
    """A line at every validation: step, losses, speed and the time that is left."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._begun, self._first = 0.0, 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begun, self._first = time.monotonic(), trainer.global_step

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, PriorTrainingModule)
        step, steps = trainer.global_step, max(trainer.global_step - self._first, 1)
        pace = (time.monotonic() - self._begun) / steps
        left = timedelta(seconds=round(pace * max(trainer.max_steps - step, 0)))
        scores = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        levels = ", ".join(f"{v:.4f}" for k, v in scores.items() if k != "val/loss")
        # Unknown before the first step that is logged.
        known = math.isfinite(pl_module.last_loss)
        loss = f"loss {pl_module.last_loss:.4f}, " if known else ""
        _line(
            self.console,
            f"step {step} of {trainer.max_steps}: {loss}validation {levels}; "
            f"{pace:.2f} s a step, {left} left",
        )


def fit(arguments: list[str]) -> int:
    """Train a prior; checkpoints and curves go to --output."""
    keep_freed_memory()
    with quiet():
        return _run(parse_training_options(arguments))


def parse_training_options(arguments: list[str]) -> TrainingCLI:
    """The module, the data and the trainer that the options of `fit` describe.

    Raises:
        UsageError, InputError, PriorError: with one sentence, if an option is wrong.
    """
    about = "Train a diffusion prior on a folder of photographs."
    return parse(TrainingCLI, _trainer, "fit", about, arguments)


def _trainer(**arguments: Any) -> pl.Trainer:
    arguments = resolve_precision(arguments)
    if arguments["max_steps"] < 1:
        raise ValueError(f"trainer.max_steps {arguments['max_steps']} must be at least 1")
    return pl.Trainer(
        **arguments,
        num_sanity_val_steps=0,
        max_epochs=-1,
        check_val_every_n_epoch=None,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _run(cli: TrainingCLI) -> int:
    config: Namespace = cli.config
    module, data, trainer = cli.model, cli.datamodule, cli.trainer
    if config.checkpoint_minutes <= 0:
        raise UsageError(f"--checkpoint_minutes {config.checkpoint_minutes} must be positive")
    folder = ResultFolder(Path(config.output))
    folder.prepare()
    last = folder.root / "last.ckpt"
    console = Console(stderr=True)
    with contextlib.ExitStack() as stack:
        if trainer.is_global_zero:
            stack.enter_context(folder.lock())
        start = _start(config.ckpt_path, last)
        if trainer.is_global_zero:
            _announce(module, data, trainer.precision, console)
            if warning := slow_precision(config.trainer.precision, trainer):
                _line(console, warning)
            cli.parser.save(
                config, folder.root / "config.yaml", overwrite=True, skip_validation=True
            )
        trainer.logger = TensorBoardLogger(folder.root, name="tensorboard", version="")
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        callbacks.append(TrainingProgress(console))
        callbacks.append(Checkpoints(last, timedelta(minutes=config.checkpoint_minutes)))
        try:
            trainer.fit(module, data, ckpt_path=start, weights_only=True)
        except (SystemExit, SIGTERMException):  # what Lightning makes of Ctrl-C and of a signal
            raise KeyboardInterrupt from None
    if trainer.is_global_zero:
        _line(
            console,
            f"trained {trainer.global_step} steps; export the prior with "
            f"'d2ir export-prior {last} prior.safetensors'",
        )
    return 0


def _announce(
    module: PriorTrainingModule, data: PriorDataModule, precision: str, console: Console
) -> None:
    for reason in data.skipped[:5]:
        _line(console, f"left out: {reason}")
    if len(data.skipped) > 5:
        _line(console, f"left out: {len(data.skipped) - 5} more")
    millions = sum(p.numel() for p in module.unet.parameters()) / 1e6
    _line(
        console,
        f"training on {len(data.train_paths)} photographs, validating on {len(data.val_paths)}; "
        f"{millions:.1f} million parameters in {precision}",
    )


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _start(ckpt_path: str | None, last: Path) -> Path | None:
    """The checkpoint to go on from.

    Raises:
        UsageError: if there is none, or one that would be overwritten.
    """
    if ckpt_path is None:
        if last.exists():
            raise UsageError(
                f"{last} is there from an earlier run: go on from it with --ckpt_path last, or "
                "choose another --output"
            )
        return None
    path = last if ckpt_path == "last" else Path(ckpt_path)
    if not path.is_file():
        raise UsageError(f"--ckpt_path {path} does not exist: leave it out to start afresh")
    return path

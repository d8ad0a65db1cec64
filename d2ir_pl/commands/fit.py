"""`fit`: train a prior on a folder of photographs through Lightning."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from jsonargparse import Namespace
from pytorch_lightning.cli import LightningArgumentParser
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.exceptions import SIGTERMException
from rich.console import Console

from d2ir_pl import compat
from d2ir_pl.commands.parser import CommandCLI, parse, resolve_precision
from d2ir_pl.console import quiet, say
from d2ir_pl.errors import UsageError
from d2ir_pl.priors.memory import keep_freed_memory
from d2ir_pl.priors.precision import slow_precision
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.training.callbacks import Checkpoints, TrainingProgress
from d2ir_pl.training.data import PriorDataModule
from d2ir_pl.training.module import PriorTrainingModule

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
            if warning := slow_precision(
                config.trainer.precision, trainer.precision, trainer.strategy.root_device
            ):
                say(console, warning)
            cli.parser.save(
                config, folder.root / "config.yaml", overwrite=True, skip_validation=True
            )
        trainer.logger = TensorBoardLogger(folder.root, name="tensorboard", version="")
        callbacks = compat.callbacks(trainer)
        callbacks.append(TrainingProgress(console))
        callbacks.append(Checkpoints(last, timedelta(minutes=config.checkpoint_minutes)))
        try:
            trainer.fit(module, data, ckpt_path=start, weights_only=True)
        except (SystemExit, SIGTERMException):  # what Lightning makes of Ctrl-C and of a signal
            raise KeyboardInterrupt from None
    if trainer.is_global_zero:
        say(
            console,
            f"trained {trainer.global_step} steps; export the prior with "
            f"'d2ir export-prior {last} prior.safetensors'",
        )
    return 0


def _announce(
    module: PriorTrainingModule, data: PriorDataModule, precision: str, console: Console
) -> None:
    for reason in data.skipped[:5]:
        say(console, f"left out: {reason}")
    if len(data.skipped) > 5:
        say(console, f"left out: {len(data.skipped) - 5} more")
    millions = sum(p.numel() for p in module.unet.parameters()) / 1e6
    say(
        console,
        f"training on {len(data.train_paths)} photographs, validating on {len(data.val_paths)}; "
        f"{millions:.1f} million parameters in {precision}",
    )


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

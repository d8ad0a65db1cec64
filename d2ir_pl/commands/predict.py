"""`predict`: restore degraded photos through Lightning."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from jsonargparse import lazy_instance
from pytorch_lightning.cli import LightningArgumentParser
from rich.console import Console

from d2ir_pl.commands.parser import CommandCLI, parse, resolve_precision
from d2ir_pl.console import quiet
from d2ir_pl.degradations import GaussianBlur
from d2ir_pl.prediction.data import RestorationDataModule
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.prediction.run import RunSettings, run
from d2ir_pl.prediction.trainer import restoration_trainer
from d2ir_pl.priors.memory import keep_freed_memory
from d2ir_pl.restoration import D2IR

# Options of Lightning's trainer that mean nothing when images are restored, or are defined here.
_TRAINING_ONLY = {
    "max_epochs",
    "min_epochs",
    "max_steps",
    "min_steps",
    "max_time",
    "limit_train_batches",
    "limit_val_batches",
    "limit_test_batches",
    "limit_predict_batches",
    "fast_dev_run",
    "overfit_batches",
    "val_check_interval",
    "check_val_every_n_epoch",
    "num_sanity_val_steps",
    "log_every_n_steps",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "reload_dataloaders_every_n_epochs",
    "sync_batchnorm",
    "enable_autolog_hparams",
    "model_registry",
    "inference_mode",
    "detect_anomaly",
    "barebones",
    "default_root_dir",
    "enable_checkpointing",
    "enable_progress_bar",
    "enable_model_summary",
    "use_distributed_sampler",
    "logger",
}


class RestorationCLI(CommandCLI):
    """`predict`: options of the model, the data and Lightning's trainer, and a few of its own."""

    module_class = RestorationModule
    data_class = RestorationDataModule
    trainer_skip = _TRAINING_ONLY
    network = "the prior"

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--output", type=str, default="results", help="folder for all results")
        parser.add_argument("--seed", type=int, default=0, help="seed of every image's noise")
        parser.add_argument(
            "--overwrite",
            type=bool,
            default=False,
            help="restore again what is in --output, settings having changed or not",
        )
        parser.add_argument(
            "--tensorboard",
            type=bool,
            default=True,
            help="write curves and pictures of every step under --output/tensorboard",
        )
        parser.add_argument(
            "--progress",
            type=Literal["auto", "none"],
            default="auto",
            help="a bar in a terminal, a line an image elsewhere; none for the summary alone",
        )
        parser.add_argument(
            "--report",
            type=bool,
            default=True,
            help="write --output/report.html, a page with all pictures, curves and numbers",
        )
        parser.link_arguments("seed", "model.seed")
        parser.set_defaults(
            {
                "model.degradation": lazy_instance(GaussianBlur),
                "model.method": lazy_instance(D2IR),
            }
        )

    def run_settings(self) -> RunSettings:
        """What the run is told beside the module, the data and the trainer."""
        config = self.config
        return RunSettings(
            output=Path(config.output),
            config=config.as_dict(),
            text=self.parser.dump(config, skip_validation=True),
            overwrite=config.overwrite,
            tensorboard=config.tensorboard,
            progress=config.progress,
            report=config.report,
        )


def _trainer(**arguments: Any) -> pl.Trainer:
    return restoration_trainer(**resolve_precision(arguments))


def parse_options(arguments: list[str]) -> RestorationCLI:
    """The module, the data and the trainer that the options of `predict` describe.

    Raises:
        UsageError, InputError, PriorError: with one sentence, if an option is wrong.
    """
    # A class can be chosen by its bare name once it is imported; nothing else here needs these.
    importlib.import_module("d2ir_pl.restoration.baselines")
    # One's own class may lie in a file of the working directory. What is installed goes first.
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)
    about = "Restore degraded photos with a pretrained diffusion prior."
    return parse(RestorationCLI, _trainer, "predict", about, arguments)


def predict(arguments: list[str]) -> int:
    """Restore images; the exit status is 1 if any of them failed."""
    keep_freed_memory()
    with quiet():
        cli = parse_options(arguments)
        return run(
            cli.model, cli.datamodule, cli.trainer, cli.run_settings(), console=Console(stderr=True)
        )

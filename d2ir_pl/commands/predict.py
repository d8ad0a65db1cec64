"""`predict`: restore degraded photos through Lightning."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

from jsonargparse import lazy_instance
from pytorch_lightning.cli import LightningArgumentParser
from rich.console import Console

from d2ir_pl.commands.parser import COMMON_TRAINER_OPTIONS, CommandCLI
from d2ir_pl.commands.processes import together
from d2ir_pl.commands.sweep import asked, sweep
from d2ir_pl.compat import option_names
from d2ir_pl.console import quiet
from d2ir_pl.degradations import GaussianBlur
from d2ir_pl.errors import UsageError
from d2ir_pl.prediction.data import RestorationDataModule
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.prediction.run import RunSettings, run
from d2ir_pl.prediction.trainer import restoration_trainer
from d2ir_pl.priors.memory import keep_freed_memory
from d2ir_pl.restoration import D2IR
from d2ir_pl.stopping import KEPT


class RestorationCLI(CommandCLI):
    """`predict`: options of the model, the data and Lightning's trainer, and a few of its own."""

    command = "predict"
    about = "Restore degraded photos with a pretrained diffusion prior."
    module_class = RestorationModule
    data_class = RestorationDataModule
    trainer_options = COMMON_TRAINER_OPTIONS | {"limit_predict_batches"}
    path_options = frozenset(
        {
            "output",
            "data.references",
            "model.prior",
            "model.start",
            "model.region",
            "model.degradation.kernel",
            "model.degradation.source",
        }
    )
    network = "the prior"
    make_trainer = staticmethod(restoration_trainer)

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
            type=bool | None,
            default=None,
            help="write curves and pictures of every step under --output/tensorboard; by default "
            "where --trainer.logger names no other place for them",
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
        parser.add_argument(
            "--sweep",
            type=str | None,
            default=None,
            help="YAML file with a list of runs, each with options of its own: all are done with "
            "the same photos, into folders under --output, with a table at the end",
        )
        parser.add_argument(
            "--sweep_index",
            type=int | None,
            default=None,
            help="number of the one run of --sweep to do, from 0, as in an array of jobs",
        )
        known = option_names(parser)  # a module of the user's own may lack some
        if "--model.seed" in known:
            parser.link_arguments("seed", "model.seed")
        defaults = {
            "model.degradation": lazy_instance(GaussianBlur),
            "model.method": lazy_instance(D2IR),
        }
        parser.set_defaults({key: made for key, made in defaults.items() if f"--{key}" in known})

    def run_settings(self) -> RunSettings:
        """What the run is told beside the module, the data and the trainer."""
        config = self.config
        settings = config.as_dict()
        if self.own_module is not None:
            settings["model"]["class"] = self.own_module
        return RunSettings(
            output=Path(config.output),
            config=settings,
            text=self.parser.dump(config, skip_validation=True),
            overwrite=config.overwrite,
            tensorboard=(
                self.writes_tensorboard if config.tensorboard is None else config.tensorboard
            ),
            progress=config.progress,
            report=config.report,
        )


def parse_options(arguments: list[str]) -> RestorationCLI:
    """The module, the data and the trainer that the options of `predict` describe.

    Raises:
        UserError: with one sentence that begins with the option, if one is wrong.
    """
    # A class can be chosen by its bare name once it is imported.
    importlib.import_module("d2ir_pl.restoration.baselines")
    return RestorationCLI.parse(arguments)


def predict(arguments: list[str], told: int = 0) -> int:
    """Restore images; the exit status is 1 if any of them failed.

    Args:
        arguments: what the user typed after the name of the command.
        told: number of pixels of which the user knows already how long they take.
    """
    if (request := asked(arguments)) is not None:
        return sweep(request, predict)
    keep_freed_memory()
    with quiet():
        cli = parse_options(arguments)
        if cli.config.sweep is not None or cli.config.sweep_index is not None:
            raise UsageError("sweep is given in a config: give it on the command line")
        settings, console = replace(cli.run_settings(), told=told), Console(stderr=True)
        with together(cli.trainer, KEPT):
            return run(cli.model, cli.datamodule, cli.trainer, settings, console=console)

"""The options of commands that run Lightning's trainer: its own, those of a module and its data."""

from __future__ import annotations

from typing import Any, ClassVar

import pytorch_lightning as pl
from jsonargparse import SUPPRESS, ActionConfigFile, ArgumentError
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities.exceptions import MisconfigurationException

import d2ir_pl
from d2ir_pl.commands.classes import require_classes_first
from d2ir_pl.commands.sentences import sentence
from d2ir_pl.commands.shipped import find_configs
from d2ir_pl.compat import option_names, own_defaults
from d2ir_pl.errors import InputError, UsageError
from d2ir_pl.priors import PriorError
from d2ir_pl.priors.precision import device_type, trainer_precision


class _Parser(LightningArgumentParser):
    """No option can be abbreviated, and neither can those of a class that is named as a value.

    jsonargparse builds the parsers of such classes itself, from the class of the outer one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})


class CommandCLI(LightningCLI):
    """Options of a module, its data and Lightning's trainer, of which some mean nothing here."""

    module_class: ClassVar[type[pl.LightningModule]]
    data_class: ClassVar[type[pl.LightningDataModule]]
    trainer_skip: ClassVar[set[str]]
    network: ClassVar[str]

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        parser = _Parser(**kwargs)
        help = "YAML file with options, or the name of a shipped one; can be given several times"
        parser.add_argument("--config", action=ActionConfigFile, help=help)
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        try:
            with own_defaults():
                self.config = parser.parse_args(args)
        except ArgumentError as error:
            known = option_names(parser)
            raise UsageError(sentence(str(error), parser.prog, known)) from None

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        # Lightning asks for it; every draw has a generator of its own here, so it says nothing.
        parser.add_argument("--seed_everything", type=bool, default=False, help=SUPPRESS)

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(self.module_class, "model")
        parser.add_lightning_class_args(self.data_class, "data")
        parser.add_class_arguments(
            pl.Trainer,
            "trainer",
            fail_untyped=False,
            instantiate=False,
            sub_configs=True,
            skip=self.trainer_skip | {"precision"},
        )
        help = (
            f"what {self.network} computes in: 32-true, bf16-mixed, 16-mixed, or auto (half "
            "precision where the device has arithmetic for it)"
        )
        parser.add_argument("--trainer.precision", type=str, default="auto", help=help)


def parse(cli: type[CommandCLI], trainer: Any, name: str, about: str, arguments: list[str]) -> Any:
    """The module, the data and the trainer that the options of a command describe.

    Args:
        cli: the command's options.
        trainer: what makes Lightning's trainer of them.
        name: of the command.
        about: what it does, for its help.
        arguments: what the user typed after the name.

    Raises:
        UsageError, InputError, PriorError: with one sentence, if an option is wrong.
    """
    require_classes_first(arguments)
    arguments = find_configs(arguments)
    prog = f"d2ir {name}"
    try:
        return cli(
            cli.module_class,
            cli.data_class,
            save_config_callback=None,
            trainer_class=trainer,
            seed_everything_default=False,
            auto_configure_optimizers=False,
            parser_kwargs={
                "prog": prog,
                "description": about,
                "default_env": True,
                "env_prefix": "D2IR",
                "exit_on_error": False,
                "dump_header": [f"d2ir_pl {d2ir_pl.__version__}"],
            },
            args=arguments,
            run=False,
        )
    except (UsageError, InputError, PriorError):
        raise
    except MisconfigurationException as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"the --trainer options do not fit this machine: {reason}") from None
    except (ArgumentError, ValueError, TypeError) as error:
        raise UsageError(sentence(str(error), prog)) from None


def resolve_precision(arguments: dict[str, Any]) -> dict[str, Any]:
    """The trainer's arguments with the name of a precision that Lightning knows.

    Raises:
        ValueError: if it is none of those that are supported.
    """
    device = device_type(arguments["accelerator"])
    return {**arguments, "precision": trainer_precision(arguments["precision"], device)}

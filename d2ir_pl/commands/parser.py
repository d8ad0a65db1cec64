"""The options of commands that run Lightning's trainer, and the objects that they describe."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from typing import Any, ClassVar, Self

import pytorch_lightning as pl
from jsonargparse import SUPPRESS, ActionConfigFile, ArgumentError, Namespace
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities.exceptions import MisconfigurationException

import d2ir_pl
from d2ir_pl.commands.arguments import INPUTS, arranged, arranged_environment, config_path
from d2ir_pl.commands.classes import early_option, require_classes_first
from d2ir_pl.commands.configs import class_paths
from d2ir_pl.commands.overridden import require_configs_first
from d2ir_pl.commands.own import (
    module_of,
    named_classes,
    require_known,
    require_usable,
    with_module,
    without_module,
)
from d2ir_pl.commands.program import program
from d2ir_pl.commands.sentences import sentence, with_option, with_trainer_option
from d2ir_pl.compat import option_names, own_defaults
from d2ir_pl.errors import UsageError, UserError, of_a_name
from d2ir_pl.priors.precision import device_type, trainer_precision

COMMON_TRAINER_OPTIONS = frozenset(
    {
        "accelerator",
        "strategy",
        "devices",
        "num_nodes",
        "callbacks",
        "deterministic",
        "benchmark",
        "logger",
        "profiler",
        "fast_dev_run",
        "plugins",
    }
)
"""Arguments of Lightning's trainer that mean something for restoring as well as for training."""


_PREFIX = "D2IR"
"""With which the environment variables begin that set options."""


class _Parser(LightningArgumentParser):
    """A parser that takes no abbreviation, neither of its options nor of those of a chosen class.

    jsonargparse builds the parsers of such classes itself, from the class of the outer one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})
        self.own_module: str | None = None
        """Import path of the module, where it is one of the user's own."""

    def dump(self, *args: Any, **kwargs: Any) -> str:
        text: str = super().dump(*args, **kwargs)
        return text if self.own_module is None else with_module(text, self.own_module)


def _first(error: BaseException) -> BaseException:
    """The error that others have come of."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return error


class CommandCLI(LightningCLI):
    """Options of a module, its data and Lightning's trainer; `parse` makes the objects of them.

    Attributes:
        command: name of the command.
        about: sentence for the help of the command.
        module_class: the module, whose arguments are the options `--model`.
        data_class: the data, whose arguments are the options `--data`.
        trainer_options: arguments of Lightning's trainer that are offered as `--trainer`. An
            argument that a later version of Lightning adds is not offered by itself.
        path_options: options whose values are paths, beside `data.inputs`.
        network: what computes in `--trainer.precision`, for the help.
        make_trainer: function that makes Lightning's trainer of the values of `trainer_options` and
            a precision that Lightning knows.
        makes_trainer: whether module and data are made, so that what is wrong is of the trainer.
    """

    command: ClassVar[str]
    about: ClassVar[str]
    module_class: ClassVar[type[pl.LightningModule]]
    data_class: ClassVar[type[pl.LightningDataModule]]
    trainer_options: ClassVar[frozenset[str]]
    path_options: ClassVar[frozenset[str]]
    network: ClassVar[str]
    make_trainer: ClassVar[Callable[..., pl.Trainer]]
    makes_trainer = False

    @classmethod
    def parse(cls, arguments: list[str]) -> Self:
        """Make the module, the data and the trainer that the options of the command describe.

        Args:
            arguments: what the user typed after the name of the command.

        Raises:
            UserError: with one sentence that begins with the option, if one is wrong.
        """
        require_classes_first(arguments)
        known_paths = cls.path_options | {INPUTS}
        # A class of the user's own may lie in the working directory, behind all that is installed.
        if (here := os.getcwd()) not in sys.path:
            sys.path.append(here)
        typed = arranged(arguments, cls.path_options)
        require_configs_first(typed)
        variable = os.environ.get(f"{_PREFIX}_CONFIG")
        before = [f"--config={config_path(variable)}"] if variable is not None else []
        for option, path in class_paths([*before, *typed], known_paths):
            require_known(option, path)
        typed, own_module = without_module(typed)
        named = named_classes(typed)
        for option, path in named:
            require_usable(option, path)
        return cls._made(typed, any(option == "data" for option, _ in named), own_module)

    @classmethod
    def option_parser(cls) -> LightningArgumentParser:
        """The parser of the command, of which no object is made."""

        class Unparsed(cls):  # type: ignore[misc, valid-type]
            def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
                del parser, args
                self.config = Namespace(seed_everything=False)  # type: ignore[no-untyped-call]

            def instantiate_classes(self) -> None:
                pass

        parser: LightningArgumentParser = Unparsed._made([]).parser
        return parser

    @classmethod
    def _made(
        cls, arguments: list[str], own_data: bool = False, own_module: str | None = None
    ) -> Self:
        return cls(
            cls.module_class,
            cls.data_class,
            save_config_callback=None,
            trainer_class=cls.make_trainer,
            seed_everything_default=False,
            auto_configure_optimizers=False,
            parser_kwargs={
                "own_data": own_data,
                "own_module": own_module,
                "prog": f"{program()} {cls.command}",
                "description": cls.about,
                "default_env": True,
                "env_prefix": _PREFIX,
                "exit_on_error": False,
                "dump_header": [f"d2ir_pl {d2ir_pl.__version__}"],
            },
            args=arguments,
            run=False,
        )

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        self.own_data: bool = kwargs.pop("own_data")
        self.own_module: str | None = kwargs.pop("own_module")
        parser = _Parser(**kwargs)
        parser.own_module = self.own_module
        about = "YAML file with options, or the name of a shipped one; can be given several times"
        parser.add_argument("--config", action=ActionConfigFile, help=about)
        return parser

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        # Lightning asks for it; every draw has a generator of its own here, so it says nothing.
        parser.add_argument("--seed_everything", type=bool, default=False, help=SUPPRESS)

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        module = self.module_class
        if self.own_module is not None:
            module = module_of(self.own_module, module)
        parser.add_lightning_class_args(module, "model")
        if self.own_data:  # the class is named, its arguments are below it
            any_data = pl.LightningDataModule
            parser.add_lightning_class_args(any_data, "data", subclass_mode=True)
        else:
            parser.add_lightning_class_args(self.data_class, "data")
        parser.add_class_arguments(
            pl.Trainer,
            "trainer",
            fail_untyped=False,
            instantiate=False,
            sub_configs=True,
            skip=inspect.signature(pl.Trainer).parameters.keys() - self.trainer_options,
        )
        about = (
            f"what {self.network} computes in: 32-true, bf16-mixed, 16-mixed, or auto (half "
            "precision where the device has arithmetic for it)"
        )
        parser.add_argument("--trainer.precision", type=str, default="auto", help=about)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        try:
            with own_defaults(), arranged_environment(_PREFIX, self.path_options):
                self.config = parser.parse_args(args)
        except UserError:
            raise
        except (ArgumentError, ValueError, TypeError) as error:
            known = option_names(parser)
            reason = of_a_name(_first(error)) or sentence(str(error), parser.prog, known)
            raise UsageError(early_option(args, reason) or reason) from None

    def instantiate_classes(self) -> None:
        options = self.config.as_dict()
        try:
            super().instantiate_classes()
        except MisconfigurationException as error:
            raise UsageError(with_trainer_option(str(error), options["trainer"])) from None
        except UserError as error:
            raise type(error)(with_option(str(error), options)) from None
        except ImportError as error:  # of a logger whose package is an extra
            reason = " ".join(str(error).split())
            raise UsageError(f"a class that is named cannot be used: {reason}") from None
        except (ArgumentError, ValueError, TypeError) as error:
            name = of_a_name(_first(error))
            reason = with_option(name or sentence(str(error), self.parser.prog), options)
            if self.makes_trainer:
                reason = with_trainer_option(reason, options["trainer"])
            raise UsageError(reason) from None

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        self.makes_trainer = True
        asked = self.config.trainer
        precision = trainer_precision(asked.precision, device_type(asked.accelerator))
        if not self.names_loggers:
            # Where it is left to the program, that is no logger of Lightning's own choice.
            kwargs["logger"] = False
        # The program's own data share themselves out; others are shared by Lightning's samplers.
        kwargs["use_distributed_sampler"] = not isinstance(self.datamodule, self.data_class)
        return super().instantiate_trainer(precision=precision, **kwargs)

    @property
    def names_loggers(self) -> bool:
        """Whether `--trainer.logger` names loggers, rather than being true, false or left out."""
        logger = self.config.trainer.logger
        return not (logger is None or isinstance(logger, bool))

    @property
    def writes_tensorboard(self) -> bool:
        """Whether curves go to TensorBoard under --output: `--trainer.logger` is true or silent."""
        return self.config.trainer.logger in (None, True)

"""The options of `predict`: which there are, and one sentence for what is wrong with one."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from jsonargparse import SUPPRESS, ActionConfigFile, ArgumentError, lazy_instance
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException

import d2ir_pl
from d2ir_pl.data import InputError, RestorationDataModule
from d2ir_pl.degradations import Degradation, GaussianBlur
from d2ir_pl.module import RestorationModule, compute_dtype
from d2ir_pl.priors import PriorError
from d2ir_pl.restoration import D2IR, RestorationMethod


class UsageError(ValueError):
    """An option is wrong; the message is one sentence that names it."""


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
    "precision",
}


class _Parser(LightningArgumentParser):
    """No option can be abbreviated, and neither can those of a class that is named as a value.

    jsonargparse builds the parsers of such classes itself, from the class of the outer one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})


class RestorationCLI(LightningCLI):
    """`predict`: options of the model, the data and Lightning's trainer, and a few of its own."""

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        parser = _Parser(**kwargs)
        help = "YAML file with options, or the name of a shipped one; can be given several times"
        parser.add_argument("--config", action=ActionConfigFile, help=help)
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            raise UsageError(_sentence(str(error), parser._option_string_actions)) from None

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        # Lightning asks for it; noise is keyed by image here, so a global seed says nothing.
        parser.add_argument("--seed_everything", type=bool, default=False, help=SUPPRESS)

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(RestorationModule, "model")
        parser.add_lightning_class_args(RestorationDataModule, "data")
        parser.add_class_arguments(
            pl.Trainer,
            "trainer",
            fail_untyped=False,
            instantiate=False,
            sub_configs=True,
            skip=_TRAINING_ONLY,
        )
        parser.add_argument(
            "--trainer.precision",
            type=str,
            default="bf16-mixed",
            help="what the prior computes in: 32-true, bf16-mixed or 16-mixed",
        )

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
        parser.link_arguments("seed", "model.seed")
        parser.set_defaults(
            {
                "model.degradation": lazy_instance(GaussianBlur),
                "model.method": lazy_instance(D2IR),
            }
        )


def _trainer(**arguments: Any) -> pl.Trainer:
    """Lightning's trainer with what prediction needs: own sharding, no training side effects."""
    compute_dtype(arguments["precision"])
    trainer = pl.Trainer(
        **arguments,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    if isinstance(trainer.strategy, DDPStrategy):
        # Shares are uneven, and the first process to finish waits for the last one.
        trainer.strategy._timeout = timedelta(days=7)
    return trainer


def parse_options(arguments: list[str]) -> RestorationCLI:
    """The model, the data and the trainer that the options of `predict` describe.

    Raises:
        UsageError, InputError, PriorError: with one sentence, if an option is wrong.
    """
    arguments = [
        _shipped_config(argument, before)
        for before, argument in zip(["", *arguments], arguments, strict=False)
    ]
    try:
        return RestorationCLI(
            RestorationModule,
            RestorationDataModule,
            save_config_callback=None,
            trainer_class=_trainer,
            seed_everything_default=False,
            auto_configure_optimizers=False,
            parser_kwargs={
                "prog": "d2ir predict",
                "description": "Restore degraded photos with a pretrained diffusion prior.",
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
        raise UsageError(_sentence(str(error))) from None


def _shipped_config(argument: str, before: str) -> str:
    """`--config blind_deblur` finds the shipped file of that name."""
    prefix, name = (
        ("--config=", argument[9:]) if argument.startswith("--config=") else ("", argument)
    )
    if not prefix and before != "--config":
        return argument
    if Path(name).exists():
        return argument
    folder = configs_folder()
    shipped = folder / f"{Path(name).stem}.yaml"
    if Path(name).parent in (Path("."), Path("configs")) and shipped.is_file():
        return prefix + str(shipped)
    known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
    raise InputError(f"config {name} does not exist: the shipped ones are {known}")


def configs_folder() -> Path:
    """Where the shipped YAML files lie: inside an installed package, or beside a checkout's."""
    package = Path(__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def _sentence(message: str, known: Iterable[str] = ()) -> str:
    """The parser's report reduced to the option, what is wrong with it, and the remedy.

    Args:
        message: several lines, a branch for every type that the option could have had.
        known: options, one of which may have been meant.
    """
    text = " ".join(message.split())
    # Where a class or null is possible, what matters is why it is not the class.
    text = re.sub(r"Does not validate against any of the Union subtypes .*? Errors: - ", "", text)
    text = re.sub(r"( - Expected a <class 'NoneType'>)? Given value type: .*", "", text)
    key = ".".join(re.findall(r'Parser key "([^"]+)": ', text))
    text = re.sub(r'Parser key "[^"]+": (- )?', "", text)
    owner = re.match(r"Problem with given class_path '([^']+)': ", text)
    text = text[owner.end() :] if owner else text

    if unknown := re.match(r"unrecognized arguments: ([^\s=]+)", text):
        typed = unknown[1]
    elif unknown := re.match(r"(?:Group '(.+?)' does not accept option|Option) '(.+?)'", text):
        typed = "--" + ".".join(part for part in unknown.groups() if part)
    if unknown:
        if owner:
            name = owner[1].rsplit(".", 1)[-1]
            hint = f"see 'd2ir predict --{key}.help {name}'"
            return f"--{key}.{typed.removeprefix('--')} is not an option of {name}: {hint}"
        near = difflib.get_close_matches(typed, list(known), 1, 0.8)
        hint = f"did you mean {near[0]}?" if near else "see 'd2ir predict --help'"
        return f"{typed} is not an option: {hint}"
    if (path := re.search(r"Expected a dot import path string: (\S+)", text)) and key in _CLASSES:
        names = ", ".join(sorted(_concrete_classes(_CLASSES[key])))
        return f"--{key} {path[1]} is unknown: use {names}, or the import path of a class"
    text = re.sub(r"(?:<class '(\w+)'>|typing\.(Literal))", r"\1\2", text)
    text = text.replace("Expected a ", "expected ").replace(". Got value: ", ", not ")
    return f"--{key}: {text}" if key else text


_CLASSES: dict[str, type] = {"model.degradation": Degradation, "model.method": RestorationMethod}


def _concrete_classes(base: type[Any]) -> set[str]:
    """Names of the classes that can be chosen where `base` is expected."""
    names: set[str] = set()
    for cls in base.__subclasses__():
        # jsonargparse derives classes of its own to delay construction.
        private = cls.__name__.startswith(("_", "LazyInstance_"))
        if not private and not inspect.isabstract(cls):
            names.add(cls.__name__)
        names |= _concrete_classes(cls)
    return names

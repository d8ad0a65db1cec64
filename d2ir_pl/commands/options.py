"""What the options of all commands share: YAML files, and one sentence for what is wrong."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import pytorch_lightning as pl
from jsonargparse import SUPPRESS, ActionConfigFile, ArgumentError, _typehints
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities.exceptions import MisconfigurationException

import d2ir_pl
from d2ir_pl.degradations import Degradation
from d2ir_pl.errors import InputError, UsageError
from d2ir_pl.priors import PriorError
from d2ir_pl.priors.precision import device_type, trainer_precision
from d2ir_pl.restoration import RestorationMethod
from d2ir_pl.restoration.configs import configs_folder


class PlainParser(argparse.ArgumentParser):
    """Of commands without a trainer: what is wrong is a `UsageError`."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see '{self.prog} --help'")


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
            with _own_defaults():
                self.config = parser.parse_args(args)
        except ArgumentError as error:
            known = parser._option_string_actions
            raise UsageError(_sentence(str(error), parser.prog, known)) from None

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


@contextlib.contextmanager
def _own_defaults() -> Iterator[None]:
    """A class that replaces another starts from its own defaults.

    jsonargparse hands on every option that the new class knows by the same name, so that the scale
    of one method would become that of the next.
    """
    name = "discard_init_args_on_class_path_change"
    handed_on = getattr(_typehints, name)

    def forget(parser_or_action: Any, prev_val: Any, value: Any) -> None:
        handed_on(parser_or_action, prev_val, value)
        if not prev_val or "init_args" not in prev_val:
            return
        before, now = (_typehints.import_object(v["class_path"]) for v in (prev_val, value))
        if before is not now:
            for key in list(prev_val["init_args"].keys()):
                del prev_val["init_args"][key]

    setattr(_typehints, name, forget)
    try:
        yield
    finally:
        setattr(_typehints, name, handed_on)


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
    _require_classes_first(arguments)
    arguments = [
        _shipped_config(argument, before)
        for before, argument in zip(["", *arguments], arguments, strict=False)
    ]
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
        raise UsageError(_sentence(str(error), prog)) from None


def resolve_precision(arguments: dict[str, Any]) -> dict[str, Any]:
    """The trainer's arguments with the name of a precision that Lightning knows.

    Raises:
        ValueError: if it is none of those that are supported.
    """
    device = device_type(arguments["accelerator"])
    return {**arguments, "precision": trainer_precision(arguments["precision"], device)}


def _require_classes_first(arguments: list[str]) -> None:
    """A class starts from its own defaults, so that options before it would be lost."""
    for key in _CLASSES:
        chosen = [i for i, a in enumerate(arguments) if a.partition("=")[0] == f"--{key}"]
        for i, argument in enumerate(arguments):
            option = argument.partition("=")[0]
            if chosen and i < chosen[-1] and option.startswith(f"--{key}."):
                raise UsageError(
                    f"{option} stands before --{key}, which chooses the class that it belongs to: "
                    f"give --{key} first"
                )


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
    known = sorted(p.stem for p in folder.glob("*.yaml"))
    near = difflib.get_close_matches(Path(name).stem, known, 1, 0.7)
    if near:
        raise InputError(f"config {name} does not exist: did you mean {near[0]}?")
    raise InputError(
        f"config {name} does not exist: {', '.join(known[:4])} and {len(known) - 4} more lie in "
        f"{folder}"
    )


def _sentence(message: str, prog: str, known: Iterable[str] = ()) -> str:
    """The parser's report reduced to the option, what is wrong with it, and the remedy.

    Args:
        message: several lines, a branch for every type that the option could have had.
        prog: the command, whose help the remedy may be.
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
            hint = f"see '{prog} --{key}.help {name}'"
            return f"--{key}.{typed.removeprefix('--')} is not an option of {name}: {hint}"
        near = difflib.get_close_matches(typed, list(known), 1, 0.8)
        hint = f"did you mean {near[0]}?" if near else f"see '{prog} --help'"
        return f"{typed} is not an option: {hint}"
    if (path := re.search(r"Expected a dot import path string: (\S+)", text)) and key in _CLASSES:
        names = ", ".join(sorted(_concrete_classes(_CLASSES[key])))
        return f"--{key} {path[1]} is unknown: use auto, {names}, or the import path of a class"
    if key in _CLASSES and text.startswith("Not a valid subclass"):
        return f"--{key}: its options need a class: name one instead of auto, such as --{key} D2IR"
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

"""Short help: on one page what people set, for commands that have far more options."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from d2ir_pl.commands.program import program
from d2ir_pl.shipped.files import config_about, config_file, config_names

_DEFAULT = "blind_deblur"
"""The config whose settings are the defaults of `predict`."""

_TRAINING = "train_"
"""With which the names of the configs of `fit` begin."""


@dataclass(frozen=True)
class Page:
    """What the short help of a command says.

    Attributes:
        usage: what follows the name of the command.
        about: what the command does.
        examples: arguments of commands that can be typed as they are.
        options: options that people set, each with what it means.
        output: what the command writes; empty where an option says it.
        configs: the configs that most people need, each with what is wrong with the photo; all of
            the command if there are none.
    """

    usage: str
    about: str
    examples: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    output: str
    configs: tuple[tuple[str, str], ...] = ()


PAGES = {
    "predict": Page(
        "PHOTO... [--config NAME] [OPTIONS]",
        "Restore photos; PHOTO is a file, a folder or a pattern.",
        ("photos/ --config auto --data.format same",),
        (
            ("--output FOLDER", "for restored photos and report.html (results)"),
            ("--data.format KIND", "png, jpeg, webp, tiff, or same as the photo (png)"),
            ("--data.strip_metadata true", "leave out place and person"),
            ("--model.strength S", "1 restores all, less leaves blur and grain (1)"),
            ("--model.keep_grain G", "share of the grain that stays, 0 to 1 (0)"),
            ("--model.region MASK", "restore what is bright in a mask, or a box, alone"),
            ("--model.sigma_y S", "noise in [0, 1] where it is known; else estimated"),
            ("--overwrite true", "restore again what is in the output folder"),
        ),
        "",
        (
            ("auto", "not known: each photo is looked at"),
            ("blind_deblur, blind_deblur_kernel", "soft; shaken, or blurred in any way"),
            ("denoising, jpeg", "noisy; a poor JPEG"),
            ("low_light, faded", "too dark; an old print that has faded"),
            ("super_resolution_x4, old_photo", "too small; small, soft and a poor JPEG"),
            ("inpainting, colorization", "pixels are missing; grey, to be coloured"),
        ),
    ),
    "fit": Page(
        "PHOTO... [--config NAME] [--output FOLDER] [OPTIONS]",
        "Train a diffusion prior on your own photographs.",
        (
            "photos/ --config train_prior_natural --output results/prior",
            "photos/ --config train_prior_natural --output results/prior --ckpt_path last",
        ),
        (
            ("PHOTO...", "folders (searched recursively), patterns or files; --data.inputs"),
            ("--config NAME", "the config above or a YAML file; several lie over each other"),
            ("--output FOLDER", "where checkpoints and curves are written (results/prior)"),
            ("--ckpt_path FILE", "checkpoint to go on from; last is the one in the output folder"),
            ("--model.init_from NAME", "prior to start from instead of random weights"),
            ("--model.lr RATE", "learning rate (0.0005)"),
            ("--data.val_inputs PHOTO", "photographs to validate on; else a share of the others"),
            ("--data.patch_size N", "side of the patches in pixels (64)"),
            ("--data.batch_size N", "patches of a step (16)"),
            ("--trainer.max_steps N", "optimiser steps (10000)"),
            ("--trainer.max_epochs N", "epochs of a patch a photograph, if they end before"),
            ("--trainer.devices N", "number of GPUs or processes; auto takes what there is"),
            ("--seed N", "seed of weights and every draw (0)"),
            ("--print_config", "print the settings as YAML, and train nothing"),
        ),
        "last.ckpt lies in the output folder; 'export-prior' makes a prior of it.",
    ),
}
"""The page of each command that has one."""


def asked_help(arguments: Sequence[str]) -> str | None:
    """Which help is asked for: `page`, `configs`, `all`, or None if none is."""
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in ("-h", "--help"):
            what = value if equals else " ".join(arguments[i + 1 : i + 2])
            return what if what in ("all", "configs") else "page"
    return None


def page(command: str, width: int | None = None) -> str:
    """The page of a command.

    Args:
        command: one of `PAGES`.
        width: characters of a line; those of the terminal, but no more than 100, if None.
    """
    shown, called = PAGES[command], f"{program()} {command}"
    width = width or max(40, min(100, shutil.get_terminal_size().columns - 1))
    lines = textwrap.wrap(f"usage: {called} {shown.usage}", width, subsequent_indent=" " * 7)
    lines += ["", *textwrap.wrap(shown.about, width)]
    lines += ["", "examples:" if shown.examples[1:] else "example:"]
    # They are to be copied, so no line is broken.
    lines += [f"  {called} {example}" for example in shown.examples]
    if shown.configs:
        head = f"--config, by what is wrong with the photo (else {_DEFAULT}):"
        lines += ["", *textwrap.wrap(head, width)]
        lines += _table(shown.configs, width)
    else:
        lines += ["", "configs:", *_configs(command, width)]
    lines += ["", "options:", *_table(shown.options, width), ""]
    more = "--help configs: all configs; " if shown.configs else ""
    ways = f"{shown.output} {more}--help all: every option with its default.".strip()
    return "\n".join([*lines, *textwrap.wrap(ways, width)])


def configs_page(command: str, width: int | None = None) -> str:
    """All configs of a command.

    Args:
        command: one of `PAGES`.
        width: as that of `page`.
    """
    width = width or max(40, min(100, shutil.get_terminal_size().columns - 1))
    about = "Each is a YAML file in configs/ of the program; several can be laid over each other."
    return "\n".join([*textwrap.wrap(about, width), "", *_configs(command, width)])


def _configs(command: str, width: int) -> Iterator[str]:
    """A line for each config of a command; those of other methods share theirs."""
    names = [n for n in config_names() if n.startswith(_TRAINING) == (command == "fit")]
    others = [n for n in names if "baselines" in config_file(n).read_text(encoding="utf-8")]
    first = ["auto", _DEFAULT]
    names = sorted(set(names) - set(others), key=lambda n: (n not in first, n))
    yield from _table([(n, config_about(n)) for n in names], width, shorten=True)
    if others:
        text = f"to compare with: {', '.join(others)}"
        yield from textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="    ")


def _table(rows: Sequence[tuple[str, str]], width: int, shorten: bool = False) -> Iterator[str]:
    """Names in a column, and what they mean beside it, below each other where that is narrow."""
    column = max(len(name) for name, _ in rows) + 4
    room = width - column
    for name, text in rows:
        if room < 24:
            yield f"  {name}"
            yield from textwrap.wrap(
                text, width, initial_indent="      ", subsequent_indent="      "
            )
            continue
        parts = [textwrap.shorten(text, room, placeholder=" …")] if shorten else []
        for i, part in enumerate(parts or textwrap.wrap(text, room)):
            yield f"{'' if i else '  ' + name:<{column}}{part}"

"""`download`, `export-prior`, `inspect-prior`: commands about priors that need no trainer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

from d2ir_pl.commands.plain import PlainParser
from d2ir_pl.commands.program import program
from d2ir_pl.console import plain
from d2ir_pl.errors import PriorError
from d2ir_pl.priors.checkpoints import load_safetensors
from d2ir_pl.priors.diffusers import load_folder
from d2ir_pl.priors.download import file_sha256
from d2ir_pl.priors.export import Dtype, export_prior
from d2ir_pl.priors.network import NetworkPrior
from d2ir_pl.priors.published import PUBLISHED
from d2ir_pl.priors.registry import fetch, prior_file
from d2ir_pl.priors.state_dict import foreign_file


def download(arguments: list[str]) -> int:
    """Fetch a published prior into the cache."""
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        print(f"usage: {program()} download NAME\n\npublished priors:")
        for name, prior in PUBLISHED.items():
            by_hand = ", in a browser only" if prior.remote is None else ""
            print(
                f"  {name:21s} {prior.about}, {prior.parameters / 1e6:.0f} M parameters, "
                f"{prior.gigabytes:.1f} GB{by_hand}"
            )
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    name = arguments[0]
    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        path = fetch(name, lambda done, all_: bar.update(task, completed=done, total=all_))
    print(f"{name} is at {path}")
    if name not in PUBLISHED:  # from a hub, whose library has verified it
        return 0
    remote = PUBLISHED[name].remote
    if remote is None or remote.sha256 is None:
        print(
            "it is undamaged and has the published architecture; no digest is known to compare its "
            f"SHA-256 with: {file_sha256(path)}"
        )
    return 0


def export_parser() -> PlainParser:
    """The options of the command."""
    parser = PlainParser("export-prior", description="Make a prior of a training checkpoint.")
    parser.add_argument("checkpoint", type=Path, help="what 'd2ir fit' wrote")
    parser.add_argument("output", type=Path, help="the .safetensors file to write")
    parser.add_argument(
        "--dtype", choices=get_args(Dtype), default="float16", help="format of the weights"
    )
    parser.add_argument("--about", default="", help="what the training data are, and their licence")
    return parser


def export(arguments: list[str]) -> int:
    """Write the averaged weights of a training checkpoint as a prior."""
    options = export_parser().parse_args(arguments)
    prior = export_prior(options.checkpoint, options.output, options.dtype, options.about)
    print(f"{options.output}: {_count(prior)} parameters, sha256 {file_sha256(options.output)}")
    return 0


def inspect_parser() -> PlainParser:
    """The options of the command."""
    parser = PlainParser("inspect-prior", description="Tell what a prior is, and its training.")
    parser.add_argument("prior", help="a name, a file, or a folder of the diffusers library")
    return parser


def inspect(arguments: list[str]) -> int:
    """Tell what a prior is and how it was made."""
    path = prior_file(inspect_parser().parse_args(arguments).prior)
    about: dict[str, Any] = {"file": path}
    if path.is_file():
        about["sha256"] = file_sha256(path)
    for line in _lines(about | _contents(path)):
        print(plain(line))
    return 0


def _contents(path: Path) -> dict[str, Any]:
    """Architecture, schedule and provenance, as far as the file tells them.

    Raises:
        PriorError: if it tells nothing.
    """
    if path.suffix == ".safetensors":
        prior, metadata = load_safetensors(path)
        return {"parameters": _count(prior)} | {k: _parsed(v) for k, v in metadata.items()}
    published = next((p for p in PUBLISHED.values() if p.file == path.name), None)
    if published is not None:
        about = {"parameters": published.parameters, "training": published.about}
        return {**about, "flags": vars(published.flags)}
    if path.is_dir():
        folder = load_folder(path)
        levels = [folder.schedule.level(t) for t in (0, folder.schedule.T - 1)]
        return {"parameters": _count(folder), "steps": folder.schedule.T, "alpha_bar": levels}
    if reason := foreign_file(path):
        raise PriorError(f"{path} {reason}")
    raise PriorError(
        f"{path} tells nothing of its architecture: safetensors files with metadata, published "
        "checkpoints under their own file names, and folders of diffusers do"
    )


def _count(prior: NetworkPrior) -> int:
    """The number of parameters."""
    return sum(p.numel() for p in prior.parameters())


def _parsed(text: str) -> Any:
    """Metadata as what its JSON holds, or as it is where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _lines(values: dict[str, Any], indent: str = "") -> Iterator[str]:
    """A line for each name and value, those of a dictionary indented below its name."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield f"{indent}{name}:"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{indent}{name}: {value}"

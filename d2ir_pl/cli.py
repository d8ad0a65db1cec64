"""The command line: `predict` through Lightning, and plain commands beside it."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from jsonargparse import Namespace
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

import d2ir_pl
from d2ir_pl.callbacks import ImageWriter, RestorationProgress, TrajectoryLogger
from d2ir_pl.data import InputError, RestorationDataModule, file_digest
from d2ir_pl.image_io import ImageError
from d2ir_pl.memory import keep_freed_memory
from d2ir_pl.options import RestorationCLI, UsageError, parse_options
from d2ir_pl.priors import PriorError
from d2ir_pl.priors.download import DownloadError
from d2ir_pl.priors.registry import PUBLISHED, fetch, prior_file
from d2ir_pl.results import OutputError, Record, ResultFolder

_EXPECTED = (UsageError, InputError, OutputError, PriorError, DownloadError, ImageError)


def predict(arguments: list[str]) -> int:
    """Restore images; the exit status is 1 if any of them failed."""
    keep_freed_memory()
    with _quiet():
        return _run(parse_options(arguments))


def _run(cli: RestorationCLI) -> int:
    config: Namespace = cli.config
    module, data, trainer = cli.model, cli.datamodule, cli.trainer
    module.degrade_noise = data.degrade_noise if data.degrade else None
    folder = ResultFolder(Path(config.output))
    folder.prepare()
    with contextlib.ExitStack() as stack:
        if trainer.is_global_zero:
            stack.enter_context(folder.lock())
        fingerprint = _fingerprint(config)
        skipped = _plan(data, folder, fingerprint, config.overwrite)
        console = Console(stderr=True)
        if trainer.is_global_zero:
            cli.parser.save(
                config, folder.root / "config.yaml", overwrite=True, skip_validation=True
            )
            if skipped:
                console.print(f"{skipped} of {len(data.items)} images are complete: skipped")
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        callbacks.append(ImageWriter(folder, fingerprint))
        if config.tensorboard:
            callbacks.append(TrajectoryLogger(folder.root / "tensorboard"))
        callbacks.append(RestorationProgress(len(data.pending), console))
        if data.pending:
            try:
                trainer.predict(module, data, return_predictions=False)
            except SystemExit:  # what Lightning makes of Ctrl-C
                raise KeyboardInterrupt from None
            trainer.strategy.barrier()
        if not trainer.is_global_zero:
            # Rank 0 reports for all: a child that exits with an error would have it killed.
            return 0
        return _report(folder, [item.name for item in data.items], console)


def _plan(
    data: RestorationDataModule, folder: ResultFolder, fingerprint: str, overwrite: bool
) -> int:
    """Leave only what has to be done in `data.pending`; how many images are complete."""
    if overwrite:
        return 0
    pending, other = [], []
    for item in data.items:
        state = folder.state(item.name, fingerprint, file_digest(item.path))
        if state == "other settings":
            other.append(item.name)
        if state != "complete":
            pending.append(item)
    if other:
        raise OutputError(
            f"{folder.root} holds {len(other)} results made with other settings ({other[0]} among "
            "them): add --overwrite true to replace them, or choose another --output"
        )
    data.pending = pending
    return len(data.items) - len(pending)


def _fingerprint(config: Namespace) -> str:
    """Digest of everything that decides what a restored image looks like."""
    settings = {
        "model": config.model.as_dict(),
        "degrade": [config.data.degrade, config.data.degrade_noise]
        if config.data.degrade
        else None,
        "precision": str(config.trainer.precision),
        "prior": file_digest(prior_file(config.model.prior)),
        "version": d2ir_pl.__version__,
    }
    # A kernel file is known by what is in it.
    text = json.dumps(settings, sort_keys=True, default=str)
    kernel = _find_key(settings["model"], "kernel")
    text += "" if kernel is None else file_digest(Path(kernel))
    return hashlib.sha256(text.encode()).hexdigest()


def _find_key(tree: Any, key: str) -> Any:
    if isinstance(tree, dict):
        if key in tree:
            return tree[key]
        found = (_find_key(value, key) for value in tree.values())
        return next((value for value in found if value is not None), None)
    return None


def _report(folder: ResultFolder, names: list[str], console: Console) -> int:
    folder.write_metrics()
    records = folder.records(names)
    failed = [r for r in records if r.status == "failed"]
    missing = len(names) - len(records)

    def line(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    restored = len(records) - len(failed)
    line(f"{restored} restored, {len(failed) + missing} failed; results in {folder.root}")
    if means := _means(records):
        line("mean " + ", ".join(f"{name} {value:.2f}" for name, value in means.items()))
    for record in failed:
        line(f"failed: {record.name}: {record.reason}")
    if missing:
        line(f"failed: {missing} images have no result: run the same command again")
    return 1 if failed or missing else 0


def _means(records: Sequence[Record]) -> dict[str, float]:
    means = {}
    for name in ("input_psnr", "psnr", "ssim"):
        values = [v for r in records if (v := getattr(r, name)) is not None]
        if values:
            means[name] = sum(values) / len(values)
    return means


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep to one's own lines: Lightning's tips and hints are for people who write modules."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        warnings.filterwarnings("ignore", message=".*lightning_utilities.*")
        yield


def download(arguments: list[str]) -> int:
    """Fetch a published prior into the cache."""
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        print("usage: d2ir download NAME\n\npriors that can be downloaded:")
        for name, published in PUBLISHED.items():
            size = published.remote.size / 1e9
            print(f"  {name:14s} {published.about}, {size:.1f} GB")
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(arguments[0], total=None)
        path = fetch(arguments[0], lambda done, all_: bar.update(task, completed=done, total=all_))
    print(f"{arguments[0]} is at {path}")
    return 0


COMMANDS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "predict": (predict, "restore degraded photos"),
    "download": (download, "fetch a published prior"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. Errors of use are one sentence on stderr."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: d2ir COMMAND [OPTIONS]\n\ncommands:")
        for name, (_, about) in COMMANDS.items():
            print(f"  {name:10s} {about}")
        print("\n'd2ir COMMAND --help' lists the options of a command.")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(d2ir_pl.__version__)
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(COMMANDS)}"
        return _fail(f"{name!r} is not a command: {hint}")
    try:
        return COMMANDS[name][0](rest)
    except _EXPECTED as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("stopped; finished images are kept, and the same command does the rest", 130)


def _fail(message: str, status: int = 2) -> int:
    print(f"d2ir: {message}", file=sys.stderr)
    return status

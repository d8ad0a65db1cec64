"""`predict`: restore degraded photos through Lightning."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from jsonargparse import Namespace, lazy_instance
from pytorch_lightning.cli import LightningArgumentParser
from pytorch_lightning.strategies import DDPStrategy
from rich.console import Console

import d2ir_pl
from d2ir_pl.callbacks import ImageWriter, Previews, RestorationProgress, TrajectoryLogger
from d2ir_pl.commands.options import (
    CommandCLI,
    UsageError,
    parse,
    resolve_precision,
    slow_precision,
)
from d2ir_pl.commands.quiet import quiet
from d2ir_pl.commands.summary import report_summary
from d2ir_pl.data import RestorationDataModule, file_digest
from d2ir_pl.degradations import GaussianBlur
from d2ir_pl.hparams import write_session
from d2ir_pl.memory import keep_freed_memory
from d2ir_pl.module import RestorationModule
from d2ir_pl.priors.registry import prior_files
from d2ir_pl.process_watch import ProcessWatch
from d2ir_pl.report import write_report
from d2ir_pl.restoration import D2IR, Observer
from d2ir_pl.results import OutputError, ResultFolder

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


def _trainer(**arguments: Any) -> pl.Trainer:
    """Lightning's trainer with what prediction needs: own sharding, no training side effects."""
    trainer = pl.Trainer(
        **resolve_precision(arguments),
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
        return restore_inputs(parse_options(arguments), [], Console(stderr=True))


def restore_inputs(cli: RestorationCLI, observers: Sequence[Observer], console: Console) -> int:
    """Restore what the options say; the exit status of `predict`.

    Args:
        cli: the parsed options.
        observers: told of every step.
        console: for progress and the summary.

    Raises:
        UsageError, OutputError: with one sentence, if that is impossible.
    """
    config: Namespace = cli.config
    module, data, trainer = cli.model, cli.datamodule, cli.trainer
    if module.chooses_degradation:
        if data.degrade or data.scenes:
            option = "data.degrade" if data.degrade else "data.scenes"
            raise UsageError(f"--{option} true needs a --model.degradation other than auto")
        data.batch_size = 1
    module.observers.extend(observers)
    module.degrade_noise = data.degrade_noise if data.degrade else None
    folder = ResultFolder(Path(config.output))
    folder.prepare()
    with contextlib.ExitStack() as stack:
        if trainer.is_global_zero:
            stack.enter_context(folder.lock())
            folder.sweep()
        fingerprint = _fingerprint(config)
        skipped = _plan(data, folder, fingerprint, config.overwrite)
        if trainer.is_global_zero:
            cli.parser.save(
                config, folder.root / "config.yaml", overwrite=True, skip_validation=True
            )
            if skipped and config.progress == "auto":
                console.print(f"{skipped} of {len(data.items)} images are complete: skipped")
            warning = slow_precision(config.trainer.precision, trainer)
            if warning is not None and data.pending:
                console.print(warning, markup=False, highlight=False, soft_wrap=True)
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if config.report:
            callbacks.append(Previews(folder))
        callbacks.append(ImageWriter(folder, fingerprint))
        if config.tensorboard:
            callbacks.append(TrajectoryLogger(folder))
        if config.progress == "auto":
            callbacks.append(RestorationProgress(len(data.pending), console))
        watch = ProcessWatch()
        callbacks.append(watch)
        if data.pending:
            # In processes started from here, PyTorch's own account of a lost one is a C++ trace.
            os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
            try:
                trainer.predict(module, data, return_predictions=False)
            except SystemExit:  # what Lightning makes of Ctrl-C
                raise KeyboardInterrupt from None
            trainer.strategy.barrier()
            watch.stop()
        if not trainer.is_global_zero:
            # Rank 0 reports for all: a child that exits with an error would have it killed.
            return 0
        folder.write_metrics()
        if config.report:
            write_report(folder)
        names = [item.name for item in data.items]
        if config.tensorboard:
            write_session(folder, folder.records(names))
        return report_summary(folder, names, skipped, console)


def _plan(
    data: RestorationDataModule, folder: ResultFolder, fingerprint: str, overwrite: bool
) -> int:
    """Leave only what has to be done in `data.pending`; how many images are complete."""
    if overwrite:
        return 0
    pending, other = [], []
    for item in data.items:
        state = folder.state(item.name, fingerprint, item.digest())
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
        "prior": [file_digest(path) for path in prior_files(config.model.prior)],
        "version": d2ir_pl.__version__,
    }
    text = json.dumps(settings, sort_keys=True, default=str)
    text += "".join(file_digest(path) for path in _files(settings["model"]))
    return hashlib.sha256(text.encode()).hexdigest()


def _files(tree: Any) -> list[Path]:
    """Files, and those in folders, that settings name: a kernel or masks are what is in them."""
    if isinstance(tree, dict):
        return [path for key, value in tree.items() if key != "prior" for path in _files(value)]
    if isinstance(tree, list):
        return [path for value in tree for path in _files(value)]
    if not isinstance(tree, str) or not Path(tree).exists():
        return []
    named = Path(tree)
    return [named] if named.is_file() else sorted(p for p in named.rglob("*") if p.is_file())

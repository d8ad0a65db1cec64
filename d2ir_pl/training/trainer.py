"""The trainer that trains priors."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint, ProgressBar

from d2ir_pl import compat
from d2ir_pl.errors import require
from d2ir_pl.training.epochs import ResumedEpoch

_LEAST = {
    "val_check_interval": 1,
    "log_every_n_steps": 1,
    "accumulate_grad_batches": 1,
    "gradient_clip_val": 0,
}
"""The least values of options that Lightning does not check, or checks in other words."""


def training_trainer(**arguments: Any) -> pl.Trainer:
    """Make Lightning's trainer for patches of photographs; `run` adds checkpoints.

    Args:
        arguments: the options of `pytorch_lightning.Trainer` that a user may set; `max_steps` is
            one of them, -1 where `max_epochs` alone ends the training, and `precision` is one that
            Lightning knows. Without a `logger` it has
            none, and `run` adds that of TensorBoard. Lightning's own checkpoints are enabled where
            one of the `callbacks` writes them.

    Raises:
        ValueError: if `max_epochs` or another number is too small, or if `max_steps` is and nothing
            else ends the training.
    """
    epochs = arguments.get("max_epochs")
    if epochs is not None:
        require("max_epochs", epochs, 1)
    if epochs is None or arguments["max_steps"] != -1:
        require("max_steps", arguments["max_steps"], 1)
    for name, least in _LEAST.items():
        value = arguments.get(name)
        if isinstance(value, int | float):
            require(name, value, least)
    callbacks = arguments.get("callbacks") or []
    several = callbacks if isinstance(callbacks, list) else [callbacks]
    theirs = any(isinstance(callback, Checkpoint) for callback in several)
    asked = arguments.get("enable_checkpointing")
    added: list[pl.Callback] = [ResumedEpoch()]
    if arguments.get("enable_progress_bar") is not False and not any(
        isinstance(callback, ProgressBar) for callback in several
    ):
        added.append(compat.training_bar())
    return pl.Trainer(
        **{
            "logger": False,
            "use_distributed_sampler": False,
            **arguments,
            "callbacks": [*several, *added],
            "max_epochs": -1 if epochs is None else epochs,
            "enable_checkpointing": theirs if asked is None or asked else False,
        },
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
        enable_model_summary=False,
    )

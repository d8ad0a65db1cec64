"""The trainer that trains priors."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from d2ir_pl.errors import require


def training_trainer(**arguments: Any) -> pl.Trainer:
    """Make Lightning's trainer for an endless stream of patches; `run` adds checkpoints.

    Args:
        arguments: the options of `pytorch_lightning.Trainer` that a user may set; `max_steps` is
            one of them, and `precision` is one that Lightning knows. Without a `logger` it has
            none, and `run` adds that of TensorBoard. Lightning's own checkpoints are enabled where
            one of the `callbacks` writes them.

    Raises:
        ValueError: if `max_steps` is below 1.
    """
    require("max_steps", arguments["max_steps"], 1)
    callbacks = arguments.get("callbacks") or []
    several = callbacks if isinstance(callbacks, list) else [callbacks]
    theirs = any(isinstance(callback, Checkpoint) for callback in several)
    asked = arguments.get("enable_checkpointing")
    return pl.Trainer(
        **{
            "logger": False,
            "use_distributed_sampler": False,
            **arguments,
            "enable_checkpointing": theirs if asked is None or asked else False,
        },
        num_sanity_val_steps=0,
        max_epochs=-1,
        check_val_every_n_epoch=None,
        enable_model_summary=False,
    )

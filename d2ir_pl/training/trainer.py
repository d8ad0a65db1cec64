"""The trainer that trains priors."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from d2ir_pl.errors import require


def training_trainer(**arguments: Any) -> pl.Trainer:
    """Make Lightning's trainer for an endless stream of patches; `run` adds logger and checkpoints.

    Args:
        arguments: the options of `pytorch_lightning.Trainer` that a user may set; `max_steps` is
            one of them, and `precision` is one that Lightning knows.

    Raises:
        ValueError: if `max_steps` is below 1.
    """
    require("max_steps", arguments["max_steps"], 1)
    return pl.Trainer(
        **arguments,
        num_sanity_val_steps=0,
        max_epochs=-1,
        check_val_every_n_epoch=None,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )

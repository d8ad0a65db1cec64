"""The trainer that restores."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy

from d2ir_pl.compat import set_timeout


def restoration_trainer(**arguments: Any) -> pl.Trainer:
    """Lightning's trainer for prediction: the data are shared out here.

    Args:
        arguments: the options of `pytorch_lightning.Trainer` that a user may set, such as
            `devices`; `precision` is one that Lightning knows. Without a `logger` it has none.
    """
    trainer = pl.Trainer(
        **{"logger": False, "use_distributed_sampler": False, **arguments},
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    if isinstance(trainer.strategy, DDPStrategy):
        # Shares are uneven, and the first process to finish waits for the last one.
        set_timeout(trainer.strategy, timedelta(days=7))
    return trainer

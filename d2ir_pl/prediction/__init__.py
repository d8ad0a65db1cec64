"""Restoration of photos through Lightning."""

from d2ir_pl.prediction.callbacks import RestorationCallback
from d2ir_pl.prediction.conversion import as_batch
from d2ir_pl.prediction.data import Batch, RestorationDataModule
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.prediction.outcome import BatchResult, ImageResult

__all__ = [
    "Batch",
    "BatchResult",
    "ImageResult",
    "RestorationCallback",
    "RestorationDataModule",
    "RestorationModule",
    "as_batch",
]

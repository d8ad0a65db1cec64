"""Training of a prior on photographs, through Lightning."""

from d2ir_pl.training.callbacks import Checkpoints, TrainingProgress
from d2ir_pl.training.data import PriorDataModule
from d2ir_pl.training.module import PriorTrainingModule
from d2ir_pl.training.start import NATURAL_SMALL

__all__ = [
    "NATURAL_SMALL",
    "Checkpoints",
    "PriorDataModule",
    "PriorTrainingModule",
    "TrainingProgress",
]

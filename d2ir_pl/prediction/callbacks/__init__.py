"""What happens around the restoration: writing results, curves and pictures, progress."""

from d2ir_pl.prediction.callbacks.base import Observers, RestorationCallback
from d2ir_pl.prediction.callbacks.behind import Behind
from d2ir_pl.prediction.callbacks.previews import Previews
from d2ir_pl.prediction.callbacks.process_watch import ProcessWatch
from d2ir_pl.prediction.callbacks.progress import RestorationProgress
from d2ir_pl.prediction.callbacks.stop_signals import StopSignals
from d2ir_pl.prediction.callbacks.trajectories import TrajectoryLogger
from d2ir_pl.prediction.callbacks.writing import ImageWriter

__all__ = [
    "Behind",
    "ImageWriter",
    "Observers",
    "Previews",
    "ProcessWatch",
    "RestorationCallback",
    "RestorationProgress",
    "StopSignals",
    "TrajectoryLogger",
]

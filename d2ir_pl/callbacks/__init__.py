"""What happens around the restoration: writing results, curves and pictures, progress."""

from d2ir_pl.callbacks.previews import Previews
from d2ir_pl.callbacks.progress import RestorationProgress
from d2ir_pl.callbacks.trajectories import TrajectoryLogger
from d2ir_pl.callbacks.writing import ImageWriter, records

__all__ = ["ImageWriter", "Previews", "RestorationProgress", "TrajectoryLogger", "records"]

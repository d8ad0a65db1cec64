"""Restoration methods behind one call."""

from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.d2ir import D2IR
from d2ir_pl.restoration.degradation_estimation import DegradationEstimation
from d2ir_pl.restoration.latent_optimization import LatentOptimization
from d2ir_pl.restoration.posterior_mean import PosteriorMean
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.samples import restore_samples
from d2ir_pl.restoration.step import Observer, Step

__all__ = [
    "D2IR",
    "DegradationEstimation",
    "LatentOptimization",
    "Observer",
    "PosteriorMean",
    "Restoration",
    "RestorationMethod",
    "Step",
    "restore_samples",
]

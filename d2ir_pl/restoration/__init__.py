"""Restoration methods behind one call, and what a method of one's own is made of."""

from d2ir_pl.operators.linear import per_image
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.blind_denoising import BlindDenoising
from d2ir_pl.restoration.d2ir import D2IR
from d2ir_pl.restoration.data_step import data_step
from d2ir_pl.restoration.degradation_estimation import DegradationEstimation
from d2ir_pl.restoration.half_widths import Intervals
from d2ir_pl.restoration.intervals import with_intervals
from d2ir_pl.restoration.latent_optimization import LatentOptimization
from d2ir_pl.restoration.phi_trace import PhiTrace
from d2ir_pl.restoration.posterior_mean import PosteriorMean
from d2ir_pl.restoration.problem import Problem, mean_square
from d2ir_pl.restoration.provenance import provenance, with_provenance
from d2ir_pl.restoration.result import Losses, Provenance, Restoration
from d2ir_pl.restoration.samples import restore_samples
from d2ir_pl.restoration.step import Observer, Step, Steps, silent
from d2ir_pl.stages import Stage, StoppedBy

__all__ = [
    "D2IR",
    "BlindDenoising",
    "DegradationEstimation",
    "Intervals",
    "LatentOptimization",
    "Losses",
    "Observer",
    "PhiTrace",
    "PosteriorMean",
    "Problem",
    "Provenance",
    "Restoration",
    "RestorationMethod",
    "Stage",
    "Step",
    "Steps",
    "StoppedBy",
    "data_step",
    "mean_square",
    "per_image",
    "provenance",
    "restore_samples",
    "silent",
    "with_intervals",
    "with_provenance",
]

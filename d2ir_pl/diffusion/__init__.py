"""The diffusion prior, its schedule, and the steps of sampling with it."""

from d2ir_pl.diffusion.prior import Prior
from d2ir_pl.diffusion.sampling import (
    Gradient,
    ancestral_sigma,
    ddim_chain,
    ddim_inversion,
    ddim_step,
    predict_eps,
    to_sphere,
)
from d2ir_pl.diffusion.schedule import Schedule, Spacing

__all__ = [
    "Gradient",
    "Prior",
    "Schedule",
    "Spacing",
    "ancestral_sigma",
    "ddim_chain",
    "ddim_inversion",
    "ddim_step",
    "predict_eps",
    "to_sphere",
]

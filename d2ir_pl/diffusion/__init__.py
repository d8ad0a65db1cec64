"""The diffusion prior, its schedule, and the steps of sampling with it."""

from d2ir_pl.diffusion.chain import Gradient, ddim_chain, ddim_inversion
from d2ir_pl.diffusion.prior import Prior
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.diffusion.sampling import (
    ancestral_sigma,
    ddim_step,
    eps_from_x0,
    to_sphere,
    x0_from_eps,
)
from d2ir_pl.diffusion.schedule import Level, Schedule, Spacing, Timestep

__all__ = [
    "Gradient",
    "Level",
    "Prior",
    "Schedule",
    "Spacing",
    "Timestep",
    "ancestral_sigma",
    "ddim_chain",
    "ddim_inversion",
    "ddim_step",
    "eps_from_x0",
    "image_generator",
    "normal_like",
    "to_sphere",
    "x0_from_eps",
]

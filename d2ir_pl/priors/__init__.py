"""Pretrained diffusion models as noise predictors at any image size."""

from d2ir_pl.priors.denoiser import Prior
from d2ir_pl.priors.guided_diffusion import PriorError, UNetFlags, UNetPrior
from d2ir_pl.priors.registry import load_prior

__all__ = ["Prior", "PriorError", "UNetFlags", "UNetPrior", "load_prior"]

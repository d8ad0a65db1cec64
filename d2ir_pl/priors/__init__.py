"""Pretrained diffusion models as noise predictors at any image size."""

from d2ir_pl.diffusion import Prior
from d2ir_pl.errors import PriorError
from d2ir_pl.priors.guided_diffusion import UNetFlags, UNetPrior
from d2ir_pl.priors.network import NetworkPrior
from d2ir_pl.priors.registry import load_prior

__all__ = ["NetworkPrior", "Prior", "PriorError", "UNetFlags", "UNetPrior", "load_prior"]

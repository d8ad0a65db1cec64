"""Pretrained diffusion models as noise predictors at any image size.

A prior of one's own is a `Prior` with a `predict_eps`, or a `NetworkPrior` with a `unet_output` if
it is a U-Net that computes in half precision too; both need a `Schedule`.
"""

from d2ir_pl.diffusion import Prior, Schedule
from d2ir_pl.errors import PriorError
from d2ir_pl.priors.flags import UNetFlags
from d2ir_pl.priors.guided_diffusion import UNetPrior
from d2ir_pl.priors.network import NetworkPrior, Tile
from d2ir_pl.priors.registry import load_prior

__all__ = [
    "NetworkPrior",
    "Prior",
    "PriorError",
    "Schedule",
    "Tile",
    "UNetFlags",
    "UNetPrior",
    "load_prior",
]

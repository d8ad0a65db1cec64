"""The network that training starts from: random weights, or those of a prior."""

from __future__ import annotations

from pathlib import Path

import torch

from d2ir_pl.priors import UNetFlags, UNetPrior, load_prior
from d2ir_pl.priors.download import file_sha256
from d2ir_pl.priors.growth import deepen
from d2ir_pl.priors.registry import prior_file

NATURAL_SMALL = UNetFlags(
    image_size=64,
    num_channels=32,
    num_res_blocks=1,
    channel_mult="1,2,2,4",
    attention_resolutions="",
    num_head_channels=32,
    learn_sigma=False,
    resblock_updown=False,
)
"""The architecture of the embedded prior."""


def first_prior(unet: UNetFlags, init_from: str | None, blocks: int, seed: int) -> UNetPrior:
    """The prior that training starts from.

    Args:
        unet: the architecture of a network with random weights.
        init_from: name or path of the prior to start from instead; None for random weights.
        blocks: number of residual blocks that are added on each level.
        seed: seed of the random weights.

    Raises:
        ValueError: if `init_from` is no unconditional U-Net of guided-diffusion.
        PriorError: if `init_from` cannot be loaded.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if init_from is None:
            prior = UNetPrior(unet.build(), unet.config(), unet.schedule_config())
        else:
            prior = _trainable(init_from)
        for _ in range(blocks):
            prior = deepen(prior)
    return prior


def origin(init_from: str | None) -> dict[str, str] | None:
    """Which prior training started from, for the provenance; None for random weights."""
    if init_from is None:
        return None
    return {"prior": Path(init_from).name, "sha256": file_sha256(prior_file(init_from))}


def _trainable(name: str) -> UNetPrior:
    prior = load_prior(name)
    if not isinstance(prior, UNetPrior) or prior.config.get("num_classes"):
        raise ValueError(
            f"init_from {name} cannot be trained on here: start from an unconditional U-Net of "
            "guided-diffusion"
        )
    return prior

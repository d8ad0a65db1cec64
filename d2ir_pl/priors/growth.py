"""A deeper U-Net that starts where a trained one stands."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from d2ir_pl.priors.guided_diffusion import UNetPrior, build_unet


def deepen(prior: UNetPrior) -> UNetPrior:
    """The same function as `prior`, computed with one more residual block on each level.

    The new blocks add nothing at first: the last convolution of a residual block starts at zero,
    and those of the decoder pass their input through past the skip connection they receive.

    Args:
        prior: the prior; its U-Net has n residual blocks on each level of the encoder, and n + 1
            on each level of the decoder.

    Source: Chen, Goodfellow and Shlens, Net2Net, 2016, section 2.4.
    """
    config: dict[str, Any] = {
        **prior.config,
        "num_res_blocks": prior.config["num_res_blocks"] + 1,
    }
    unet = build_unet(config)
    weights = unet.state_dict()
    blocks, added = _correspondence(prior.config["num_res_blocks"], len(config["channel_mult"]))
    for name, weight in prior.unet.state_dict().items():
        part, _, rest = name.partition(".")
        if part in ("input_blocks", "output_blocks"):
            old, _, rest = rest.partition(".")
            name = f"{part}.{blocks[part, int(old)]}.{rest}"
        weights[name] = weight
    for index in added:
        weights[f"output_blocks.{index}.0.skip_connection.weight"] = _first_half(
            weights[f"output_blocks.{index}.0.skip_connection.weight"]
        )
        weights[f"output_blocks.{index}.0.skip_connection.bias"].zero_()
    unet.load_state_dict(weights)
    return UNetPrior(unet, config, prior.schedule_config)


def _correspondence(n: int, levels: int) -> tuple[dict[tuple[str, int], int], list[int]]:
    """The new place of each block, by its old one, and the new blocks of the decoder.

    The encoder is a convolution, then on each level n blocks and, on all levels but the last, one
    that halves the image; its new block comes last on each level. The decoder takes the outputs of
    the encoder in reverse order. So the first block of a level takes the output of the encoder's
    new block, which is that of the block before it; the second block, which is new, takes the
    output of that one.
    """
    blocks = {("input_blocks", 0): 0}
    added = []
    old, new = 1, 1
    for level in range(levels):
        for _ in range(n + (level < levels - 1)):
            is_last = old == (level + 1) * (n + 1)
            blocks["input_blocks", old] = new + is_last
            old, new = old + 1, new + 1 + is_last
        new += level == levels - 1
    old, new = 0, 0
    for _ in range(levels):
        for j in range(n + 1):
            blocks["output_blocks", old] = new
            old, new = old + 1, new + 1
            if j == 0:
                added.append(new)
                new += 1
    return blocks, added


def _first_half(weight: Tensor) -> Tensor:
    """The 1x1 convolution that returns the first of its input's channels."""
    identity = torch.eye(weight.shape[0], weight.shape[1])
    return identity[:, :, None, None].to(weight)

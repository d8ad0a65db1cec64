"""Priors that are U-Nets of the guided_diffusion package. No other file imports that package."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from d2ir_pl.diffusion import Schedule
from d2ir_pl.priors.architecture import check_size, check_unet
from d2ir_pl.priors.network import NetworkPrior, Tile
from d2ir_pl.priors.norm import Norm
from d2ir_pl.priors.unet import (
    Attention,
    Enlarging,
    Residual,
    silu,
    timestep_embedding,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from guided_diffusion.gaussian_diffusion import (
        GaussianDiffusion,
        LossType,
        ModelMeanType,
        ModelVarType,
    )
    from guided_diffusion.unet import (
        AttentionBlock,
        QKVAttentionLegacy,
        ResBlock,
        UNetModel,
        Upsample,
    )


class FastUNet(UNetModel):  # type: ignore[misc]  # the package has no types
    """guided-diffusion's U-Net made of the parts in `unet.py`: the same function, faster."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        for layers in (*self.input_blocks, self.middle_block, *self.output_blocks):
            for i, layer in enumerate(layers):
                layers[i] = _faster(layer)
        self.out[0] = Norm(self.out[0])

    def forward(self, x: Tensor, timesteps: Tensor, y: Tensor | None = None) -> Tensor:
        """The prediction `(B, C', H, W)`.

        Args:
            x: `(B, C, H, W)`.
            timesteps: `(B,)`, or `(1,)` where all are the same.
            y: classes of the same shape, if the network knows classes.
        """
        emb = self.time_embed(timestep_embedding(timesteps, self.model_channels))
        if self.num_classes is not None:
            emb = emb + self.label_emb(y)
        skips = []
        for layers in self.input_blocks:
            x = _through(layers, x, emb)
            skips.append(x)
        x = _through(self.middle_block, x, emb)
        for layers in self.output_blocks:
            x = _through(layers, torch.cat([x, skips.pop()], 1), emb)
        norm, _, convolution = self.out
        output: Tensor = convolution(silu(norm(x)))
        return output


def _faster(layer: nn.Module) -> nn.Module:
    """The part of `unet.py` that stands for a layer; itself where there is none."""
    if isinstance(layer, ResBlock):
        return Residual(layer, isinstance(layer.x_upd, Upsample))
    if isinstance(layer, AttentionBlock):
        return Attention(layer, isinstance(layer.attention, QKVAttentionLegacy))
    if isinstance(layer, Upsample) and layer.use_conv:
        return nn.Sequential(OrderedDict(conv=Enlarging(layer.conv)))
    return layer


def _through(layers: nn.Module, x: Tensor, emb: Tensor) -> Tensor:
    for layer in layers.children():
        x = layer(x, emb) if isinstance(layer, Residual) else layer(x)
    return x


def build_unet(config: dict[str, Any]) -> FastUNet:
    """A U-Net with random weights from the arguments of `UNetModel`, lists in place of tuples.

    Raises:
        ValueError: if the numbers of channels and heads do not go together.
    """
    check_unet(config)
    sequences = ("attention_resolutions", "channel_mult")
    try:
        return FastUNet(**{k: tuple(v) if k in sequences else v for k, v in config.items()})
    # The package asserts where an argument is wrong, or divides by it.
    except (AssertionError, ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"the flags of the U-Net do not go together: {str(error) or type(error).__name__}"
        ) from None


class VarianceBound:
    """The term of the variational bound that trains a predicted variance.

    Source: Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models, 2021, eq. 4
    to 7, 15; divided by 1000 and multiplied by T, as guided-diffusion trains its models.
    """

    def __init__(self, schedule: Schedule) -> None:
        ab = schedule.alpha_bar
        previous = torch.cat([torch.ones_like(ab[:1]), ab[:-1]])
        self._diffusion = GaussianDiffusion(
            betas=(1 - ab / previous).numpy(),
            model_mean_type=ModelMeanType.EPSILON,
            model_var_type=ModelVarType.LEARNED_RANGE,
            loss_type=LossType.RESCALED_MSE,
        )

    def __call__(
        self, eps: Tensor, variance: Tensor, x0: Tensor, noise: Tensor, t: Tensor
    ) -> Tensor:
        """The term in bits per dimension, `(B,)`.

        Args:
            eps: `(B, 3, H, W)`, the predicted noise, which is not trained by this term.
            variance: `(B, 3, H, W)`, the second half of the network's output.
            x0: `(B, 3, H, W)` in [-1, 1], the clean images.
            noise: `(B, 3, H, W)`, the noise in x_t.
            t: `(B,)` timesteps.
        """
        output = torch.cat([eps.detach(), variance], 1)
        terms = self._diffusion.training_losses(lambda *_: output, x0, t, noise=noise)
        bound: Tensor = terms["vb"]
        return bound


class UNetPrior(NetworkPrior):
    """A `guided_diffusion` U-Net that predicts eps (and, with `learn_sigma`, a variance).

    Args:
        unet: the network; its parameters are frozen.
        config: arguments of `UNetModel` that the network was built with.
        schedule: arguments of `Schedule.from_config`.
        tile: largest side in pixels that is predicted at once, or `auto`.
        label: class of every prediction, where `config` has `num_classes`.

    Raises:
        PriorError: if the label does not fit the classes.
    """

    def __init__(
        self,
        unet: UNetModel,
        config: dict[str, Any],
        schedule: dict[str, Any],
        tile: Tile = "auto",
        label: int | None = None,
    ) -> None:
        super().__init__(
            unet,
            Schedule.from_config(**schedule),
            len(unet.channel_mult),
            config["image_size"],
            tile,
            config.get("num_classes"),
            label,
        )
        self.config, self.schedule_config = config, schedule

    def unet_output(self, x_t: Tensor, steps: Tensor, labels: Tensor | None) -> Tensor:
        steps = steps[:1] if steps.stride(0) == 0 else steps
        return self.evaluate(x_t, steps, None if labels is None else labels[:1])


def empty_prior(
    config: dict[str, Any], schedule: dict[str, Any], tile: Tile = "auto", label: int | None = None
) -> UNetPrior:
    """A prior whose weights are on the meta device, where they take neither memory nor time.

    Args:
        config: arguments of `UNetModel`.
        schedule: arguments of `Schedule.from_config`.
        tile: largest side in pixels that is predicted at once, or `auto`.
        label: class of every prediction, where `config` has `num_classes`.

    Raises:
        PriorError: if the label does not fit the classes.
        ValueError: if the arguments do not go together.
    """
    return UNetPrior(meta_unet(config), config, schedule, tile, label)


def meta_unet(config: dict[str, Any]) -> UNetModel:
    """A U-Net without numbers: its weights are on the meta device.

    Raises:
        ValueError: if the arguments do not go together, or the network would be too large.
    """
    with torch.device("meta"):
        unet = build_unet(config)
    check_size(unet)
    return unet

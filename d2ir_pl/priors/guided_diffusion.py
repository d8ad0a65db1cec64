"""Priors that are U-Nets of the guided_diffusion package. No other file imports that package."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2ir_pl.diffusion import Schedule
from d2ir_pl.errors import in_words, require
from d2ir_pl.priors.architecture import check_size, check_unet
from d2ir_pl.priors.network import NetworkPrior, Tile

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from guided_diffusion.gaussian_diffusion import (
        GaussianDiffusion,
        LossType,
        ModelMeanType,
        ModelVarType,
    )
    from guided_diffusion.unet import AttentionBlock, QKVAttentionLegacy, UNetModel

# The defaults of guided-diffusion's `create_model`, by image size.
_CHANNEL_MULT = {512: "0.5,1,1,2,2,4,4", 256: "1,1,2,2,4,4", 128: "1,1,2,3,4", 64: "1,2,3,4"}

_CLASSES = 1000
"""Number of classes of ImageNet, which are those of all class-conditional models."""


@dataclass(frozen=True)
class UNetFlags:
    """The flags with which a guided-diffusion checkpoint was trained, under their own names.

    The defaults describe `256x256_diffusion_uncond.pt`. `use_fp16` is not among them: the
    trainer's precision decides that.

    Attributes:
        image_size: side in pixels of the images that the network was trained on.
        class_cond: whether the network takes one of ImageNet's classes.
        num_channels: number of channels on the finest level.
        num_res_blocks: number of residual blocks on each level.
        channel_mult: factors of `num_channels`, a level each, with commas between; empty for the
            usual ones of the image size.
        attention_resolutions: sides in pixels of the levels with attention, with commas between.
        num_heads: number of attention heads, unless `num_head_channels` is given.
        num_head_channels: number of channels of an attention head; -1 for `num_heads` heads.
        num_heads_upsample: number of attention heads in the decoder; -1 for as many as in the
            encoder.
        dropout: probability with which training drops a value.
        learn_sigma: whether the network predicts a variance as well.
        resblock_updown: whether residual blocks resample the image, instead of plain layers.
        use_scale_shift_norm: whether the timestep scales and shifts normalised features.
        use_new_attention_order: whether attention orders its channels as (3, heads, channels).
        diffusion_steps: number of timesteps of the schedule.
        noise_schedule: kind of the schedule.

    Source: Dhariwal and Nichol, Diffusion Models Beat GANs on Image Synthesis, 2021.
    """

    image_size: int = 256
    class_cond: bool = False
    num_channels: int = 256
    num_res_blocks: int = 2
    channel_mult: str = ""
    attention_resolutions: str = "32,16,8"
    num_heads: int = 4
    num_head_channels: int = 64
    num_heads_upsample: int = -1
    dropout: float = 0.0
    learn_sigma: bool = True
    resblock_updown: bool = True
    use_scale_shift_norm: bool = True
    use_new_attention_order: bool = False
    diffusion_steps: int = 1000
    noise_schedule: Literal["linear", "cosine"] = "linear"

    def schedule_config(self) -> dict[str, Any]:
        """Arguments of `Schedule.from_config`."""
        if self.noise_schedule == "cosine":
            return {"name": "cosine", "steps": self.diffusion_steps}
        # guided-diffusion scales the betas so that the end does not depend on the step count.
        scale = 1000 / self.diffusion_steps
        return {
            "name": "linear",
            "steps": self.diffusion_steps,
            "beta_start": 1e-4 * scale,
            "beta_end": 0.02 * scale,
        }

    def schedule(self) -> Schedule:
        """The schedule of the noise."""
        return Schedule.from_config(**self.schedule_config())

    def config(self) -> dict[str, Any]:
        """Arguments of `guided_diffusion.unet.UNetModel`.

        Raises:
            ValueError: if a list of numbers is not one, a number of them is out of its range, or
                `channel_mult` has to be given.
        """
        mult = self.channel_mult or _CHANNEL_MULT.get(self.image_size, "")
        if not mult:
            known = ", ".join(map(str, sorted(_CHANNEL_MULT)))
            raise ValueError(
                f"image_size {self.image_size} has no usual channel_mult ({known} have): give one, "
                "such as 1,2,2,4"
            )
        attention = _numbers("attention_resolutions", self.attention_resolutions)
        require("image_size", self.image_size, 1, 65_536)
        require("diffusion_steps", self.diffusion_steps, 1, 100_000)
        return {
            "image_size": self.image_size,
            "in_channels": 3,
            "model_channels": self.num_channels,
            "out_channels": 6 if self.learn_sigma else 3,
            "num_res_blocks": self.num_res_blocks,
            # The network counts how often the image was halved, not pixels.
            "attention_resolutions": [max(1, self.image_size // max(1, int(r))) for r in attention],
            "dropout": self.dropout,
            "channel_mult": [int(m) if m == int(m) else m for m in _numbers("channel_mult", mult)],
            "num_classes": _CLASSES if self.class_cond else None,
            "num_heads": self.num_heads,
            "num_head_channels": self.num_head_channels,
            "num_heads_upsample": self.num_heads_upsample,
            "use_scale_shift_norm": self.use_scale_shift_norm,
            "resblock_updown": self.resblock_updown,
            "use_new_attention_order": self.use_new_attention_order,
        }

    def build(self) -> UNetModel:
        """A U-Net with random weights; see `build_unet`."""
        return build_unet(self.config())


def _numbers(flag: str, text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = [0.0]
    if any(number <= 0 for number in numbers):
        raise ValueError(f"{flag} {text!r} must be positive numbers with commas, such as 32,16,8")
    return numbers


def build_unet(config: dict[str, Any]) -> UNetModel:
    """A U-Net with random weights from the arguments of `UNetModel`, lists in place of tuples.

    Its attention is PyTorch's: the same numbers without a matrix of all pairs of pixels.

    Raises:
        ValueError: if the numbers of channels and heads do not go together.
    """
    check_unet(config)
    sequences = ("attention_resolutions", "channel_mult")
    try:
        unet = UNetModel(**{k: tuple(v) if k in sequences else v for k, v in config.items()})
    # The package asserts where an argument is wrong, or divides by it.
    except (AssertionError, ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"the flags of the U-Net do not go together: {in_words(error)}") from None
    for block in unet.modules():
        if isinstance(block, AttentionBlock):
            heads_first = isinstance(block.attention, QKVAttentionLegacy)
            block.attention = FusedAttention(block.num_heads, heads_first)
    return unet


class FusedAttention(nn.Module):
    """softmax(q^T k / sqrt(C)) v for each head, by `scaled_dot_product_attention`; no parameters.

    Args:
        heads: number H of heads.
        heads_first: whether channels are ordered as (H, 3, C), the first order of
            guided-diffusion, or as (3, H, C), its new one.
    """

    def __init__(self, heads: int, heads_first: bool) -> None:
        super().__init__()
        self.heads = heads
        self.heads_first = heads_first

    def forward(self, qkv: Tensor) -> Tensor:
        """Attend over T pixels: `(B, H C, T)` from `(B, 3 H C, T)`."""
        sizes = (self.heads, 3) if self.heads_first else (3, self.heads)
        # Without contiguous rows of channels, PyTorch falls back to slow kernels and says nothing.
        batch, _, pixels = qkv.shape
        heads = qkv.reshape(batch, *sizes, -1, pixels).mT.contiguous()
        q, k, v = heads.unbind(2 if self.heads_first else 1)
        return F.scaled_dot_product_attention(q, k, v).mT.flatten(1, 2)


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
        output: Tensor = self.unet(x_t, steps, labels)
        return output


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

"""The flags of guided-diffusion's networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from d2ir_pl.diffusion import Schedule
from d2ir_pl.errors import require
from d2ir_pl.priors.guided_diffusion import FastUNet, build_unet

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

    def build(self) -> FastUNet:
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

"""What a file of weights may say of its network and its schedule: one schema, within bounds.

It is looked at before anything is built, so that a description of a network of any size costs
nothing. The bounds lie far above every network that was ever published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from torch import nn

from d2ir_pl.schema import Within, checked

Channels = Annotated[int, Within(1, 16_384)]
Blocks = Annotated[int, Within(1, 64)]
Heads = Annotated[int, Within(1, 4096)]
Side = Annotated[int, Within(1, 65_536)]
Steps = Annotated[int, Within(1, 100_000)]
Share = Annotated[float, Within(0, 1)]

MOST_LEVELS = 12
"""Resolutions of a network at most: the coarsest one has a 2048th of the image's side."""

MOST_PARAMETERS = 10**10
"""Parameters of a network at most."""


@dataclass(frozen=True)
class UNetConfig:
    """Arguments of `guided_diffusion.unet.UNetModel`, which has their meaning."""

    image_size: Side
    model_channels: Channels
    out_channels: Literal[3, 6]
    num_res_blocks: Blocks
    attention_resolutions: list[Side]
    in_channels: Literal[3] = 3
    dropout: Share = 0.0
    channel_mult: list[Annotated[float, Within(1 / 64, 64)]] | None = None
    conv_resample: bool = True
    dims: Literal[2] = 2
    num_classes: Annotated[int, Within(1, 10**6)] | None = None
    use_checkpoint: bool = False
    use_fp16: Literal[False] = False
    num_heads: Heads = 1
    num_head_channels: Literal[-1] | Channels = -1
    num_heads_upsample: Literal[-1] | Heads = -1
    use_scale_shift_norm: bool = False
    resblock_updown: bool = False
    use_new_attention_order: bool = False


@dataclass(frozen=True)
class ScheduleConfig:
    """Arguments of `Schedule.from_config`, which has their meaning."""

    name: Literal["linear", "cosine"]
    steps: Steps = 1000
    beta_start: Share = 1e-4
    beta_end: Share = 0.02


@dataclass(frozen=True)
class DiffusersConfig:
    """Arguments of diffusers' `UNet2DModel` that decide on its size."""

    sample_size: Side | tuple[Side, ...] | None = None
    block_out_channels: list[Channels] | None = None
    down_block_types: list[str] | None = None
    up_block_types: list[str] | None = None
    layers_per_block: Blocks = 2
    time_embedding_dim: Channels | None = None
    attention_head_dim: Channels | None = 8
    norm_num_groups: Channels = 32
    attn_norm_num_groups: Channels | None = None
    num_class_embeds: Annotated[int, Within(1, 10**6)] | None = None
    num_train_timesteps: Steps | None = None


@dataclass(frozen=True)
class DiffusersSchedule:
    """What diffusers' schedulers say of the noise; they have further settings."""

    beta_schedule: str | None = None
    num_train_timesteps: Steps = 1000
    beta_start: Share = 1e-4
    beta_end: Share = 0.02
    trained_betas: list[Share] | None = None
    prediction_type: str = "epsilon"
    rescale_betas_zero_snr: bool = False


def check_unet(config: object) -> None:
    """Check the arguments of a network of guided-diffusion.

    Raises:
        ValueError: if they are no such arguments; the message is a phrase that follows the name of
            the file.
    """
    levels = checked(UNetConfig, config).channel_mult
    if levels is not None and not 1 <= len(levels) <= MOST_LEVELS:
        raise ValueError(f"has {len(levels)} levels in channel_mult, not 1 to {MOST_LEVELS}")


def check_known(kind: type, config: Mapping[str, Any]) -> None:
    """Check those settings of another library that a schema knows.

    Raises:
        ValueError: if one of them is of a wrong type or out of its range, or there are too many
            levels; the message is a phrase that follows the name of the file.
    """
    fields = kind.__dataclass_fields__  # type: ignore[attr-defined]
    checked(kind, {key: value for key, value in config.items() if key in fields})
    for name in ("block_out_channels", "down_block_types", "up_block_types"):
        value = config.get(name)
        if isinstance(value, list) and not 1 <= len(value) <= MOST_LEVELS:
            raise ValueError(f"has {len(value)} levels in {name}, not 1 to {MOST_LEVELS}")


def check_size(network: nn.Module) -> None:
    """Check the number of parameters of a network, which may be on the meta device.

    Raises:
        ValueError: if there are too many; the message is a phrase that follows the file's name.
    """
    count = sum(parameter.numel() for parameter in network.parameters())
    if count > MOST_PARAMETERS:
        raise ValueError(
            f"describes a network of {count:.2g} parameters, more than {MOST_PARAMETERS:.0g}"
        )

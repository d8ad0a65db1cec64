"""U-Nets of the guided_diffusion package as priors. The only file that touches that package."""

from __future__ import annotations

import inspect
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from d2ir_pl.priors.denoiser import Prior
from d2ir_pl.schedules import Schedule

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from guided_diffusion.script_util import create_model
    from guided_diffusion.unet import UNetModel


class PriorError(ValueError):
    """A prior cannot be loaded; the message is one sentence with the remedy."""


@dataclass(frozen=True)
class UNetFlags:
    """The flags with which a guided-diffusion checkpoint was trained, under their own names.

    The defaults describe `256x256_diffusion_uncond.pt`. `use_fp16` is not among them: the
    trainer's precision decides that. `class_cond` models are not supported.

    Source: Dhariwal and Nichol, Diffusion Models Beat GANs on Image Synthesis, 2021.
    """

    image_size: int = 256
    num_channels: int = 256
    num_res_blocks: int = 2
    channel_mult: str = ""
    attention_resolutions: str = "32,16,8"
    num_heads: int = 4
    num_head_channels: int = 64
    num_heads_upsample: int = -1
    learn_sigma: bool = True
    resblock_updown: bool = True
    use_scale_shift_norm: bool = True
    use_new_attention_order: bool = False
    diffusion_steps: int = 1000
    noise_schedule: Literal["linear", "cosine"] = "linear"

    def schedule(self) -> Schedule:
        if self.noise_schedule == "cosine":
            return Schedule.cosine(self.diffusion_steps)
        # guided-diffusion scales the betas so that the end does not depend on the step count.
        scale = 1000 / self.diffusion_steps
        return Schedule.linear(self.diffusion_steps, 1e-4 * scale, 0.02 * scale)

    def build(self) -> UNetModel:
        return create_model(
            **{
                name: getattr(self, name)
                for name in inspect.signature(create_model).parameters
                if hasattr(self, name)
            }
        )


class UNetPrior(Prior):
    """A `guided_diffusion` U-Net that predicts eps (and, with `learn_sigma`, a variance).

    Args:
        unet: the network; its parameters are frozen.
        schedule: alpha_bar of each timestep.
        tile: largest side in pixels that is predicted at once.
    """

    def __init__(self, unet: UNetModel, schedule: Schedule, tile: int = 512) -> None:
        multiple = 2 ** (len(unet.channel_mult) - 1)
        super().__init__(schedule, multiple, tile, overlap=min(64, tile // 4))
        self.unet = unet.eval().requires_grad_(False)
        self.compute_dtype = torch.float32

    def cast(self, dtype: torch.dtype) -> UNetPrior:
        """Evaluate the U-Net in `dtype` from now on; inputs, outputs and the schedule stay float32.

        Convolutions and linear layers are converted once, so that autocast does not convert them
        in every call; normalisation stays float32.
        """
        if dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise ValueError(f"a prior runs in float32, bfloat16 or float16, not {dtype}")
        for module in self.unet.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
                module.to(dtype)
        self.compute_dtype = dtype
        return self

    def _network(self, x_t: Tensor, t: int) -> Tensor:
        steps = torch.full((len(x_t),), t, device=x_t.device)
        with torch.autocast(
            x_t.device.type, self.compute_dtype, enabled=self.compute_dtype != torch.float32
        ):
            prediction = self.unet(x_t.float(), steps)
        return prediction[:, : x_t.shape[1]].float()


def load_safetensors(path: Path, tile: int = 512) -> tuple[UNetPrior, dict[str, str]]:
    """A prior from one safetensors file with `config`, `schedule` and `prediction` as metadata.

    Returns:
        The prior, and the file's metadata.

    Raises:
        PriorError: if the file is not such a file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise PriorError(f"{path} is not a readable safetensors file ({error})") from None
    if "config" not in metadata:
        raise PriorError(
            f"{path} has no 'config' in its metadata: give the model's flags with "
            "--model.prior_flags, or a file that carries them"
        )
    if metadata.get("prediction", "eps") != "eps":
        raise PriorError(f"{path} predicts {metadata['prediction']!r}: only 'eps' is supported")
    try:
        config: dict[str, Any] = json.loads(metadata["config"])
        for name in ("attention_resolutions", "channel_mult"):
            config[name] = tuple(config[name])
        unet = UNetModel(**config)
        schedule = Schedule.from_config(**json.loads(metadata.get("schedule", '{"name":"linear"}')))
    except (TypeError, KeyError, ValueError) as error:
        raise PriorError(f"{path} has unusable metadata: {error}") from None
    _load_state(unet, weights, path)
    return UNetPrior(unet, schedule, tile), metadata


def load_checkpoint(path: Path, flags: UNetFlags, tile: int = 512) -> UNetPrior:
    """A prior from a guided-diffusion `.pt` state dict (or safetensors without metadata).

    Only tensors are unpickled (`weights_only=True`): a file with code in it is refused.

    Raises:
        PriorError: if the file is unreadable, or its weights do not fit `flags`.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # an unpickler fails in as many ways as there are bytes
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise PriorError(f"{path} is not a state dict of plain tensors ({reason})") from None
    if not isinstance(weights, dict) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise PriorError(f"{path} does not hold a flat state dict of tensors")
    unet = flags.build()
    _load_state(unet, {k: v.float() for k, v in weights.items()}, path)
    return UNetPrior(unet, flags.schedule(), tile)


def _load_state(unet: UNetModel, weights: dict[str, Tensor], path: Path) -> None:
    expected = unet.state_dict()
    for problem, names in (
        ("lacks", [n for n in expected if n not in weights]),
        ("has an unexpected", [n for n in weights if n not in expected]),
        (
            "has another shape for",
            [n for n in expected if n in weights and expected[n].shape != weights[n].shape],
        ),
    ):
        if names:
            raise PriorError(
                f"{path} {problem} {names[0]} ({len(names)} such): its architecture is not the one "
                "given; check --model.prior_flags"
            )
    broken = next((n for n, w in weights.items() if not bool(w.isfinite().all())), None)
    if broken is not None:
        raise PriorError(f"{path} has NaN or infinite weights in {broken}: get an intact file")
    unet.load_state_dict(weights)

"""Priors from folders of the diffusers library. No other file imports that library."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from d2ir_pl.diffusion import Schedule, Timestep, ddim_step, eps_from_x0
from d2ir_pl.errors import PriorError
from d2ir_pl.priors.architecture import (
    DiffusersConfig,
    DiffusersSchedule,
    check_known,
    check_size,
)
from d2ir_pl.priors.network import NetworkPrior, Tile
from d2ir_pl.priors.state_dict import UnusableWeightsError, fill, first_line, read_state_dict
from d2ir_pl.schema import read_json

if TYPE_CHECKING:
    from diffusers import UNet2DModel

Prediction = Literal["epsilon", "sample", "v_prediction"]

# The safetensors file goes first where a folder has both.
_WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
_AUTOENCODERS = ("vae", "vqvae", "movq")
# Names of the layers in attention blocks before 2023, and those that the library gives them now.
_RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class DiffusersPrior(NetworkPrior):
    """A `UNet2DModel` that predicts the noise, the clean image or the velocity.

    eps = (x_t - sqrt(ab_t) x_0) / sqrt(1 - ab_t) from the clean image, and
    eps = sqrt(ab_t) v + sqrt(1 - ab_t) x_t from the velocity v = sqrt(ab_t) n - sqrt(1 - ab_t) x_0.

    Args:
        unet: the network; its parameters are frozen.
        schedule: alpha_bar of each timestep.
        prediction: quantity that the network predicts, as the library's schedulers call it.
        tile: largest side in pixels that is predicted at once, or `auto`.
        label: class of every prediction, for networks with `num_class_embeds`.

    Raises:
        PriorError: if the label does not fit the classes.

    Source: Salimans and Ho, Progressive Distillation, 2022, appendix D.
    """

    def __init__(
        self,
        unet: UNet2DModel,
        schedule: Schedule,
        prediction: Prediction = "epsilon",
        tile: Tile = "auto",
        label: int | None = None,
    ) -> None:
        levels, classes = len(unet.config.down_block_types), unet.config.num_class_embeds
        super().__init__(unet, schedule, levels, _trained_size(unet), tile, classes, label)
        self.prediction = prediction

    def unet_output(self, x_t: Tensor, steps: Tensor, labels: Tensor | None) -> Tensor:
        return self.evaluate(x_t, steps, labels, return_dict=False)

    def predict_eps(self, x_t: Tensor, t: Timestep) -> Tensor:
        output = super().predict_eps(x_t, t)
        if self.prediction == "epsilon":
            return output
        ab = self.schedule.level(t)
        if self.prediction == "sample":
            return eps_from_x0(x_t, output, ab)
        return ddim_step(output, x_t, ab)  # which adds two images by the same factors


def _trained_size(unet: UNet2DModel) -> int:
    """Side of the images that a network was trained on; 256 where its folder does not say."""
    size = unet.config.sample_size or 256
    return size if isinstance(size, int) else max(size)


def load_folder(folder: Path, tile: Tile = "auto", label: int | None = None) -> DiffusersPrior:
    """Load a prior from a model's folder, or from a pipeline's with `unet/` and `scheduler/`.

    Where there is no scheduler, the schedule of Ho et al. (2020) is assumed, and that the network
    predicts the noise.

    Args:
        folder: folder that `save_pretrained` wrote.
        tile: largest side in pixels that is predicted at once, or `auto`.
        label: class of every prediction, for networks with `num_class_embeds`.

    Raises:
        PriorError: if the folder holds no such model, or the library is not installed.
    """
    try:
        from diffusers import UNet2DModel
    except ImportError as error:
        raise PriorError(
            f"{folder} is a folder, for which the diffusers library is needed ({error}): get it "
            "with 'pip install diffusers'"
        ) from None
    config_file, weights_file, scheduler_file = _find(folder)
    config = _read_json(config_file)
    _check_model(config, config_file)
    scheduler = {} if scheduler_file is None else _read_json(scheduler_file)
    try:
        check_known(DiffusersConfig, config)
    except ValueError as error:
        raise PriorError(f"{config_file} {error}: get an intact copy") from None
    try:
        with torch.device("meta"):
            unet = UNet2DModel.from_config(config)
    except Exception as error:  # its blocks fail in many ways on wrong arguments
        raise PriorError(
            f"{config_file} describes no network ({first_line(error)}): get an intact copy"
        ) from None
    try:
        check_known(DiffusersSchedule, scheduler)
        schedule, prediction = _schedule(scheduler), _prediction(scheduler)
    except (LookupError, RuntimeError, TypeError, ValueError) as error:
        raise PriorError(
            f"{scheduler_file} is no schedule for a prior: {first_line(error)}"
        ) from None
    try:
        check_size(unet)
    except ValueError as error:
        raise PriorError(f"{config_file} {error}: get an intact copy") from None
    prior = DiffusersPrior(unet, schedule, prediction, tile, label)
    try:
        fill(unet, _renamed(read_state_dict(weights_file)))
    except UnusableWeightsError as reason:
        raise PriorError(f"{weights_file} {reason}: get an intact copy") from None
    return prior


def folder_files(folder: Path) -> list[Path]:
    """The files of a model's folder that decide what the model predicts.

    Raises:
        PriorError: if there is no model in the folder.
    """
    return [path for path in _find(folder) if path is not None]


def _find(folder: Path) -> tuple[Path, Path, Path | None]:
    """The model's configuration, its weights, and the scheduler's configuration if there is one."""
    model = folder if (folder / "config.json").is_file() else folder / "unet"
    pipeline = folder.parent if folder.name == "unet" else folder
    if not (model / "config.json").is_file():
        raise PriorError(
            f"{folder} has neither config.json nor unet/config.json: give the folder of a model "
            "that the diffusers library has saved"
        )
    if any((pipeline / name).is_dir() for name in _AUTOENCODERS):
        raise PriorError(
            f"{pipeline} holds a latent diffusion model: a prior has to predict pixels"
        )
    weights = next((model / name for name in _WEIGHTS if (model / name).is_file()), None)
    if weights is None:
        others = sorted(path.name for path in model.glob("diffusion_pytorch_model*"))
        if others:
            raise PriorError(
                f"{model} has {others[0]} and no {' or '.join(_WEIGHTS)}: load the model with "
                "diffusers and save it with save_pretrained, without a variant and in one file"
            )
        raise PriorError(f"{model} has no {' or '.join(_WEIGHTS)}: get an intact copy")
    schedulers = (model, pipeline / "scheduler", pipeline)
    found = (path / "scheduler_config.json" for path in schedulers)
    return model / "config.json", weights, next((path for path in found if path.is_file()), None)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except ValueError as error:
        raise PriorError(f"{path} cannot be read, as it {error}: get an intact copy") from None
    if not isinstance(content, dict):
        raise PriorError(f"{path} is not a configuration: get an intact copy")
    return content


def _check_model(config: dict[str, Any], path: Path) -> None:
    """Check that a network takes pixels, discrete timesteps and, at most, labels.

    Raises:
        PriorError: if it does not.
    """
    name = config.get("_class_name", "nothing named")
    if name != "UNet2DModel":
        raise PriorError(f"{path} describes {name!s:.60}: only a UNet2DModel can be a prior")
    for key, default, allowed in (
        ("in_channels", 3, (3,)),
        ("out_channels", 3, (3, 6)),  # 6: with a variance, which priors leave out
        ("time_embedding_type", "positional", ("positional", "learned")),
        ("center_input_sample", False, (False,)),
        ("class_embed_type", None, (None,)),
    ):
        if (value := config.get(key, default)) not in allowed:
            expected = " or ".join(map(str, allowed))
            raise PriorError(f"{path} has {key} {value!s:.60}: a prior needs {expected}")


def _schedule(scheduler: dict[str, Any]) -> Schedule:
    """The schedule that a scheduler of the library describes.

    Raises:
        ValueError: if a prior cannot have that schedule, with the reason.
    """
    if scheduler.get("rescale_betas_zero_snr"):
        raise ValueError("with rescale_betas_zero_snr nothing of the image is left at the end")
    if scheduler.get("trained_betas") is not None:
        return Schedule.from_betas(torch.tensor(scheduler["trained_betas"], dtype=torch.float64))
    if scheduler and "beta_schedule" not in scheduler:
        raise ValueError(f"{scheduler.get('_class_name')} has no beta_schedule")
    name = scheduler.get("beta_schedule", "linear")
    steps = int(scheduler.get("num_train_timesteps", 1000))
    start, end = float(scheduler.get("beta_start", 1e-4)), float(scheduler.get("beta_end", 0.02))
    if name == "linear":
        return Schedule.linear(steps, start, end)
    if name == "scaled_linear":
        root = torch.linspace(math.sqrt(start), math.sqrt(end), steps, dtype=torch.float64)
        return Schedule.from_betas(root.square())
    if name == "squaredcos_cap_v2":
        return Schedule.cosine(steps)
    raise ValueError(
        f"beta_schedule {name!r:.60} is unknown: linear, scaled_linear, squaredcos_cap_v2 are known"
    )


def _prediction(scheduler: dict[str, Any]) -> Prediction:
    asked = scheduler.get("prediction_type", "epsilon")
    known: tuple[Prediction, ...] = get_args(Prediction)
    for prediction in known:
        if prediction == asked:
            return prediction
    raise ValueError(f"prediction_type {asked!r:.60} is unknown: {', '.join(known)} are known")


def _renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names that the library gives them today."""
    renamed = {}
    for name, tensor in weights.items():
        layer, _, kind = name.rpartition(".")
        block, _, part = layer.rpartition(".")
        if ".attentions." in f".{block}" and part in _RENAMED:
            name = f"{block}.{_RENAMED[part]}.{kind}"
        renamed[name] = tensor
    return renamed

"""Files of guided-diffusion weights as priors."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from d2ir_pl.errors import PriorError
from d2ir_pl.priors.guided_diffusion import UNetFlags, UNetPrior, empty_prior
from d2ir_pl.priors.network import Tile
from d2ir_pl.priors.state_dict import UnusableWeights, check_archive, fill, read_state_dict


def load_safetensors(
    path: Path, tile: Tile = "auto", label: int | None = None
) -> tuple[UNetPrior, dict[str, str]]:
    """A prior from one safetensors file with `config`, `schedule` and `prediction` as metadata.

    Args:
        path: the file.
        tile: largest side in pixels that is predicted at once, or `auto`.
        label: the class of every prediction, where `config` has `num_classes`.

    Returns:
        The prior, and the file's metadata.

    Raises:
        PriorError: if the file is not such a file, or the label does not fit it.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
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
        prior = empty_prior(
            json.loads(metadata["config"]), json.loads(metadata["schedule"]), tile, label
        )
    except PriorError:
        raise
    except (TypeError, KeyError, ValueError) as error:
        raise PriorError(f"{path} has unusable metadata: {error}") from None
    _fill(prior, path)
    return prior, metadata


def load_checkpoint(
    path: Path, flags: UNetFlags, tile: Tile = "auto", label: int | None = None
) -> UNetPrior:
    """A prior from a guided-diffusion `.pt` state dict (or safetensors without metadata).

    Only tensors are unpickled (`weights_only=True`): a file with code in it is refused.

    Args:
        path: the file.
        flags: what it was trained with.
        tile: largest side in pixels that is predicted at once, or `auto`.
        label: the class of every prediction, where `flags.class_cond` is set.

    Raises:
        PriorError: if the file is unreadable, its weights do not fit `flags`, or the label does
            not.
    """
    prior = empty_prior(flags.config(), flags.schedule_config(), tile, label)
    _fill(prior, path)
    return prior


def checkpoint_problem(path: Path, flags: UNetFlags) -> str | None:
    """What is wrong with a file that should be a checkpoint with these flags; None if nothing is.

    The checksums inside the file are compared, then every name and shape with the architecture.

    Returns:
        A phrase that follows the file's name.
    """
    with torch.device("meta"):
        unet = flags.build()
    try:
        check_archive(path)
        fill(unet, read_state_dict(path))
    except UnusableWeights as reason:
        return str(reason)
    return None


def _fill(prior: UNetPrior, path: Path) -> None:
    try:
        fill(prior.unet, read_state_dict(path))
    except UnusableWeights as reason:
        raise PriorError(
            f"{path} {reason}: check --model.prior_flags, or get an intact file"
        ) from None

"""Priors from files of guided-diffusion weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from d2ir_pl.errors import PriorError
from d2ir_pl.priors.guided_diffusion import UNetFlags, UNetPrior, empty_prior
from d2ir_pl.priors.network import Tile
from d2ir_pl.priors.state_dict import UnusableWeightsError, check_archive, fill, read_state_dict


def load_safetensors(
    path: Path, tile: Tile = "auto", label: int | None = None
) -> tuple[UNetPrior, dict[str, str]]:
    """Load a prior from a safetensors file with `config`, `schedule` and `prediction` as metadata.

    Args:
        path: the file to read.
        tile: largest side in pixels that is predicted at once, or `auto`.
        label: class of every prediction, where `config` has `num_classes`.

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
            f"{path} has no 'config' in its metadata: give the model's flags as prior_flags, or a "
            "file that carries them"
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
    """Load a prior from a `.pt` state dict of guided-diffusion, or safetensors without metadata.

    Only tensors are unpickled (`weights_only=True`): a file with code in it is refused.

    Args:
        path: the file to read.
        flags: flags that the model was trained with.
        tile: largest side in pixels that is predicted at once, or `auto`.
        label: class of every prediction, where `flags.class_cond` is set.

    Raises:
        PriorError: if the file is unreadable, its weights do not fit `flags`, or the label does
            not.
    """
    prior = empty_prior(flags.config(), flags.schedule_config(), tile, label)
    _fill(prior, path)
    return prior


def checkpoint_problem(path: Path, flags: UNetFlags) -> str | None:
    """Look for what is wrong with a file that should be a checkpoint with these flags.

    The checksums inside the file are compared, then every name and shape with the architecture.

    Args:
        path: the file to look at.
        flags: flags that the model was trained with.

    Returns:
        A phrase that follows the file's name; None if nothing is wrong.
    """
    with torch.device("meta"):
        unet = flags.build()
    try:
        check_archive(path)
        fill(unet, read_state_dict(path))
    except UnusableWeightsError as reason:
        return str(reason)
    return None


def _fill(prior: UNetPrior, path: Path) -> None:
    try:
        fill(prior.unet, read_state_dict(path))
    except UnusableWeightsError as reason:
        raise PriorError(f"{path} {reason}: check prior_flags, or get an intact file") from None

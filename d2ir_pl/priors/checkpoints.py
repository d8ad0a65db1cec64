"""Priors from files of guided-diffusion weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from d2ir_pl.errors import PriorError
from d2ir_pl.priors.architecture import ScheduleConfig, check_unet
from d2ir_pl.priors.flags import UNetFlags
from d2ir_pl.priors.guided_diffusion import UNetPrior, empty_prior, meta_unet
from d2ir_pl.priors.network import Tile
from d2ir_pl.priors.state_dict import (
    UnusableWeightsError,
    check_archive,
    fill,
    first_line,
    foreign_file,
    read_state_dict,
)
from d2ir_pl.schema import checked


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
        what = foreign_file(path) or f"is not a readable safetensors file ({first_line(error)})"
        raise PriorError(f"{path} {what}") from None
    if "config" not in metadata:
        raise PriorError(
            f"{path} has no 'config' in its metadata: give the model's flags as prior_flags, or a "
            "file that carries them"
        )
    if metadata.get("prediction", "eps") != "eps":
        raise PriorError(f"{path} predicts {metadata['prediction']!r:.60}: only 'eps' is supported")
    prior = described_prior(
        path, _json(path, metadata, "config"), _json(path, metadata, "schedule"), tile, label
    )
    _fill(prior, path)
    return prior, metadata


def described_prior(
    path: Path, config: Any, schedule: Any, tile: Tile = "auto", label: int | None = None
) -> UNetPrior:
    """The prior that a file describes, without weights.

    Args:
        path: the file, for messages.
        config: what it says of the network.
        schedule: what it says of the schedule.
        tile: largest side in pixels that is predicted at once, or `auto`.
        label: class of every prediction, where `config` has `num_classes`.

    Raises:
        PriorError: if there is no such network or schedule, or the label does not fit it.
    """
    try:
        check_unet(config)
        checked(ScheduleConfig, schedule)
        empty_prior(config, schedule, "auto", 0 if config.get("num_classes") else None)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise PriorError(
            f"{path} describes no prior, as it {first_line(error)}: get an intact file"
        ) from None
    return empty_prior(config, schedule, tile, label)


def _json(path: Path, metadata: dict[str, str], key: str) -> Any:
    """What a value of a file's metadata says.

    Raises:
        PriorError: if it is missing, or not JSON.
    """
    try:
        return json.loads(metadata[key])
    except (KeyError, ValueError, RecursionError):
        raise PriorError(
            f"{path} has no {key!r} in its metadata that is JSON: get an intact file"
        ) from None


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
    unet = meta_unet(flags.config())
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
        raise PriorError(f"{path} {reason}: {reason.remedy}") from None

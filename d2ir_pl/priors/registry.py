"""Priors by their names or paths."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from importlib import resources
from pathlib import Path

from d2ir_pl.errors import PriorError
from d2ir_pl.priors.calibrations import calibrate
from d2ir_pl.priors.checkpoints import checkpoint_problem, load_checkpoint, load_safetensors
from d2ir_pl.priors.diffusers import folder_files, load_folder
from d2ir_pl.priors.download import cache_dir, download
from d2ir_pl.priors.flags import UNetFlags
from d2ir_pl.priors.hub import hub_folder, is_hub_id
from d2ir_pl.priors.network import NetworkPrior, Tile
from d2ir_pl.priors.published import PUBLISHED, PublishedPrior
from d2ir_pl.priors.state_dict import UnusableWeightsError, read_state_dict

EMBEDDED = {"natural-small": "natural_small.safetensors"}
"""The priors that are part of the package, and their files."""


def names() -> list[str]:
    """All names that `load_prior` knows."""
    return [*EMBEDDED, *PUBLISHED]


def published_path(name: str) -> Path:
    """The file in which `d2ir download` keeps a published prior."""
    return cache_dir() / PUBLISHED[name].file


def fetch(name: str, progress: Callable[[int, int], None] | None = None) -> Path:
    """Download a published prior into the cache and verify it, unless it is there already.

    A file whose SHA-256 is not known is verified by its contents, which have to be undamaged
    weights of the published architecture.

    Args:
        name: name of the prior, or the id of a model in the hub of the diffusers library, whose
            own cache it goes to.
        progress: function that is called with the bytes done and the bytes in all.

    Raises:
        PriorError: if the name is not that of a published prior, or only a browser can download it.
        DownloadError: if the file cannot be fetched, or is not what it should be.
    """
    if name in EMBEDDED:
        raise PriorError(f"{name} is part of the package: there is nothing to download")
    if is_hub_id(name):
        return hub_folder(name)
    if name not in PUBLISHED:
        raise PriorError(f"{name!r} is unknown: the priors to download are {', '.join(PUBLISHED)}")
    prior, path = PUBLISHED[name], published_path(name)
    problem = partial(checkpoint_problem, flags=prior.flags)
    if prior.remote is not None:
        return download(prior.remote, path, progress=progress, problem=problem)
    if not path.is_file():
        raise PriorError(f"{name} cannot be downloaded from here: {_by_hand(prior, path)}")
    if (reason := problem(path)) is not None:
        raise PriorError(f"{path} {reason}: {_by_hand(prior, path)}")
    return path


def prior_file(prior: str) -> Path:
    """The file, or the folder of the diffusers library, behind a name, a path or an id of the hub.

    Raises:
        PriorError: if there is none, with the way to get it.
    """
    if prior in EMBEDDED:
        return Path(str(resources.files("d2ir_pl") / "weights" / EMBEDDED[prior]))
    if prior in PUBLISHED:
        published, path = PUBLISHED[prior], published_path(prior)
        if not path.is_file():
            remedy = (
                _by_hand(published, path)
                if published.remote is None
                else f"get it with 'python cli.py download {prior}' ({published.gigabytes:.1f} GB)"
            )
            raise PriorError(f"the prior {prior} is not on this machine yet: {remedy}")
        return path
    path = Path(prior)
    if not os.path.exists(path):
        if is_hub_id(prior) and not path.parent.is_dir():
            return hub_folder(prior)
        raise PriorError(
            f"prior {prior!r} is neither a file nor one of the names {', '.join(EMBEDDED)} or "
            "those of 'd2ir download --help', nor the id of a model in the hub of diffusers, such "
            "as google/ddpm-celebahq-256"
        )
    if not (path.is_file() or path.is_dir()):
        raise PriorError(f"prior {prior!r} is no regular file: give a file or a folder")
    return path


def prior_files(prior: str) -> list[Path]:
    """All files that decide what a prior predicts.

    Raises:
        PriorError: if there are none, with the way to get them.
    """
    path = prior_file(prior)
    return folder_files(path) if path.is_dir() else [path]


def load_prior(
    prior: str = "natural-small",
    flags: UNetFlags | None = None,
    tile: Tile = "auto",
    label: int | None = None,
) -> NetworkPrior:
    """Load a prior by its name, from a file of guided-diffusion weights or a folder of diffusers.

    Args:
        prior: `natural-small` (embedded), the name of a published prior (after its
            download), the path of a safetensors file with metadata, a state dict or a folder, or
            the id of a model in the hub of the diffusers library, such as
            `google/ddpm-celebahq-256`, which is downloaded unless it is there.
        flags: flags of a state dict; not needed for the file of a published prior under its own
            name.
        tile: largest side in pixels that is predicted at once, or `auto`.
        label: class of every prediction, for class-conditional priors.

    Raises:
        PriorError: if the prior cannot be found, or does not fit its flags or the label.
    """
    path = prior_file(prior)
    if flags is not None and (prior in names() or path.is_dir()):
        raise PriorError(f"the prior {prior} has flags of its own: leave out prior_flags")
    if path.is_dir():
        return load_folder(path, tile, label)
    flags = flags or _flags_of(path.name)
    if flags is not None:
        return _calibrated(load_checkpoint(path, flags, tile, label), path)
    if path.suffix == ".safetensors":
        return _calibrated(load_safetensors(path, tile, label)[0], path)
    try:  # flags would not help what holds no weights
        read_state_dict(path)
    except UnusableWeightsError as reason:
        raise PriorError(f"{path} {reason}: {reason.remedy}") from None
    raise PriorError(
        f"{path} holds weights, but not the architecture that they are of: give its "
        "guided-diffusion flags as prior_flags in the YAML file, as configs/d2ir_paper.yaml shows"
    )


def _calibrated(prior: NetworkPrior, path: Path) -> NetworkPrior:
    calibrate(prior, path)
    return prior


def _flags_of(file: str) -> UNetFlags | None:
    """The flags of the published prior that has this file name."""
    return next((p.flags for p in PUBLISHED.values() if p.file == file), None)


def _by_hand(prior: PublishedPrior, path: Path) -> str:
    return f"get {prior.file} in a browser from {prior.page} and save it as {path}"

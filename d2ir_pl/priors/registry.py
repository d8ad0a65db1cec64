"""Priors by name or path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from d2ir_pl.priors.download import RemoteFile, cache_dir, download
from d2ir_pl.priors.guided_diffusion import (
    PriorError,
    UNetFlags,
    UNetPrior,
    load_checkpoint,
    load_safetensors,
)

EMBEDDED = {"natural-small": "natural_small.safetensors"}


@dataclass(frozen=True)
class PublishedPrior:
    """A checkpoint on the web: where it is, what it is, and how it was trained."""

    remote: RemoteFile
    flags: UNetFlags
    about: str


PUBLISHED = {
    "imagenet-256": PublishedPrior(
        RemoteFile(
            url="https://openaipublic.blob.core.windows.net/diffusion/jul-2021/"
            "256x256_diffusion_uncond.pt",
            size=2_211_383_297,
            sha256="a37c32fffd316cd494cf3f35b339936debdc1576dad13fe57c42399a5dbc78b1",
        ),
        UNetFlags(),
        "unconditional ImageNet 256x256, 553 M parameters (Dhariwal and Nichol 2021)",
    )
}


def names() -> list[str]:
    """All names that `load_prior` knows."""
    return [*EMBEDDED, *PUBLISHED]


def published_path(name: str) -> Path:
    """Where `d2ir download` keeps a published prior."""
    return cache_dir() / Path(PUBLISHED[name].remote.url).name


def fetch(name: str, progress: Callable[[int, int], None] | None = None) -> Path:
    """Download a published prior into the cache and verify it; at once if it is there.

    Raises:
        PriorError: if the name is not one of a published prior.
        DownloadError: if the file cannot be fetched.
    """
    if name in EMBEDDED:
        raise PriorError(f"{name} is part of the package: there is nothing to download")
    if name not in PUBLISHED:
        raise PriorError(f"{name!r} is unknown: the priors to download are {', '.join(PUBLISHED)}")
    destination = published_path(name)
    destination.parent.mkdir(parents=True, exist_ok=True)
    return download(PUBLISHED[name].remote, destination, progress=progress)


def prior_file(prior: str) -> Path:
    """The weights behind a name or path.

    Raises:
        PriorError: if there is no such file, with the way to get it.
    """
    if prior in EMBEDDED:
        return Path(str(resources.files("d2ir_pl") / "weights" / EMBEDDED[prior]))
    if prior in PUBLISHED:
        path = published_path(prior)
        if not path.is_file():
            raise PriorError(
                f"the prior {prior} is not on this machine yet: get it with "
                f"'python cli.py download {prior}' ({PUBLISHED[prior].remote.size / 1e9:.1f} GB)"
            )
        return path
    path = Path(prior)
    if not path.is_file():
        raise PriorError(
            f"prior {prior!r} is neither a file nor one of the names {', '.join(names())}"
        )
    return path


def load_prior(
    prior: str = "natural-small", flags: UNetFlags | None = None, tile: int = 512
) -> UNetPrior:
    """A prior by name, by a safetensors file with metadata, or by a state dict and its flags.

    Args:
        prior: `natural-small` (embedded), `imagenet-256` (after download) or a path.
        flags: the flags of a state dict that carries none.
        tile: largest side in pixels that is predicted at once.

    Raises:
        PriorError: if it cannot be found or does not fit its flags.
    """
    path = prior_file(prior)
    if prior in PUBLISHED:
        if flags is not None:
            raise PriorError(f"the prior {prior} has flags of its own: leave out prior_flags")
        return load_checkpoint(path, PUBLISHED[prior].flags, tile)
    if flags is not None:
        return load_checkpoint(path, flags, tile)
    if path.suffix == ".safetensors":
        return load_safetensors(path, tile)[0]
    raise PriorError(
        f"{path} carries no architecture: give its guided-diffusion flags as prior_flags in the "
        "YAML file, as configs/d2ir_paper.yaml shows"
    )

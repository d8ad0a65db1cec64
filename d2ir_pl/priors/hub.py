"""Priors from the model hub of the diffusers library, by their ids."""

from __future__ import annotations

import re
from pathlib import Path

from d2ir_pl.errors import PriorError, in_words
from d2ir_pl.priors.diffusers import folder_files

_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
# What a name with one slash ends with that was meant to be a file.
_FILES = (".pt", ".pth", ".ckpt", ".safetensors", ".bin", ".pkl", ".zip", ".yaml", ".json")
_CONFIGS = ("config.json", "unet/config.json", "scheduler_config.json", "scheduler/*.json")
_AUTOENCODERS = ("vae/config.json", "vqvae/config.json", "movq/config.json")
_WEIGHTS = "diffusion_pytorch_model"


def is_hub_id(prior: str) -> bool:
    """Whether a name that is no file may be an id such as `google/ddpm-celebahq-256`."""
    return bool(_ID.fullmatch(prior)) and not prior.lower().endswith(_FILES)


def hub_folder(prior: str) -> Path:
    """The folder of a model of the hub in the hub's own cache, downloaded if it is not there.

    Of a model, its configurations and one file of weights are fetched: safetensors where the model
    has them. A model that is there is used without the network.

    Args:
        prior: id of the model.

    Raises:
        PriorError: if the hub's library is not installed, or the model cannot be had.
    """
    try:
        import huggingface_hub
        from huggingface_hub.utils import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise PriorError(
            f"{prior!r} is neither a file nor a known name, and to get a model of that id "
            f"the diffusers library is needed ({error}): get it with 'pip install diffusers'"
        ) from None

    def fetched(*patterns: str, local: bool = False) -> Path:
        wanted = [*_CONFIGS, *_AUTOENCODERS, *patterns]
        return Path(
            huggingface_hub.snapshot_download(prior, allow_patterns=wanted, local_files_only=local)
        )

    safetensors, pickled = (
        [f"{folder}{_WEIGHTS}{ending}" for folder in ("", "unet/")]
        for ending in (".safetensors", ".bin")
    )
    try:
        try:
            folder = fetched(local=True)
            folder_files(folder)
            return folder
        except (LocalEntryNotFoundError, PriorError):
            folder = fetched(*safetensors)
        if not any((folder / name).is_file() for name in safetensors):
            folder = fetched(*pickled)
        return folder
    except LocalEntryNotFoundError:
        raise PriorError(
            f"the model {prior} is not on this machine, and the hub cannot be reached: check the "
            "network connection and the id, or give a file, a folder or the name of a known prior"
        ) from None
    except HfHubHTTPError as error:
        raise PriorError(
            f"the model {prior} cannot be had from the hub ({in_words(error)}): check its id, and "
            "that you have access to it"
        ) from None
    except (OSError, ValueError) as error:
        raise PriorError(
            f"the model {prior} cannot be stored ({in_words(error)}): free some space in the hub's "
            "cache, or let HF_HOME name a folder that you can write to"
        ) from None

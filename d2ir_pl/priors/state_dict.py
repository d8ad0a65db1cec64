"""Files of weights: only tensors are read, and every name has to fit the network."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn


class UnusableWeightsError(Exception):
    """A file of weights cannot be used; the message is a phrase that follows the file's name."""


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or a pickled flat state dict, in float32 on the CPU.

    Only tensors are unpickled (`weights_only=True`): a file with code in it is refused.

    Raises:
        UnusableWeightsError: if the file cannot be read or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            # These tensors are the file itself, which may be written to later: they are copied.
            return {k: v.to(torch.float32, copy=True) for k, v in load_file(path).items()}
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError) as error:
        raise UnusableWeightsError(f"cannot be read ({first_line(error)})") from None
    except Exception as error:  # an unpickler fails in as many ways as there are bytes
        raise UnusableWeightsError(
            f"is not a state dict of plain tensors ({first_line(error)})"
        ) from None
    if not isinstance(weights, dict) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise UnusableWeightsError("does not hold a flat state dict of tensors")
    return {name: tensor.float() for name, tensor in weights.items()}


def fill(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give a network its weights; it may have been built on the meta device.

    Raises:
        UnusableWeightsError: if a name or shape differs from the network's, or a value is not
            finite.
    """
    expected = network.state_dict()
    differences = (
        ("lacks", [n for n in expected if n not in weights]),
        ("has an unexpected", [n for n in weights if n not in expected]),
        (
            "has another shape for",
            [n for n in expected if n in weights and expected[n].shape != weights[n].shape],
        ),
    )
    found = [f"{what} {names[0]} ({len(names)} such)" for what, names in differences if names]
    if found:
        raise UnusableWeightsError(f"{' and '.join(found)}, so it belongs to another architecture")
    broken = next((n for n, w in weights.items() if not bool(w.isfinite().all())), None)
    if broken is not None:
        raise UnusableWeightsError(f"has NaN or infinite weights in {broken}")
    network.load_state_dict(weights, assign=True)


def check_archive(path: Path) -> None:
    """Compare a file with the checksums inside it, which `torch.load` does not look at.

    Files from before PyTorch 1.6 are no archives and carry no checksums.

    Raises:
        UnusableWeightsError: if a checksum differs.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile as error:
        raise UnusableWeightsError(f"is a damaged archive ({error})") from None
    if damaged is not None:
        raise UnusableWeightsError(f"is damaged: {damaged} differs from its checksum")


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type, as part of a sentence."""
    return next(iter(str(error).splitlines()), type(error).__name__)

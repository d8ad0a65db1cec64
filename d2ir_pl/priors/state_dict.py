"""Files of weights: only tensors are read, and every name has to fit the network."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor, nn

_NESTED = ("ema", "ema_state_dict", "state_dict", "model_state_dict", "model", "module")
"""Keys under which training programs keep weights beside other things, averages first."""

_SMALL = 2**28
"""Bytes of a file that is read as a whole."""

_SHOWN = 5
"""Keys of a file that are named at most."""

_HTML = (b"<!doctype", b"<html", b"<?xml")
_POINTER = b"version https://git-lfs"


class UnusableWeightsError(Exception):
    """A file of weights cannot be used; the message is a phrase that follows the file's name.

    Attributes:
        remedy: what to do about it, as the end of the sentence.
    """

    def __init__(self, phrase: str, remedy: str = "get an intact file") -> None:
        super().__init__(phrase)
        self.remedy = remedy


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or a pickled state dict, in float32 on the CPU.

    Only tensors are unpickled (`weights_only=True`): a file with code in it is refused. Where they
    lie beside other things, as training programs write them, the average of the weights is taken if
    there is one.

    Raises:
        UnusableWeightsError: if the file cannot be read or holds something else.
    """
    if path.suffix == ".safetensors":
        try:
            # The sizes of tensors that `load_file` gives are never freed (safetensors 0.8.0), which
            # a page notices that loads the prior a thousand times; a large file is read once.
            small = path.stat().st_size < _SMALL
            found = load(path.read_bytes()) if small else load_file(path)
            # These tensors may be the file itself, which may be written to later: they are copied.
            return {name: tensor.to(torch.float32, copy=True) for name, tensor in found.items()}
        except (SafetensorError, OSError) as error:
            _require_weights(path)
            raise UnusableWeightsError(f"cannot be read ({first_line(error)})") from None
    content = read_pickle(path)
    if isinstance(content, Mapping):
        for key in _NESTED:
            inner = content.get(key)
            if isinstance(inner, Mapping) and any(isinstance(v, Tensor) for v in inner.values()):
                content = inner
                break
    return {name: tensor.float() for name, tensor in tensors_of(content).items()}


def tensors_of(content: object) -> dict[str, Tensor]:
    """A flat dictionary of tensors, of which none claims to be larger than the file made it.

    Raises:
        UnusableWeightsError: if it is something else; the message says what.
    """
    if isinstance(content, Mapping) and {"state", "param_groups"} <= content.keys():
        raise UnusableWeightsError(
            "holds the state of an optimiser, not a flat state dict of tensors",
            "give the file of the model that was saved beside it",
        )
    flat = isinstance(content, Mapping) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    )
    if not flat or not isinstance(content, Mapping):
        raise UnusableWeightsError(
            f"does not hold a flat state dict of tensors, but {_what(content)}",
            "save the state dict of the network alone",
        )
    for name, tensor in content.items():
        if tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise UnusableWeightsError(f"has no plain numbers in {name:.100}")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise UnusableWeightsError(f"has fewer numbers than it claims in {name:.100}")
    return dict(content)


def read_pickle(path: Path) -> Any:
    """What a file of `torch.save` holds, of tensors and plain values alone.

    Raises:
        UnusableWeightsError: if the file cannot be read, or holds something else.
    """
    if not path.is_file():
        raise UnusableWeightsError("is no regular file", "give a file of weights")
    _require_weights(path)
    _require_stored(path)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UnusableWeightsError(f"cannot be read ({first_line(error)})") from None
    except Exception as error:  # an unpickler fails in as many ways as there are bytes
        # PyTorch's own advice is to run what the file brings along.
        reason = first_line(error).partition(" In PyTorch 2.6")[0].partition(". Re-running")[0]
        raise UnusableWeightsError(
            f"is not a state dict of plain tensors ({reason:.200})"
        ) from None


def foreign_file(path: Path) -> str | None:
    """What a file is that is often saved in place of weights, as a phrase; None if it is not."""
    try:
        with path.open("rb") as file:
            head = file.read(256).lstrip().lower()
    except OSError:
        return None
    if head.startswith(_HTML):
        return "is a web page, such as one to log in or to confirm a download: get the file itself"
    if head.startswith(_POINTER):
        return "is a Git LFS pointer, which only names the file: get that with 'git lfs pull'"
    return None


def _require_weights(path: Path) -> None:
    """Check that a file is none of those that are often saved in place of weights.

    Raises:
        UnusableWeightsError: if it is one; with the remedy.
    """
    if (found := foreign_file(path)) is not None:
        phrase, _, remedy = found.partition(": ")
        raise UnusableWeightsError(phrase, remedy)


def _require_stored(path: Path) -> None:
    """Check that an archive is one as PyTorch writes it, which never grows when it is read.

    Raises:
        UnusableWeightsError: if it is compressed.
    """
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            compressed = any(entry.compress_type for entry in archive.infolist())
            whole = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UnusableWeightsError(f"is a damaged archive ({first_line(error)})") from None
    if compressed or whole > path.stat().st_size:
        raise UnusableWeightsError(
            f"is a compressed archive of {whole} bytes, as torch.save writes none",
            "save it with torch.save",
        )


def _what(content: object) -> str:
    """What a file holds, in a message."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    keys = [f"{key!s:.40}" for key in content][:_SHOWN]
    more = ", ..." if len(content) > _SHOWN else ""
    return f"a dictionary of {', '.join(keys)}{more}" if keys else "an empty dictionary"


def fill(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give a network its weights; it may have been built on the meta device.

    Names may have one prefix in common, such as `module.` of DataParallel, `_orig_mod.` of
    torch.compile or `model.` of a Lightning module; of several, the average of the weights is
    taken. Single numbers beside the weights, such as a count of steps, are left out.

    Raises:
        UnusableWeightsError: if a name or shape differs from the network's, or a value is not
            finite.
    """
    expected = network.state_dict()
    weights = _without_prefix(weights, expected)
    differences = (
        ("lacks", [n for n in expected if n not in weights]),
        ("has an unexpected", [n for n in weights if n not in expected]),
        (
            "has another shape for",
            [n for n in expected if n in weights and expected[n].shape != weights[n].shape],
        ),
    )
    found = [f"{what} {names[0]:.100} ({len(names)} such)" for what, names in differences if names]
    if found:
        raise UnusableWeightsError(
            f"{' and '.join(found)}, so it belongs to another architecture",
            "check prior_flags, or get an intact file",
        )
    broken = next((n for n, w in weights.items() if not bool(w.isfinite().all())), None)
    if broken is not None:
        raise UnusableWeightsError(f"has NaN or infinite weights in {broken}")
    network.load_state_dict(weights, assign=True)


def _without_prefix(weights: dict[str, Tensor], expected: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights under the names of a network, where they are there under one prefix."""
    if not expected or expected.keys() <= weights.keys():
        return {n: w for n, w in weights.items() if n in expected or w.ndim}
    first = next(iter(expected))
    prefixes = [n.removesuffix(first) for n in weights if n.endswith(f".{first}")]
    whole = [p for p in prefixes if all(p + n in weights for n in expected)]
    averages = [p for p in whole if "ema" in p.lower() or "average" in p.lower()]
    if not whole:
        return weights
    prefix = (averages or whole)[0]
    return {name: weights[prefix + name] for name in expected}


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

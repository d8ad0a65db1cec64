"""Networks compiled by torch.compile, where the machine has what that needs."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from d2ir_pl.priors.download import cache_dir

_CACHE = "TORCHINDUCTOR_CACHE_DIR"
_COMPILERS = ("g++", "c++", "clang++")
_logger = logging.getLogger(__name__)


def obstacle(device: str | torch.device) -> str | None:
    """Why networks cannot be compiled for a device, as a sentence; None if they can."""
    if torch.device(device).type == "cpu":
        named = os.environ.get("CXX")
        if any(map(shutil.which, [named] if named else _COMPILERS)):
            return None
        return "the network is not compiled, as no C++ compiler is installed: install g++"
    if importlib.util.find_spec("triton") is None:
        return "the network is not compiled, as Triton is not installed: install triton"
    return None


class Compiled:
    """Calls a network as torch.compile makes it, and as it is where that fails.

    A size of images is compiled when it comes first; what was compiled is kept in the cache folder
    for later runs.

    Args:
        network: the network.
        backend: what compiles it, see `torch.compile`.

    Attributes:
        failure: why the network is called as it is; empty as long as it is compiled.
    """

    def __init__(self, network: nn.Module, backend: str | Callable[..., Any] = "inductor") -> None:
        # PyTorch sets a folder for temporary files by itself when parts of it are imported.
        if Path(os.environ.get(_CACHE, "torchinductor_")).name.startswith("torchinductor_"):
            os.environ[_CACHE] = str(cache_dir() / "compiled")
        self.network = network
        self.failure = ""
        self._call = torch.compile(network.forward, dynamic=False, backend=backend)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """What the network returns."""
        if not self.failure:
            try:
                return self._call(*arguments, **options)
            except Exception as error:
                # Others, such as those about memory, are those of the network itself.
                if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                    raise
                self.failure = " ".join(str(error).partition("\n\n")[0].split())
                _logger.warning(
                    "the network is not compiled: %s (if it was before, remove %s and try again)",
                    self.failure,
                    os.environ[_CACHE],
                )
        return self.network(*arguments, **options)

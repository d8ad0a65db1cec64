"""The embedded prior, read from its file once: each test that loads it gets a copy of its own.

Reading, checking and building it takes a quarter of a second, and most runs of the program do so.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from d2ir_pl.diffusion import Prior
from d2ir_pl.diffusion.calibration import Calibration
from d2ir_pl.priors import registry
from d2ir_pl.priors.calibrations import calibrate
from d2ir_pl.priors.checkpoints import load_safetensors
from d2ir_pl.priors.guided_diffusion import UNetPrior

FILE = registry.prior_file("natural-small")


@cache
def _read(tile: Any, label: int | None) -> tuple[UNetPrior, dict[str, str]]:
    return load_safetensors(FILE, tile, label)


@cache
def _calibration() -> Calibration | None:
    prior = copy.deepcopy(_read("auto", None)[0])
    calibrate(prior, FILE)
    return prior.calibration


def _loaded(
    path: Path, tile: Any = "auto", label: int | None = None
) -> tuple[UNetPrior, dict[str, str]]:
    """What `load_safetensors` returns."""
    if path != FILE:
        return load_safetensors(path, tile, label)
    return copy.deepcopy(_read(tile, label))


def _calibrated(prior: Prior, weights: Path) -> None:
    """What `calibrate` does."""
    if weights == FILE:
        prior.calibration = _calibration()  # which nobody changes
    else:
        calibrate(prior, weights)


@contextmanager
def read_once() -> Iterator[None]:
    """While this lasts, `load_prior` copies the embedded prior.

    It is read at once, so that no test that counts memory or time does so for it.
    """
    _read("auto", None)
    with (
        patch.object(registry, "load_safetensors", _loaded),
        patch.object(registry, "calibrate", _calibrated),
    ):
        yield

"""The calibration that lies beside a prior's file of weights."""

from __future__ import annotations

from pathlib import Path

from d2ir_pl.diffusion import Prior
from d2ir_pl.diffusion.calibration import Calibration
from d2ir_pl.errors import PriorError
from d2ir_pl.priors.download import file_sha256
from d2ir_pl.schema import checked, read_json

SUFFIX = ".intervals.json"


def calibration_file(weights: Path) -> Path:
    """Where the calibration of a file of weights lies: `prior.safetensors` has one beside it."""
    return weights.with_suffix(SUFFIX)


def calibrate(prior: Prior, weights: Path) -> None:
    """Give a prior the calibration that lies beside its weights, or the reason why it has none.

    Raises:
        PriorError: if the file is no calibration.
    """
    path = calibration_file(weights)
    if not path.is_file():
        return
    try:
        found = checked(Calibration, read_json(path))
    except ValueError as error:
        raise PriorError(
            f"{path} {error}: make it again with 'python -m benchmarks.coverage --calibrate', or "
            "remove it"
        ) from None
    if found.sha256 == file_sha256(weights):
        prior.calibration = found
    else:
        prior.uncalibrated = f"{path.name} is of other weights than {weights.name}"

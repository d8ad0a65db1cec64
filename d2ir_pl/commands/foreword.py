"""The first line of `predict`, before PyTorch is loaded: how much there is to do."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from d2ir_pl.commands.arguments import INPUTS, arranged
from d2ir_pl.commands.loading import loading
from d2ir_pl.errors import UserError
from d2ir_pl.inputs.headers import SUFFIXES, pixels_at_most, pixels_within
from d2ir_pl.inputs.walking import Walk
from d2ir_pl.shipped.durations import COSTS, LARGE, cores, in_time, usual_seconds
from d2ir_pl.stopping import KEPT

PATIENCE = 0.5
"""Seconds in which headers are read."""

_LATER = (
    "--print_config",
    "--sweep",
    "--data=",
    "--data.limit=",
    "--data.scenes=",
    "--data.degrade=",
    "--model=",
    "--model.region=",
    "--trainer.limit_predict_batches=",
    "--trainer.fast_dev_run=",
    "--progress=none",
)
"""Options with which it takes more than headers to know what there is to do."""


def predict(arguments: list[str]) -> int:
    """Say at once what large photos will take, and restore them; returns the exit status."""
    told = foretold(arguments)
    with loading(f"stopped; {KEPT}"):
        from d2ir_pl.commands.predict import predict
    return predict(arguments, told)


def foretold(arguments: Sequence[str]) -> int:
    """Print the line; returns the number of pixels that it tells of, 0 where there is none.

    Args:
        arguments: what the user typed after the name of the command.
    """
    if any(os.environ.get(name, "0") != "0" for name in ("LOCAL_RANK", "RANK", "SLURM_PROCID")):
        return 0
    try:
        options = _joined(arranged(arguments, {"output"}))
        paths = _photos(options)
        pixels = 0 if pixels_at_most(paths) < LARGE else pixels_within(paths, PATIENCE)
    except (UserError, OSError, ValueError):  # which the command itself will say
        return 0
    if pixels < LARGE:
        return 0
    large = f"{pixels / 1e6:.0f} megapixels"
    count = f"the photos have {large}" if paths[1:] else f"the photo has {large}"
    print(f"{count}{_duration(pixels, options)}", file=sys.stderr, flush=True)
    return pixels


def _duration(pixels: int, options: Sequence[str]) -> str:
    """How long so many pixels take, where a CPU restores them."""
    accelerator = _value(options, "trainer.accelerator") or "auto"
    if accelerator != "cpu" and (accelerator != "auto" or _may_have_an_accelerator()):
        return ""
    times = 1.0
    names = [option.partition("=")[2] for option in options if option.startswith("--config=")]
    for name in names:
        times *= COSTS.get(Path(name).stem, 1.0)
    precision = _value(options, "trainer.precision") or "auto"
    about = in_time(times * usual_seconds(pixels, precision))
    less = ", less for what is only noisy" if "auto" in (Path(name).stem for name in names) else ""
    number = "1 CPU core" if cores() == 1 else f"{cores()} CPU cores"
    return f": about {about} on the {number} of this computer{less}"


def _may_have_an_accelerator() -> bool:
    """Whether there may be something faster than a CPU."""
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    return apple or any(map(os.path.exists, ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")))


def _photos(options: Sequence[str]) -> list[Path]:
    """The files that are to be restored, where that is plain; nothing otherwise."""
    given = _value(options, INPUTS)
    if given is None or any(option.startswith(_LATER) for option in options):
        return []
    # What is complete is not restored again.
    if Path(_value(options, "output") or "results", "restored").is_dir():
        return []
    tree = json.loads(given) if given.startswith("[") else given
    found: list[Path] = []
    for path in map(Path, tree if isinstance(tree, list) else [tree]):
        found += Walk(path).files if path.is_dir() else [path] if path.is_file() else []
    return [path for path in dict.fromkeys(found) if path.suffix.lower() in SUFFIXES]


def _joined(options: Sequence[str]) -> list[str]:
    """Options, each with its value behind an equals sign."""
    joined: list[str] = []
    for word in options:
        if word.startswith("--") or not joined or "=" in joined[-1]:
            joined.append(word)
        else:
            joined[-1] += f"={word}"
    return joined


def _value(options: Sequence[str], name: str) -> str | None:
    """The last value of an option."""
    values = [option.partition("=")[2] for option in options if option.startswith(f"--{name}=")]
    return values[-1] if values else None

"""The number format that a prior computes in, and which one suits a device.

Half precision is faster only where the hardware computes in it. A CPU for which oneDNN has no
bfloat16 (one without AVX-512, as most desktops are) runs PyTorch's reference implementation: one
evaluation of the embedded prior at 128x128 pixels on 2 threads takes 39 s there, in float32 0.17 s.
So `auto`, the default everywhere, asks the hardware first.
"""

from __future__ import annotations

from typing import Literal

import torch

from d2ir_pl.compat import cpu_computes_in_bfloat16

Precision = Literal["auto", "fp32", "bf16", "fp16"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Lightning knows more precisions: they would also convert the schedule and the linear algebra.
_TRAINER_NAMES = {"32-true": "fp32", "bf16-mixed": "bf16", "16-mixed": "fp16"}
_OTHER_NAMES = {
    **{short: name for name, short in _TRAINER_NAMES.items()},
    **{name.partition("-")[0]: name for name in _TRAINER_NAMES},  # as Lightning has them as well
}


def resolve(precision: str, device: str | torch.device) -> str:
    """The name in `DTYPES` of the number format that a prior on `device` computes in.

    `auto` is bf16 where the device computes in it, else fp16 on CUDA and fp32 elsewhere. The names
    that Lightning has for them are understood as well.

    Raises:
        ValueError: for unknown precisions.
    """
    if precision == "auto":
        if computes_in_bfloat16(device):
            return "bf16"
        return "fp16" if _type(device) == "cuda" else "fp32"
    precision = _TRAINER_NAMES.get(precision, precision)
    if precision not in DTYPES:
        raise ValueError(f"precision {precision!r} is unknown: use auto, {', '.join(DTYPES)}")
    return precision


def trainer_precision(name: str, device: str | torch.device) -> str:
    """Like `resolve`, under Lightning's names; the short ones are understood as well.

    Raises:
        ValueError: for precisions that `compute_dtype` does not know.
    """
    if name == "auto":
        short = resolve("auto", device)
        return next(n for n, s in _TRAINER_NAMES.items() if s == short)
    name = _OTHER_NAMES.get(name, name)
    compute_dtype(name)
    return name


def compute_dtype(name: str) -> torch.dtype:
    """The number format of the network under one of Lightning's precisions.

    Raises:
        ValueError: for unknown precisions, and those that would also convert the schedule and the
            linear algebra.
    """
    if name not in _TRAINER_NAMES:
        raise ValueError(
            f"precision {name} is not supported, as only the prior may compute in "
            f"half precision: use one of auto, {', '.join(_TRAINER_NAMES)}"
        )
    return DTYPES[_TRAINER_NAMES[name]]


def computes_in_bfloat16(device: str | torch.device) -> bool:
    """Whether a device has arithmetic for bfloat16, instead of a slow substitute."""
    if _type(device) == "cuda":
        # PyTorch's own query counts emulation too; its argument against that is newer than 2.4.
        return torch.cuda.is_available() and torch.cuda.get_device_capability(device)[0] >= 8
    if _type(device) == "cpu":
        return cpu_computes_in_bfloat16()
    return False


def device_type(accelerator: object) -> str:
    """The type of device that Lightning computes on under an accelerator.

    Args:
        accelerator: name of the accelerator, such as `auto` or `gpu`.
    """
    if accelerator not in ("auto", "gpu"):
        return str(accelerator)
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def precision_warning(asked: str, used: str, device: torch.device) -> str | None:
    """What the user should know of the precision on a CPU; None if there is nothing.

    Args:
        asked: precision that the user gave.
        used: precision that Lightning uses; on a CPU it takes `bf16-mixed` for `16-mixed`.
        device: device of this process.
    """
    if device.type != "cpu" or used != "bf16-mixed":
        return None
    if trainer_precision("auto", device) == "32-true":
        return (
            f"--trainer.precision {asked} will be very slow, as this CPU has no arithmetic for "
            "half precision: use auto or 32-true"
        )
    if trainer_precision(asked, device) != "16-mixed":
        return None
    return (
        f"--trainer.precision {asked} is for GPUs: on this CPU the network computes in bfloat16 "
        "(bf16-mixed) instead"
    )


def _type(device: str | torch.device) -> str:
    return str(device).partition(":")[0]

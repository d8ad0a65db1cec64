"""From a training checkpoint to a file of weights with their provenance."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from d2ir_pl.errors import PriorError
from d2ir_pl.priors.checkpoints import described_prior, load_safetensors
from d2ir_pl.priors.guided_diffusion import UNetPrior
from d2ir_pl.priors.state_dict import (
    UnusableWeightsError,
    fill,
    first_line,
    read_pickle,
    tensors_of,
)

CHECKPOINT_KEY = "d2ir_pl_prior"
"""Where a training checkpoint says what its prior is: `config`, `schedule` and `training`."""

Dtype = Literal["float16", "bfloat16", "float32"]

_AVERAGE = "average.module."
_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def export_prior(
    checkpoint: Path, output: Path, dtype: Dtype = "float16", about: str = ""
) -> UNetPrior:
    """Write the averaged weights of a training checkpoint as a file that loads as a prior.

    Args:
        checkpoint: checkpoint that `fit` wrote.
        output: file to write, ending in `.safetensors`; it appears as a whole or not at all.
        dtype: number format of the weights in the file.
        about: description and licence of the training data, kept with the weights.

    Returns:
        The prior as read back from the file.

    Raises:
        PriorError: if the checkpoint is not one, or the file cannot be written.
    """
    if output.suffix != ".safetensors":
        raise PriorError(f"{output} must end in .safetensors, the format that priors are kept in")
    if not checkpoint.exists():
        raise PriorError(f"checkpoint {checkpoint} does not exist")
    try:
        # Only tensors and plain values are unpickled: a file with code in it is refused.
        content = read_pickle(checkpoint)
    except UnusableWeightsError as reason:
        raise PriorError(
            f"{checkpoint} is not a training checkpoint, as it {reason}: give one that 'fit' has "
            "written"
        ) from None
    if not isinstance(content, dict) or CHECKPOINT_KEY not in content:
        raise PriorError(f"{checkpoint} holds no prior: give a checkpoint that 'fit' has written")
    about_prior, kept = content[CHECKPOINT_KEY], content.get("state_dict")
    if not isinstance(about_prior, dict) or not isinstance(kept, dict):
        raise PriorError(f"{checkpoint} is damaged: give a checkpoint that 'fit' has written")
    prior = described_prior(checkpoint, about_prior.get("config"), about_prior.get("schedule"))
    weights = {
        str(name).removeprefix(_AVERAGE): weight
        for name, weight in kept.items()
        if str(name).startswith(_AVERAGE)
    }
    try:
        fill(prior.unet, tensors_of(weights))
    except UnusableWeightsError as reason:
        raise PriorError(f"{checkpoint} {reason}: {reason.remedy}") from None
    provenance = about_prior.get("training")
    training = provenance if isinstance(provenance, dict) else {}
    training = {**training, **({"about": about} if about else {})}
    save_prior(prior, output, training, dtype)
    return load_safetensors(output)[0]


def save_prior(
    prior: UNetPrior, output: Path, training: dict[str, Any], dtype: Dtype = "float16"
) -> None:
    """Write a prior with its configuration, schedule and provenance in the metadata.

    Args:
        prior: the prior.
        output: file to write; it appears as a whole or not at all.
        training: provenance of the weights, of plain values.
        dtype: number format of the weights in the file.

    Raises:
        PriorError: if its weights do not fit into `dtype`, or the file cannot be written.
    """
    weights = {
        name: weight.detach().to("cpu", _DTYPES[dtype]).contiguous()
        for name, weight in prior.unet.state_dict().items()
    }
    broken = next((n for n, w in weights.items() if not bool(w.isfinite().all())), None)
    if broken is not None:
        raise PriorError(f"{broken} has values that {dtype} cannot hold: export with float32")
    try:
        metadata = {
            "config": json.dumps(prior.config),
            "schedule": json.dumps(prior.schedule_config),
            "prediction": "eps",
            "training": json.dumps(training),
        }
    except (TypeError, ValueError, RecursionError) as error:
        raise PriorError(
            f"what is known of the training is no plain values ({first_line(error)})"
        ) from None
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        save_file(weights, part, metadata)
        os.replace(part, output)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise PriorError(f"{output} cannot be written ({error.strerror or error})") from None

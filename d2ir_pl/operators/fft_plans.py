"""How many plans of Fourier transforms a GPU keeps."""

from __future__ import annotations

import torch

MOST_PLANS = 64
"""Plans that are kept: a batch of photos takes ten, and one that tries kernels about fifty."""


def bound_fft_plans(device: torch.device) -> None:
    """Let cuFFT forget the plans that were used longest ago, beyond `MOST_PLANS` of a device.

    It keeps a plan for each size of batch and photo, with tables in the GPU's memory, and PyTorch
    lets it keep 4096. A folder of photos of many sizes would fill that memory with plans that are
    never asked for again. Only for programs: it changes a setting of the whole process.

    Args:
        device: device that is computed on; those that are no CUDA devices have no such plans.
    """
    if device.type == "cuda":
        torch.backends.cuda.cufft_plan_cache[device].max_size = MOST_PLANS

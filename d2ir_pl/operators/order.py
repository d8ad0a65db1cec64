"""Order statistics, by kernels that are deterministic on every device.

Those that PyTorch has on CUDA raise under `torch.use_deterministic_algorithms(True)`. Sorting does
not, and takes no longer there; on a CPU it does.
"""

from __future__ import annotations

from torch import Tensor


def kth_smallest(x: Tensor, k: int, dim: int) -> Tensor:
    """The k-th smallest value along a dimension, from 1."""
    if x.is_cuda:
        return x.sort(dim).values.select(dim, k - 1)
    return x.kthvalue(k, dim).values


def median(x: Tensor, dim: int) -> Tensor:
    """The median along a dimension; the lower one of two."""
    return kth_smallest(x, (x.shape[dim] + 1) // 2, dim)


def nanmedian(x: Tensor, dim: int) -> Tensor:
    """The median of what is not NaN along a dimension; NaN where all is."""
    if not x.is_cuda:
        return x.nanmedian(dim).values
    count = x.shape[dim] - x.isnan().sum(dim, keepdim=True)
    middle = ((count + 1) // 2 - 1).clamp_min(0)
    return x.sort(dim).values.gather(dim, middle).squeeze(dim)

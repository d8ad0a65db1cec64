"""The encoding of light in image files: the curve of sRGB, and its inverse.

An intensity v of linear light in [0, 1] is stored as

    e(v) = 12.92 v                    for v <= 0.0031308,
           1.055 v^(1/2.4) - 0.055    above.

Exposure, white balance and the blur of a lens are linear in v, and not in what is stored.

Source: IEC 61966-2-1, 1999.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LINEAR_END = 0.0031308
_SLOPE = 12.92


def to_light(stored: Tensor) -> Tensor:
    """Linear light v of stored intensities in [0, 1]; below 0, the curve goes on straight."""
    curved = ((stored.clamp_min(_SLOPE * _LINEAR_END) + 0.055) / 1.055) ** 2.4
    return torch.where(stored > _SLOPE * _LINEAR_END, curved, stored / _SLOPE)


def slope_of_light(stored: Tensor) -> Tensor:
    """The derivative of `to_light`, from 0.077 in the dark to 2.27 in white."""
    curved = 2.4 / 1.055 * ((stored.clamp_min(_SLOPE * _LINEAR_END) + 0.055) / 1.055) ** 1.4
    return torch.where(stored > _SLOPE * _LINEAR_END, curved, 1 / _SLOPE)


def from_light(light: Tensor) -> Tensor:
    """Stored intensities e(v) of linear light v; below 0, the curve goes on straight."""
    curved = 1.055 * light.clamp_min(_LINEAR_END) ** (1 / 2.4) - 0.055
    return torch.where(light > _LINEAR_END, curved, _SLOPE * light)

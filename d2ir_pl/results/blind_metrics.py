"""Image quality without a reference, for photos whose clean image nobody has.

These numbers say how sharp or how natural an image looks, and not whether what it shows is true:
noise is sharp, and so are invented details.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.image_io.colour import BT601

REBLUR = 9
"""Pixels that an image is averaged over along rows or columns, to see what that takes from it."""

LEAST_SIDE = 32
"""Pixels along each side from which BRISQUE is defined: it looks at half the size as well."""


def sharpness(x: Tensor) -> Tensor:
    """`(B,)` how much blurring would take from images, in [0, 1]; 0 for flat or blurred ones.

    Along columns and along rows, D are the absolute differences of neighbouring pixels of the
    luminance, D' those after a mean over `REBLUR` of them, and the share of all differences that is
    lost is s = sum max(0, D - D') / sum D. The sharpness is the smaller of the two shares. It does
    not depend on brightness and contrast; noise raises it. NaN for images that are too small.

    Args:
        x: `(B, 3, H, W)` images in [-1, 1].

    Source: Crete, Dolmiere, Ladret and Nicolas, The blur effect: perception and estimation with a
    new no-reference perceptual blur metric, 2007, eqs. 1 to 7; this is 1 - blur.
    """
    if min(x.shape[-2:]) <= REBLUR:
        return torch.full((len(x),), torch.nan)
    weights = x.new_tensor(BT601).view(1, 3, 1, 1)
    luminance = (x.clamp(-1, 1) * weights).sum(1, keepdim=True)
    shares = []
    for image in (luminance, luminance.mT):
        padded = F.pad(image, (REBLUR // 2, REBLUR // 2, 0, 0), mode="replicate")
        blurred = F.avg_pool2d(padded, (1, REBLUR), stride=1)
        before, after = (v.diff(dim=-1).abs() for v in (image, blurred))
        lost = (before - after).clamp_min(0).sum((1, 2, 3))
        shares.append(lost / before.sum((1, 2, 3)).clamp_min(1e-9))
    return torch.minimum(*shares)


def brisque(x: Tensor) -> Tensor | None:
    """`(B,)` how unnatural images look to BRISQUE, lower is better, usually 0 to 100.

    None for images under `LEAST_SIDE` pixels, and where it cannot be computed: it needs the extra
    `blind-metrics` and the weights of that library in torch's hub cache; nothing is downloaded.

    Args:
        x: `(B, 3, H, W)` images in [-1, 1].

    Source: Mittal, Moorthy and Bovik, No-reference image quality assessment in the spatial domain,
    2012, by the PIQ library.
    """
    weights = Path(torch.hub.get_dir()) / "checkpoints" / "brisque_svm_weights.pt"
    # Unlike a path's own method, this takes a cache of others, which cannot be looked at, for none.
    if not os.path.isfile(weights) or min(x.shape[-2:]) < LEAST_SIDE:
        return None
    try:
        from piq import brisque as judged

        values: Tensor = judged((x.clamp(-1, 1) + 1) / 2, data_range=1.0, reduction="none")
    except (ImportError, RuntimeError):  # torchvision is missing, or was built for another torch
        return None
    return values.reshape(len(x))

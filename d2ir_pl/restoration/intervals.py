"""Intervals that hold the true pixels: the spread of several restorations, scaled by a calibration.

The spread of samples is too small where a method's samples are alike, and says nothing of what all
of them get wrong. How much wider the error is was measured on photographs with a known truth: of
all their pixels of one local contrast c, the quantile q(c) of

    |x - x_hat| / (s + floor)

is the factor, for photographs of that noise (between two noises its logarithm is linear in that of
the noise), with x the truth, x_hat the mean of the samples and s their spread. Pixels in holes have
factors of their own, for nothing was seen of them. The interval of a pixel is x_hat -+ q(c) (s +
floor), in each channel. It holds the truth in the share of all pixels that the calibration names,
of photographs like those, not in every part of every photograph.

Source: Vovk, Gammerman and Shafer, Algorithmic learning in a random world, 2005, sections 2.2 and
4.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.degradations import Degradation
from d2ir_pl.diffusion import Prior
from d2ir_pl.diffusion.calibration import Calibration, Widths, around
from d2ir_pl.operators.linear import size_of
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.half_widths import Intervals
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.situation import VARIANT, changed, situation

AROUND = 5
"""Side in pixels of the squares over which the spread is averaged."""
CONTRAST_AROUND = 7
"""Side in pixels of the squares whose contrast counts."""
BEYOND = 1.25
"""How many times the largest noise that intervals were measured for may be exceeded. Of twice as
much, 69 to 74 % of the pixels are held in place of 90; of less, more are."""
UNLIKE = "they were measured for the pixels in holes alone, or for those around them"
"""Why a photo has none that has both."""


@torch.no_grad()
def with_intervals(
    restoration: Restoration,
    degradation: Degradation,
    method: RestorationMethod,
    prior: Prior,
    num_samples: int,
    level: float | None = None,
) -> Restoration:
    """A restoration with its intervals, or with the reason why they are not known.

    Args:
        restoration: mean of several restorations; of one it is returned as it is.
        degradation: what was undone.
        method: how that was done.
        prior: the prior with its calibration.
        num_samples: number of restorations.
        level: probability with which the intervals hold the truth; that of the calibration if None.

    Images with more noise than was measured have none, whatever others of the batch have.
    """
    if num_samples == 1 or restoration.std is None:
        return restoration
    if (known := prior.calibration) is None:
        return _without(restoration, prior.uncalibrated)
    level = known.level if level is None else level
    own, reason = _as_measured(known, situation(degradation, method), method)
    if not reason and not (widths := known.widths(own, num_samples, level)):
        least = min((w.num_samples for w in known.situations[own]), default=0)
        reason = f"they need --model.num_samples {least} or more"
    if reason:
        return _without(restoration, reason)
    noises = noise_of(restoration)
    reasons = tuple(_too_noisy(widths, noise) for noise in noises)
    spread = smoothed(restoration.std) + 2 * known.floor
    contrast, holes = local_contrast(restoration.x0), missing(restoration)
    each = [over_spread(widths, *own) for own in zip(noises, contrast, holes, strict=True)]
    half_width = torch.stack(each) * spread
    unlike = half_width.isnan().flatten(1).any(1).tolist()
    reasons = tuple(r or (UNLIKE if new else "") for r, new in zip(reasons, unlike, strict=True))
    if all(reasons):
        return replace(restoration, intervals=Intervals(None, level, reasons))
    half_width[[bool(reason) for reason in reasons]] = torch.nan
    return replace(restoration, intervals=Intervals(half_width, level, reasons))


def _as_measured(known: Calibration, own: str, method: RestorationMethod) -> tuple[str, str]:
    """The name that a situation has with the settings of a method, and why it has no intervals.

    The reason is empty where the situation was measured with these settings.
    """
    names = [name for name in known.situations if name == own or name.startswith(own + VARIANT)]
    if not names:
        return own, f"the prior is not calibrated for {own}"
    reasons = {name: changed(method, known.settings.get(name, {})) for name in names}
    return next(((name, "") for name, no in reasons.items() if not no), (own, reasons[names[0]]))


def _without(restoration: Restoration, reason: str) -> Restoration:
    return replace(restoration, intervals=Intervals.unknown(reason, len(restoration.nfe)))


def _too_noisy(widths: Sequence[Widths], noise: float) -> str:
    """Why a photo of that noise has no intervals, empty where it has some."""
    most = max(w.noisiest for w in widths)
    if noise <= BEYOND * most:
        return ""
    return (
        f"its noise or rounding is {255 * noise:.0f} grey levels, and they were measured on "
        f"photographs of {255 * most:.0f} at most"
    )


def missing(restoration: Restoration) -> Tensor:
    """`(B, 1, H, W)` which pixels the photos lack."""
    if "mask" in restoration.phi:
        return restoration.phi["mask"] == 0
    return torch.zeros_like(restoration.x0[:, :1], dtype=torch.bool)


def noise_of(restoration: Restoration) -> list[float]:
    """The noise of each photo in [0, 1] by which its intervals differ from those of others.

    Of a JPEG file it is sqrt(r^2 + sigma^2), with sigma the noise and rounding that are read off
    its pixels, and r the rounding by its quantisation steps q of the luminance, uniform in each,
    sqrt(mean q^2 / 12). The first alone follows what the pixels show, and the second says nothing
    of the noise that there was before.
    """
    noises: Tensor = restoration.sigma_y / 2
    for name, tables in restoration.phi.items():
        if name.rpartition(".")[2] == "tables":
            steps = tables[:, 0].to(noises) / 255
            noises = (noises.square() + steps.square().flatten(1).mean(1) / 12).sqrt()
    return noises.tolist()


def smoothed(std: Tensor) -> Tensor:
    """Root mean squares of a standard deviation `(B, 1, H, W)` over squares around each pixel."""
    return _around(std.square(), AROUND).clamp_min(0).sqrt()


def local_contrast(x: Tensor) -> Tensor:
    """`(B, 1, H, W)` standard deviation in [0, 1] of the grey values around each pixel of x."""
    grey = x.mean(1, keepdim=True) / 2
    grey = grey - grey.mean((2, 3), keepdim=True)  # of large numbers the difference is inexact
    mean = _around(grey, CONTRAST_AROUND)
    return (_around(grey.square(), CONTRAST_AROUND) - mean.square()).clamp_min(0).sqrt()


def factors(widths: Widths, contrast: Tensor) -> Tensor:
    """The half-width over the spread at pixels of a local contrast."""
    at, factor = (contrast.new_tensor(v).log() for v in (widths.contrast, widths.factor))
    if len(at) == 1:
        return factor.exp().expand_as(contrast)
    c = contrast.clamp_min(1e-9).log().clamp(at[0], at[-1])
    right = torch.searchsorted(at, c.contiguous()).clamp(1, len(at) - 1)
    share = (c - at[right - 1]) / (at[right] - at[right - 1])
    return torch.lerp(factor[right - 1], factor[right], share).exp()


def over_spread(
    widths: Sequence[Widths], noise: float, contrast: Tensor, lacking: Tensor
) -> Tensor:
    """The half-width over the spread at the pixels of a photo.

    Args:
        widths: those of one number of samples and one level.
        noise: the photo's, see `noise_of`; the logarithm of a factor is linear in its own.
        contrast: local contrast of the pixels.
        lacking: whether the photo lacks them.

    Returns:
        NaN for pixels in holes where none such were measured, and so for those around them.
    """
    found = torch.full_like(contrast, torch.nan)
    for part, there in (("all", None), ("observed", ~lacking), ("missing", lacking)):
        if own := [w for w in widths if w.part == part]:
            lower, higher, share = around(own, noise)
            low, high = (factors(w, contrast).log() for w in (lower, higher))
            factor = torch.lerp(low, high, share).exp()
            found = factor if there is None else torch.where(there, factor, found)
    return found


def _around(values: Tensor, side: int) -> Tensor:
    """Means over squares around each pixel, as far as they lie in the image."""
    side = min([side, *(2 * (n // 2) - 1 for n in size_of(values) if n > 1)])
    return F.avg_pool2d(values, side, 1, side // 2, count_include_pad=False)

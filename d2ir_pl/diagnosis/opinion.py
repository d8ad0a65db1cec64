"""Whether a restored photo is better than the photo, by evidence that needs no truth."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.estimators.edge_width import edge_widths
from d2ir_pl.estimators.noise_reading import read_spectrum

BLOCK = 16
"""Side in pixels of the blocks among which the flattest are looked for."""
SMALLEST = 4 * BLOCK
"""Least side in pixels of a photo that there is an opinion on."""
PATCH = 8
"""Side in pixels of the patches in which local detail is measured."""
GROUP = 32
"""Number of patches of about the same brightness that are compared with each other."""
LEVEL = 2 / 255
"""A grey level in [-1, 1]."""
MARGIN = 16
"""Distance from black and white, in grey levels, within which a value counts as nearly so."""


@dataclass(frozen=True)
class Sharpening:
    """Evidence about an image that has more of the finest detail than its photo.

    A blur that is undone as it was makes edges higher and narrower, and leaves what is flat as it
    is. One that is too wide, or noise that is larger or of another colour than was assumed, gives
    a texture that covers the image, and overshoots beyond black and white.

    Attributes:
        clipped: logarithm of the share of values that have become black or white from some way off.
        aside: correlation of the change with the detail that the photo has at 2 to 4 pixels, which
            sharpening raises, with its sign changed.
        dense: increase of the mean absolute gradient over the RMS gradient, which is small where
            gradients are sparse, as at edges, and large where they are everywhere.
        texture: logarithm of the ratio of RMS detail at 4 to 8 pixels, in the flattest tenth.
    """

    clipped: float
    aside: float
    dense: float
    texture: float


@dataclass(frozen=True)
class Smoothing:
    """Evidence about an image that has less of the finest detail than its photo.

    Noise is alike wherever a photo is as bright, and a denoiser that is told its level removes
    nearly all of it. Where texture was taken for noise, what is removed lies where detail is, parts
    of the photo have less of it than others that are as bright, and less than was assumed is
    removed.

    Attributes:
        removed: RMS of what was removed over the assumed noise.
        least: second percentile, over patches, of the RMS of the photo's finest diagonal band over
            its median among patches that are as bright.
        local: correlation, over patches, of the logarithms of the RMS of what was removed and of
            the detail of the image, each over its median among patches that are as bright.
        uneven: standard deviation, over patches, of the first of these.
    """

    removed: float
    least: float
    local: float
    uneven: float


WEIGHTS: dict[type, dict[str, float]] = {
    Sharpening: {"clipped": 0.62, "aside": 4.99, "dense": 7.57, "texture": 1.92, "": 6.3},
    Smoothing: {"removed": -3.63, "least": -2.39, "local": 2.74, "uneven": 5.96, "": 3.9},
}
"""Weights of logistic regressions on whether an image is further from the truth than its photo,
and under the empty name their constants, in doubt against the image (docs/experiments.md)."""

COLOURED = 0.8
"""Odds from which the removal of coloured noise is doubted: it is less even than that of white
noise, to which the weights were fitted (docs/experiments.md)."""
AS_SOFT, COLOURED_AND_SOFT = 0.9, 3.0
"""Width of a photo's edges, in units of that by which its noise was smoothed, from which a camera
has smoothed both, and the odds from which such noise is doubted: its rounded rest is uneven."""
SHARP = 0.5
"""The same width below which what seems to be coarse noise is doubted as white noise is."""

HELPFUL = {"clipped": -6.5, "aside": -0.57, "dense": -0.09, "texture": 0.09}
"""Evidence about sharpened images that are nearer to the truth than their photos, in the mean."""
SUREST = 0.99
"""Probability of a kernel beyond which none is believed."""

WORDS = {
    "clipped": "much of it is driven beyond black and white",
    "aside": "what was added does not follow the photo's own detail",
    "dense": "what was added lies all over it and not at edges",
    "texture": "it has a texture where the photo is flat",
}
"""What the evidence means for a person."""
EMPTYING = ("WebP", "AVIF", "HEIC")
"""Lossy formats that empty the finest bands, in which the evidence for texture lies."""
UNSEEN = "it differs from the photo by less than a grey level"
REMOVED = "what was taken for noise is more likely the texture of the photo"


@torch.no_grad()
def evidence(photo: Tensor, image: Tensor, sigma_y: float) -> Sharpening | Smoothing | None:
    """What the difference of an image to its photo shows.

    Args:
        photo: `(1, 3, H, W)` in [-1, 1].
        image: `(1, 3, H, W)` in [-1, 1], restored from it.
        sigma_y: standard deviation of the photo's noise that was assumed, in [-1, 1].

    Returns:
        None where they are too small to tell, or the same.
    """
    photo, image = photo.float(), image.float()
    change = image - photo
    if min(photo.shape[-2:]) < SMALLEST or float(change.square().mean()) < (LEVEL / 100) ** 2:
        return None
    ours, theirs = _bands(image), _bands(photo)
    if _rms(ours[0]) > _rms(theirs[0]):
        flat = _flattest(photo)
        return Sharpening(
            clipped=math.log(max(_clipped(image, photo), 1e-3)),
            aside=-_correlation(change, theirs[1]),
            dense=_density(image) - _density(photo),
            texture=_log_ratio(_blocks(ours[2])[:, :, flat], _blocks(theirs[2])[:, :, flat]),
        )
    finest = F.pad(_finest(photo), (0, 1, 0, 1), mode="replicate")
    band, removed, detail = (_among_as_bright(own, photo) for own in (finest, change, ours[0]))
    return Smoothing(
        removed=_rms(change) / sigma_y,
        least=float(band.quantile(0.02).exp()),
        local=_correlation(removed - removed.mean(), detail - detail.mean()),
        uneven=float(removed.std()),
    )


def log_odds(found: Sharpening | Smoothing, sure: float | None = None) -> float:
    """The logarithm of the odds that an image is further from the truth than its photo.

    Args:
        found: evidence about the image.
        sure: where a shake was undone, the probability of its kernel, which is evidence as well. A
            shake has moved what is fine, so that what is added lies aside of the photo's own
            detail, right or wrong, and this says nothing.
    """
    weights = WEIGHTS[type(found)]
    if sure is not None and isinstance(found, Sharpening):
        p = min(max(sure, 1 - SUREST), SUREST)
        found = replace(found, aside=HELPFUL["aside"])
        return log_odds(found) + math.log((1 - p) / p)
    return weights[""] + math.fsum(weights[name] * value for name, value in asdict(found).items())


def objection(
    photo: Tensor,
    image: Tensor,
    sigma_y: float,
    noise_alone: bool,
    sure: float | None = None,
    codec: str = "",
) -> str:
    """Why an image should not take the place of its photo; empty where it may.

    Args:
        photo: `(1, 3, H, W)` in [-1, 1].
        image: `(1, 3, H, W)` in [-1, 1], restored from it.
        sigma_y: standard deviation of the photo's noise that was assumed, in [-1, 1].
        noise_alone: whether noise is all that was undone. What else removes detail, such as the
            rounding of a JPEG that is undone, is not judged.
        sure: where a shake was undone, the probability of its kernel, see `log_odds`.
        codec: lossy format of its file, as `Photo` has it. Its rounding is no noise, and what is
            taken for that counts as texture only if it is coarse and the edges are sharp. Of a
            JPEG, what is less than a grey level may be rounding, and more is judged as usual.
    """
    if noise_alone and codec not in EMPTYING and 0 < _rms(image - photo) < LEVEL:
        return "" if codec else UNSEEN
    found = evidence(photo, image, sigma_y)
    if found is None:
        return ""
    odds = log_odds(found, sure)
    if isinstance(found, Smoothing):
        doubted = noise_alone and odds > 0 and odds > _allowed(photo.float(), codec in EMPTYING)
        return REMOVED if doubted else ""
    if odds <= 0:
        return ""
    weights = WEIGHTS[Sharpening]
    parts = {name: weights[name] * (value - HELPFUL[name]) for name, value in asdict(found).items()}
    if sure is not None:
        parts.pop("aside")
    return WORDS[max(parts, key=parts.__getitem__)]


def _allowed(photo: Tensor, compressed: bool) -> float:
    """Odds up to which the removal of a photo's noise is not doubted."""
    spectrum = read_spectrum(photo)
    if spectrum is None or not spectrum.coloured:
        return math.inf if compressed else 0.0
    width = edge_widths(photo[0]).typical
    if width < SHARP * spectrum.width or not spectrum.confirmed:
        return 0.0
    if compressed:
        return math.inf
    return COLOURED_AND_SOFT if width >= AS_SOFT * spectrum.width else COLOURED


def _bands(image: Tensor) -> list[Tensor]:
    """Details of an image at 1 to 2, 2 to 4 and 4 to 8 pixels: differences of binomial means."""
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=image.device) / 16
    kernel = torch.outer(taps, taps)[None, None]
    found = []
    for step in (1, 2, 4):
        wide = F.pad(image, 4 * (2 * step,), mode="reflect").flatten(0, 1)[:, None]
        mean = F.conv2d(wide, kernel, dilation=step).view(image.shape)
        found.append(image - mean)
        image = mean
    return found


def _finest(image: Tensor) -> Tensor:
    """The finest diagonal band of the Haar wavelet, in which white noise keeps its level."""
    taps = image.new_tensor([[0.5, -0.5], [-0.5, 0.5]])[None, None]
    band = F.conv2d(image.flatten(0, 1)[:, None], taps)
    return band.view(*image.shape[:2], *band.shape[-2:])


def _among_as_bright(band: Tensor, photo: Tensor) -> Tensor:
    """Logarithm, for each patch, of the RMS of a band over its median among patches as bright."""
    level = F.avg_pool2d(band.square().mean(1, keepdim=True), PATCH).flatten()
    level = 0.5 * (level + 1e-9).log()
    order = F.avg_pool2d(photo.mean(1, keepdim=True), PATCH).flatten().argsort()
    groups = torch.tensor_split(order, max(1, len(order) // GROUP))
    found = torch.empty_like(level)
    for group in groups:
        found[group] = level[group] - level[group].median()
    return found


def _blocks(band: Tensor, side: int = BLOCK) -> Tensor:
    """`(B, C, N, side, side)` blocks, row by row."""
    return band.unfold(2, side, side).unfold(3, side, side).flatten(2, 3)


def _flattest(photo: Tensor) -> Tensor:
    """Numbers of the tenth of the blocks whose 4x4 means vary least; none that is clipped."""
    rows, columns = photo.shape[-2] // BLOCK, photo.shape[-1] // BLOCK
    coarse = F.avg_pool2d(photo[..., : rows * BLOCK, : columns * BLOCK].mean(1, keepdim=True), 4)
    cells = _blocks(coarse, BLOCK // 4)[0, 0].flatten(1)
    clipped = cells.mean(1).abs() > 1 - MARGIN * LEVEL
    order = torch.where(clipped, math.inf, cells.var(1)).argsort()
    return order[: max(2, round(len(order) / 10))]


def _clipped(image: Tensor, photo: Tensor) -> float:
    """The share of values that are black or white in the image, and not nearly so in the photo."""
    clipped = (image.abs() > 1 - LEVEL / 4) & (photo.abs() < 1 - MARGIN * LEVEL)
    return float(clipped.float().mean())


def _density(image: Tensor) -> float:
    """The mean absolute gradient of the grey image over its RMS: 0.8 of noise, less at edges."""
    grey = image.mean(1)
    down, right = grey.diff(dim=1).flatten(), grey.diff(dim=2).flatten()
    gradient = torch.cat([down, right])
    return float(gradient.abs().mean()) / max(_rms(gradient), 1e-9)


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def _log_ratio(a: Tensor, b: Tensor) -> float:
    return 0.5 * math.log((_rms(a) ** 2 + 1e-6) / (_rms(b) ** 2 + 1e-6))


def _correlation(a: Tensor, b: Tensor) -> float:
    return float((a * b).mean()) / max(_rms(a) * _rms(b), 1e-12)

"""The method that suits a degradation, as the shipped configs have it."""

from __future__ import annotations

from d2ir_pl.degradations import Compose, Degradation
from d2ir_pl.restoration import RestorationMethod
from d2ir_pl.restoration.configs import load
from d2ir_pl.restoration.construction import Settings

CONFIGS = {
    "Blur": "blind_deblur_kernel",
    "DefocusBlur": "deblur_defocus",
    "Downsampling": "super_resolution_x4",
    "Exposures": "hdr",
    "Fading": "faded",
    "GaussianBlur": "blind_deblur",
    "Grayscale": "colorization",
    "Identity": "denoising",
    "Jpeg": "jpeg",
    "Light": "low_light",
    "Mask": "inpainting",
    "MotionBlur": "deblur_motion",
}
"""The shipped config for each degradation alone."""

# A photo of its full size says more than the small copies of `old_photo` (measured in
# docs/experiments.md).
FULL_SIZE_JPEG: Settings = {
    "method": {"init_args": {"estimation": {"start": 70, "data_weight": 0.3}}}
}
"""What differs from the config `old_photo` for JPEGs of full size."""
NOISY_JPEG: Settings = {"method": {"init_args": {"estimation": {"start": 100, "data_weight": 0.3}}}}
"""The same where they were noisy: less of such a photo is kept."""


def suiting(degradation: Degradation) -> RestorationMethod:
    """The method that suits a degradation of this package.

    Raises:
        ValueError: if there is no config for it.
    """
    parts = degradation.parts if isinstance(degradation, Compose) else [degradation]
    kinds = [type(part).__name__ for part in parts]
    if unknown := [kind for kind in kinds if kind not in CONFIGS]:
        raise ValueError(f"no shipped method suits {unknown[0]}: name a method instead of auto")
    if len(kinds) == 1:
        return load(CONFIGS[kinds[0]]).method
    if "Jpeg" in kinds:
        return load("old_photo", {} if "Downsampling" in kinds else FULL_SIZE_JPEG).method
    # The settings for a free kernel allow for its errors, which those for a dark photo do not.
    first = next((kind for kind in ("Blur", "Light") if kind in kinds), kinds[0])
    return load(CONFIGS[first]).method

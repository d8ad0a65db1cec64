"""Whether the noise of a photo is that of a camera, and what that means for its blur."""

from __future__ import annotations

import math

from d2ir_pl.diagnosis.blurred_edges import is_no_gaussian
from d2ir_pl.diagnosis.finding import Finding
from d2ir_pl.diagnosis.measurements import Measurements
from d2ir_pl.estimators.widths import SHARP_WIDTH

# Chosen on simulated camera photos and on JPEGs of photographs with white noise
# (docs/experiments.md).
SOFT = 0.5
"""Width of the edges, in units of that by which the noise was smoothed, from which a camera has
smoothed both: where edges are sharper, what seems to be coarse noise is texture, or what a JPEG has
left of finer noise."""
POOR = 70
"""Quality of a JPEG below which its rounding is a larger damage than such noise."""
SIMPLE = ("blind_deblur", "")
"""Configs for blurs that may be no more than what the camera did to its noise as well."""


def noise(seen: Measurements, blurred: Finding) -> Finding:
    """Judge the noise: white, or as demosaicing, smoothing and compression leave it.

    A camera smooths what its sensor saw, noise included. A photo that is no softer than its noise
    was in focus: undoing the smoothing would bring the noise back. Its blur is believed as far as
    it is wider than that, or where its edges show one that smoothing does not leave.

    Args:
        seen: what the photo shows.
        blurred: what was found of its blur.

    Returns:
        A finding whose config removes the noise in place of undoing a slight blur or a JPEG; one
        without a config where the noise is white in all channels, or the blur is more than that.
    """
    spectrum = seen.noise
    if seen.quality < 100:
        usual = f"noise: about {seen.jpeg_noise:.1f} grey levels before the compression"
    else:
        usual = f"noise: about {seen.sigma_y:.3f} of the range"
    if spectrum is None or blurred.config not in SIMPLE or seen.quality < POOR:
        return Finding(usual)
    if spectrum.shared and not blurred.config:
        level = spectrum.level / 2 / math.sqrt(3)
        return Finding(
            f"noise: about {level:.3f} of the range, mostly the same in red, green and blue",
            "denoising",
        )
    if not spectrum.coloured:
        return Finding(usual)
    if blurred.config and is_no_gaussian(seen):
        return Finding(usual)
    own = spectrum.width
    left = math.sqrt(max(0.0, max(seen.width, seen.jpeg_width) ** 2 - own**2))
    sharp = seen.edges.typical < SOFT * own
    if sharp or (blurred.config and left > SHARP_WIDTH):
        return Finding(usual)
    return Finding(
        f"noise: coarse, about {spectrum.level / 2:.3f} of the range at an eighth to a quarter of "
        f"a cycle a pixel; the camera has smoothed it by about {own:.1f} pixels",
        "denoising",
    )

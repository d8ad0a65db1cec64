"""What is assumed of photos from lossy files that are no usual JPEGs."""

from __future__ import annotations

from torch import Tensor

from d2ir_pl.degradations import (
    Compose,
    DefocusBlur,
    Degradation,
    Fading,
    GaussianBlur,
    Jpeg,
    Light,
)
from d2ir_pl.degradations.convolutional_blur import ConvolutionalBlur
from d2ir_pl.estimators.jpeg_tables import estimate_quality, may_be_rounded
from d2ir_pl.estimators.noise_level import MIN_SIGMA
from d2ir_pl.image_io import FileTables, Photo

SPECTRUM_ERROR = 2 * 0.012
"""Least error, in [-1, 1], with which the spectrum of a photo from a WebP or AVIF file is read.

The codec rounds the finest bands, where noise is looked for, so that far less is seen there. With
this floor the spectrum shows 0.8 to 1.2 of the width of a blur before WebP of quality 60 to 90, and
without it 0.2 to 0.7 (docs/experiments.md).
"""
CODEC_ERROR = 2 * 0.03
"""Least error, in [-1, 1], of such a photo that is assumed where a blur is undone.

It is the RMS error of its colours. In the bands that the blur has left it is not white, and is
amplified where no more than the spectrum's floor is assumed.
"""
OF_STEP, AT_NONE, LEAST_ERROR = 2 * 0.002, 2 * 0.004, 2 * 0.025
"""Error, in [-1, 1], that is assumed in its place of a file that tells its step where a Gaussian or
a disk is undone: what a grey level of the step adds to what is there without any, and the least,
because the colours are halved (docs/experiments.md)."""

UNBLURRED = 0.35
"""Width in pixels of a Gaussian up to which the coefficients of a JPEG show no blur at all.

The spectrum of a sharp photo of smooth things falls below the rounding as that of a blurred one
does: there, a sky has shown straight motions of 15 pixels (docs/experiments.md).
"""

EARLIER_ERROR, EARLIER_ERROR_IN_NOISE = 0.03, 0.045
"""Noise in [0, 1] that is assumed before a JPEG where a blur is undone that an earlier JPEG has
rounded in blocks of its own, without noise and with it."""


def least_noise(photo: Photo, degradation: Degradation) -> float:
    """The least noise, in [-1, 1], that is assumed of a photo where it is estimated.

    It is more than is seen where a blur is undone after a codec has hidden what there is.

    Args:
        photo: contents of its file.
        degradation: family that explains it.
    """
    if not photo.codec or not isinstance(degradation, ConvolutionalBlur):
        return MIN_SIGMA
    round_ = isinstance(degradation, GaussianBlur | DefocusBlur)
    return codec_error(photo.step if round_ else None)


def codec_error(step: float | None) -> float:
    """The error of a lossy file, in [-1, 1], that is assumed where a blur is undone.

    Args:
        step: step with which it was rounded, as `Photo` has it.
    """
    if step is None:
        return CODEC_ERROR
    return min(CODEC_ERROR, max(LEAST_ERROR, AT_NONE + OF_STEP * step))


def with_rounding(degradation: Degradation, y: Tensor, photo: Photo) -> Degradation:
    """A blur or tones and then the compression, where a photo shows one; or the degradation itself.

    What JPEG has rounded is strong where a blur leaves little, or where a dark photo is made
    bright, and weak where noise is read off. An image that is to explain all but that noise has the
    rounding undone as if it were detail, and the spectrum shows a fifth of the blur.

    Args:
        degradation: family that the photo is restored with.
        y: `(3, H, W)` its pixels in [-1, 1].
        photo: contents of its file.
    """
    if not isinstance(degradation, ConvolutionalBlur | Light | Fading):
        return degradation
    suspect = photo.tables is not None or may_be_rounded(y)
    if not (suspect and is_jpeg(y, photo)):
        return degradation
    unknown = isinstance(degradation, ConvolutionalBlur) and degradation.estimated
    return degradation if unknown and _is_sharp(y, photo) else Compose([degradation, Jpeg()])


def width_above_rounding(y: Tensor, tables: FileTables) -> float:
    """The width in pixels of a Gaussian before JPEG, by what its spectrum shows above the rounding.

    Args:
        y: `(3, H, W)` pixels of a photo in [-1, 1].
        tables: how it was compressed.
    """
    chain = Compose([GaussianBlur(), Jpeg().of_files([tables])])
    phi = chain.init(y[None], chain.estimate_sigma(y[None]))
    return float(phi["0.log_width"].exp())


def _is_sharp(y: Tensor, photo: Photo) -> bool:
    """Whether the coefficients of a JPEG show no blur."""
    jpeg, whole = Jpeg().of_files([photo.tables]), y[None].float()
    return float(jpeg.width_before(whole, jpeg.init(whole, whole.new_zeros(1)))) <= UNBLURRED


def is_jpeg(y: Tensor, photo: Photo) -> bool:
    """Whether a photo's file or its pixels show that it was compressed by JPEG.

    Args:
        y: `(3, H, W)` its pixels in [-1, 1].
        photo: contents of its file.
    """
    return not photo.codec and (photo.tables is not None or estimate_quality(y) < 100)

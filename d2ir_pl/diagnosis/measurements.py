"""What a photo shows of the damage that was done to it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from d2ir_pl.diagnosis.codecs import SPECTRUM_ERROR, UNBLURRED, width_above_rounding
from d2ir_pl.diagnosis.large import telling_part
from d2ir_pl.diagnosis.subject import place, sharper_part
from d2ir_pl.estimators.blur_shape import BlurShape, blur_shape
from d2ir_pl.estimators.earlier_jpeg import earlier_grid
from d2ir_pl.estimators.edge_kernel import edge_kernel
from d2ir_pl.estimators.edge_width import EdgeWidths, edge_widths
from d2ir_pl.estimators.exposure import Exposure, exposure
from d2ir_pl.estimators.jpeg_blur import BeforeJpeg, before_jpeg
from d2ir_pl.estimators.jpeg_tables import estimate_quality
from d2ir_pl.estimators.kernel_search import spectral_misfit
from d2ir_pl.estimators.light_trails import light_trails
from d2ir_pl.estimators.noise_level import MIN_SIGMA, estimate_sigma
from d2ir_pl.estimators.noise_reading import read_spectrum
from d2ir_pl.estimators.noise_spectrum import NoiseSpectrum
from d2ir_pl.estimators.noise_whiteness import unevenness
from d2ir_pl.estimators.observed_pixels import fill_unobserved, hide
from d2ir_pl.estimators.remembered import remembered
from d2ir_pl.estimators.spectrum import gaussian_covariance
from d2ir_pl.estimators.tones import Tones, tones
from d2ir_pl.estimators.widths import SHARP_WIDTH
from d2ir_pl.image_io import FileTables
from d2ir_pl.operators.jpeg_transform import standard_tables
from d2ir_pl.operators.kernels import gaussian_kernel, principal_widths
from d2ir_pl.operators.orientation import stored

KERNEL_SIZE = 21
"""Side in pixels of the kernel that is estimated from a photo's edges."""
ELONGATED = -0.2
"""Value of `BlurShape.elongated` above which a shake has to be confirmed by the kernel of the
edges, because a Gaussian that is wider in one direction looks much like it."""
LONGEST_TRAIL = 101
"""Largest side in pixels of a kernel that lights show."""
MIDDLE = 1024
"""Side in pixels of the middle of a photo that its noise by frequency is read off."""
SHARP_EDGES = 0.3
"""Width in pixels that the edges of sharp photos stay below."""


@dataclass(frozen=True)
class Measurements:
    """What a photo shows.

    Attributes:
        sigma_y: standard deviation of the noise in [0, 1].
        width: width in pixels of the blur that the spectrum shows, if it is the same in all
            directions.
        widths: major and minor width in pixels, if it is not.
        angle: direction of the major axis in radians, from the x axis toward the y axis.
        shaken: difference by which the kernel of the edges explains the spectrum better than that
            Gaussian, in the units of `spectral_misfit`; 0 for photos that are sharp, or whose
            spectrum shows no direction (`ELONGATED`) or is that of a JPEG.
        jpeg_width: width in pixels of the blur that the coefficients of a JPEG show; 0 for photos
            without rounded coefficients.
        jpeg_noise: standard deviation in grey levels of the luminance's noise that they show.
        quality: quality of the standard JPEG tables that are nearest to those of the file, or to
            those found in the pixels; 100 where the pixels show none.
        from_file: whether the quality was read from a file.
        light: how much light it got.
        edges: widths of its edges.
        shape: what its spectrum says of the shape of a blur.
        tones: ends of its tones.
        codec: lossy format of the file, as `Photo` has it; empty for others.
        step: step of that format, as `Photo` has it.
        noise: its noise by frequency; None where it is told, or the photo is too small to show it.
        uneven: ratio of its amplitudes at the finest frequencies, see `unevenness`: at most 1.2 for
            white noise, and 15 and more where a JPEG has been moved off its grid.
        earlier: whether a JPEG was compressed before, in blocks that lie elsewhere.
        part: height and width of the part that was measured; None where that was the whole.
        trails: number of trails of one shape that lights have left; 0 where none have.
        subject: size and place of the part whose blur was measured, in words, where it is much
            sharper than the rest; empty where there is no such part.
        rounded_width: width in pixels of the blur that the spectrum of a JPEG shows above the
            rounding; 0 for other photos, and where its coefficients show none.
    """

    sigma_y: float
    width: float
    widths: tuple[float, float]
    angle: float
    shaken: float
    jpeg_width: float
    jpeg_noise: float
    quality: int
    from_file: bool
    light: Exposure
    edges: EdgeWidths = field(default_factory=EdgeWidths)
    shape: BlurShape = field(default_factory=BlurShape)
    tones: Tones = field(default_factory=Tones)
    codec: str = ""
    step: float | None = None
    noise: NoiseSpectrum | None = None
    uneven: float = 1.0
    earlier: bool = False
    part: tuple[int, int] | None = None
    subject: str = ""
    trails: int = 0
    rounded_width: float = 0.0


OF_A_BLUR = ("width", "widths", "angle", "shaken", "jpeg_width", "rounded_width", "edges", "shape")
"""What is measured on the sharpest part, if the rest is out of focus."""


@remembered
def measure(
    y: Tensor,
    tables: FileTables | None = None,
    sigma_y: float | None = None,
    observed: Tensor | None = None,
    codec: str = "",
    step: float | None = None,
) -> Measurements:
    """Measure a photo; a large one where its edges are strongest, but for its light and its tones.

    The blur of a JPEG is measured on its grey image: its colours are coarser than its brightness,
    so that the noise of its channels is not independent.

    Args:
        y: the photo, `(3, H, W)` in [-1, 1].
        tables: quantisation tables of the JPEG that it was read from; found in its pixels if None.
        sigma_y: standard deviation of the photo's noise in [0, 1]; estimated if None.
        observed: `(1, H, W)`, 0 where a pixel is no part of the photo, which is continued there;
            None where all are.
        codec: lossy format of its file, as `Photo` has it.
        step: step of that format, as `Photo` has it.
    """
    y = y.float()
    orientation = 1 if tables is None else tables.orientation
    part = telling_part(y, observed, orientation)
    measured = _measured(part.y, tables, sigma_y, part.observed, codec)
    measured = replace(measured, step=step)
    if (trails := light_trails(y, LONGEST_TRAIL)) is not None:
        measured = replace(measured, trails=trails.count)
    sharper = sharper_part(part, measured.edges, orientation)
    if sharper is not None:
        file = tables or (_tables_of_pixels(part.y) if measured.quality < 100 else None)
        own = _measured(sharper.y, file, sigma_y, sharper.observed, codec)
        height, width = sharper.y.shape[-2:]
        measured = replace(
            measured,
            **{name: getattr(own, name) for name in OF_A_BLUR},
            subject=f"{width}x{height} pixels, {place(sharper.middle)}",
        )
    if part.y is y:
        return measured
    size = part.y.shape[1], part.y.shape[2]
    return replace(measured, light=exposure(y, observed), tones=tones(y, observed), part=size)


def _measured(
    y: Tensor,
    tables: FileTables | None,
    sigma_y: float | None,
    observed: Tensor | None,
    codec: str,
) -> Measurements:
    """`measure` of what is not large, or of a part."""
    if observed is not None:
        seen = observed[None]
        sigma = estimate_sigma(hide(y[None], seen))
        y = fill_unobserved(y[None], seen, sigma)[0]
    file = _tables_of_pixels(y) if tables is None else tables
    quality = _nearest_quality(file.tables[0])
    found = estimate_sigma(y[None]).clamp_min(MIN_SIGMA)
    sigma = found if sigma_y is None else torch.full((1,), 2 * sigma_y).clamp_min(MIN_SIGMA)
    image, in_image, before, earlier = y[None], sigma, BeforeJpeg(0.0, 0.0), False
    if tables is not None or quality < 100 or codec:
        image = y.mean(0, keepdim=True).expand_as(y)[None].contiguous()
        share = estimate_sigma(image).clamp_min(MIN_SIGMA) / found
        in_image = sigma * share.clamp(3**-0.5, 1)
    if codec and sigma_y is None:
        in_image = in_image.clamp_min(SPECTRUM_ERROR)
    if not codec and (tables is not None or quality < 100):
        as_stored = stored(y, file.orientation)
        before = before_jpeg(as_stored, file.tables[0])
        earlier = earlier_grid(as_stored, file.tables[0]) is not None
    width = math.sqrt(float(gaussian_covariance(image, in_image)[0, 0, 0]))
    covariance = gaussian_covariance(image, in_image, isotropic=False)
    major, minor, angle = principal_widths(covariance[0])
    edges, shape = edge_widths(y, observed), blur_shape(y)
    is_jpeg = bool(codec) or before.width > 0
    soft = width > SHARP_WIDTH or edges.typical > SHARP_EDGES
    told_apart = soft and not is_jpeg and shape.elongated >= ELONGATED
    return Measurements(
        sigma_y=float(sigma) / 2,
        width=width,
        widths=(major, minor),
        angle=angle,
        shaken=_shaken(image, in_image, covariance) if told_apart else 0.0,
        jpeg_width=before.width,
        rounded_width=width_above_rounding(y, file) if before.width > UNBLURRED else 0.0,
        jpeg_noise=before.noise,
        quality=100 if codec else quality,
        from_file=tables is not None,
        light=exposure(y, observed),
        edges=edges,
        shape=shape,
        tones=tones(y, observed),
        codec=codec,
        noise=read_spectrum(_middle(y)[None]) if sigma_y is None else None,
        uneven=unevenness(y[None]),
        earlier=earlier,
    )


def _middle(y: Tensor) -> Tensor:
    """The middle of a photo, in which a pattern of JPEG blocks is where it was."""
    top, left = (8 * (max(0, n - MIDDLE) // 16) for n in y.shape[-2:])
    return y[..., top : top + MIDDLE, left : left + MIDDLE]


def _shaken(y: Tensor, sigma: Tensor, covariance: Tensor) -> float:
    """How much better the kernel of the edges explains the spectrum than a Gaussian does."""
    edges = edge_kernel(y[0], KERNEL_SIZE)
    if edges is None:
        return 0.0
    kernels = torch.stack([gaussian_kernel(covariance, KERNEL_SIZE)[0], edges.to(y)])
    gaussian, free = spectral_misfit(y, sigma, kernels[None])[0].tolist()
    return float(gaussian - free)


def _tables_of_pixels(y: Tensor) -> FileTables:
    return FileTables(standard_tables(torch.tensor(estimate_quality(y))), (1, 1), 1)


def _nearest_quality(table: Tensor) -> int:
    """The quality whose standard table is nearest to a table, in logarithms."""
    standard = standard_tables(torch.arange(1, 101))[:, 0]
    distance = (standard.log() - table.log()).square().flatten(1).sum(1)
    return len(distance) - int(distance.flip(0).argmin())

"""JPEG compression."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from d2ir_pl.degradations.base import Degradation
from d2ir_pl.degradations.jpeg_operator import (
    Rows,
    WhitenedCoefficients,
    alike,
    by_group,
    chosen,
    compressions,
    noise_variance,
)
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.degradations.ranges import require_range
from d2ir_pl.errors import require
from d2ir_pl.estimators.jpeg_blur import before_jpeg
from d2ir_pl.estimators.jpeg_tables import (
    SUBSAMPLINGS,
    estimate_factors,
    estimate_quality,
    rms_error,
    rounding_variance,
)
from d2ir_pl.image_io import FileTables, Photo
from d2ir_pl.operators.jpeg_transform import (
    analyze,
    clip_straight_through,
    colour_matrix,
    standard_tables,
    synthesize,
)
from d2ir_pl.operators.linear import LinearOperator, Size, size_of
from d2ir_pl.operators.orientation import stored, upright

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]

# Share of the RMS rounding error that raises the power spectrum: rounding to zero takes power from
# high frequencies, and adds none. Widths of 0.4 to 0.8 pixels of y are read with this share without
# bias on photographs of the training set; wider blurs are read too narrow.
WHITE_SHARE = 0.3
# Quality that pixels without any rounding of coefficients show.
UNCOMPRESSED = 100

MIN_NOISE = 1.0
"""Least noise before the compression, in grey levels, where it is estimated.

No model of what happened to a photo is exact: believed to the rounding of a file of the best
qualities, a width that is a third too large costs 5 dB (docs/experiments.md).
"""


class Jpeg(Degradation):
    """JPEG compression and decompression: y = S(q round(C x / q)), clipped to [-1, 1].

    C maps an image to the DCT coefficients of 8x8 blocks of its luminance and (subsampled)
    chrominances, S maps them back, and q are the quantisation steps. phi: `tables`
    `(B, 2, 8, 8)`, the steps for luminance and chrominances in grey levels of 8 bits, vertical
    frequency first; `factors` `(B, 2)`, vertical and horizontal subsampling; `orientation` `(B,)`,
    the EXIF orientation of the file; `noise` `(B,)`, standard deviation in grey levels of the white
    noise that was in the luminance before. phi is found before the restoration and stays fixed.

    Rounding and clipping have the derivative of the identity in `forward`. `linearize` instead
    compares the coefficients of x with those of y, each in units of its own error: steps differ
    tenfold between frequencies, and so does what y says about them. With e ~ N(0, q^2 / 12 + n^2),
    n the noise that was there before,

        ||r||^2 / sigma^2 = sum_k (c_k(y) - c_k(x))^2 / (q_k^2 / 12 + n_k^2),

    where sigma is what `estimate_sigma` returns.

    Args:
        quality: of the Independent JPEG Group's scale, 1 to 100. None reads the tables of JPEG
            files, and finds the quality of other files (decoded JPEGs) from their pixels.
        subsampling: of the chrominances; None reads it off too.
        draw_quality: range from which qualities are drawn to degrade clean images.
        noise: standard deviation in [0, 1] of the white noise that was in each channel before the
            compression; None finds it from the coefficients.

    Raises:
        ValueError: for qualities or subsamplings that do not exist, or noise out of its range.
    """

    def __init__(
        self,
        quality: int | None = None,
        subsampling: Subsampling | None = None,
        draw_quality: tuple[int, int] = (10, 40),
        noise: float | None = None,
    ) -> None:
        super().__init__()
        if noise is not None:
            require("noise", noise, 0, below=1, remedy="which is grey levels / 255")
        if quality is not None:
            require("quality", quality, 1, 100, remedy="such as 75")
        require_range("draw_quality", draw_quality, 1, 100)
        if subsampling is not None and subsampling not in SUBSAMPLINGS:
            raise ValueError(f"subsampling {subsampling!r} must be one of {[*SUBSAMPLINGS]}")
        self.estimated = quality is None
        self.quality = quality
        self.subsampling = subsampling
        self.draw_quality = draw_quality
        self.noise = noise
        self._files: list[FileTables | None] = []

    def for_images(
        self,
        photos: Sequence[Photo],
        keys: Sequence[str],  # noqa: ARG002
        degraded: bool = True,
    ) -> Degradation:
        if not (self.estimated and degraded):
            return self
        return self.of_files([photo.tables for photo in photos])

    def of_files(self, files: Sequence[FileTables | None]) -> Jpeg:
        """The same for images whose files have these tables, or show none."""
        bound = copy.copy(self)
        bound._files = [*files]
        return bound

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:  # noqa: ARG002
        if self._files and len(self._files) != len(y):
            raise ValueError(f"{len(self._files)} files were read for a batch of {len(y)} images")
        files, photos = self._files or [None] * len(y), y.cpu()
        rows = [self._read(image, file) for image, file in zip(photos, files, strict=True)]
        noises = [self._noise(image, row) for image, row in zip(photos, rows, strict=True)]
        return _phi(rows, noises, y)

    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        low, high = self.draw_quality if self.quality is None else (self.quality, self.quality)
        factors = SUBSAMPLINGS[self.subsampling or "4:2:0"]
        drawn = [torch.randint(low, high + 1, (), generator=g) for g in generators]
        rows = [FileTables(standard_tables(q), factors, 1) for q in drawn]
        return _phi(rows, [_levels(self.noise or 0.0)] * len(rows), like)

    def forward(self, x: Tensor, phi: Phi) -> Tensor:
        groups, tables = alike(phi), phi["tables"].to(x)

        def compressed(i: int, rows: Rows | None, image: Tensor) -> Tensor:
            _, factors, orientation = groups[i]
            file = stored(image, orientation)
            coefficients = analyze(file, factors, whole=True).quantize(chosen(tables, rows))
            decoded = synthesize(coefficients, size_of(file), factors)
            return upright(clip_straight_through(decoded), orientation)

        return by_group(groups, compressed, x)

    def linearize(self, y: Tensor, x: Tensor, phi: Phi) -> tuple[LinearOperator, Tensor]:
        # Neither a photo nor what was read off it changes from step to step.
        known = _LINEARIZED.get(y)
        if known is None or not known.holds(phi, x):
            operator = WhitenedCoefficients(phi, self._sigma(y, phi), size_of(x))
            known = _LINEARIZED[y] = _Linearized(phi, size_of(x), operator, operator.data(y))
        return known.operator, known.data - known.operator.forward(x)

    def estimate_sigma(self, y: Tensor) -> Tensor:
        """The RMS rounding error of the pixels that the quantisation steps cause, `(B,)`."""
        y = y.nan_to_num()
        return self._sigma(y, self.init(y, y.new_zeros(len(y))))

    def sigma_before(self, phi: Phi) -> Tensor:
        """The RMS noise of the pixels before the compression, `(B,)`, in the units of y."""
        variance = noise_variance(phi["noise"], phi["factors"])[..., None, None]
        groups = alike(phi)
        return by_group(groups, lambda i, _, part: rms_error(part, groups[i][1]), variance)

    def width_before(self, y: Tensor, phi: Phi) -> Tensor:
        """The width in pixels of a Gaussian that the photos had before, by their coefficients.

        Args:
            y: `(B, 3, H, W)` decoded photos in [-1, 1].
            phi: their parameters.

        Returns:
            `(B,)` widths; see `estimators/jpeg_blur.py`.
        """
        found = [
            before_jpeg(stored(image, orientation), tables[0].cpu())
            for image, (tables, _, orientation) in zip(y.cpu(), compressions(phi), strict=True)
        ]
        return y.new_tensor([before.width for before in found])

    def free(self, phi: Phi) -> list[str]:  # noqa: ARG002
        return []

    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        names = {factors: name for name, factors in SUBSAMPLINGS.items()}
        standard = standard_tables(torch.arange(1, 101))
        described = []
        noises = phi["noise"].tolist()
        for (tables, factors, orientation), noise in zip(compressions(phi), noises, strict=True):
            tables = tables.cpu()
            match = (standard == tables).flatten(1).all(1).nonzero()
            described.append(
                {
                    "kind": type(self).__name__,
                    "quality": int(match[0]) + 1 if len(match) else None,
                    "subsampling": names.get(factors, "4:4:0"),
                    "orientation": orientation,
                    "noise": round(noise / _levels(1.0), 4),
                    "tables": tables.long().tolist(),
                }
            )
        return described

    def _read(self, y: Tensor, file: FileTables | None) -> FileTables:
        if file is not None:
            return file
        quality = estimate_quality(y) if self.quality is None else self.quality
        tables = standard_tables(torch.tensor(quality))
        known = self.subsampling
        if known is None and self.quality is None and quality == UNCOMPRESSED:
            # No rounding is seen: what looks subsampled is a soft colour, or compressed otherwise.
            known = "4:4:4"
        factors = estimate_factors(y, tables) if known is None else SUBSAMPLINGS[known]
        return FileTables(tables, factors, 1)

    def _noise(self, y: Tensor, file: FileTables) -> float:
        if self.noise is not None:
            return _levels(self.noise)
        return max(MIN_NOISE, before_jpeg(stored(y, file.orientation), file.tables[0]).noise)

    def _sigma(self, y: Tensor, phi: Phi) -> Tensor:
        # On the CPU, because not every accelerator has double precision.
        groups, photos = alike(phi), y.cpu()
        tables = phi["tables"].cpu().to(y.dtype)
        rows = [
            rounding_variance(stored(image, orientation), table, factors)
            for image, table, (_, factors, orientation) in zip(
                photos, tables, compressions(phi), strict=True
            )
        ]
        variance = torch.stack(rows).to(y.device)
        variance = variance + noise_variance(phi["noise"], phi["factors"])[..., None, None].to(y)
        return by_group(groups, lambda i, _, part: rms_error(part, groups[i][1]), variance)


@dataclass(frozen=True, eq=False)
class _Linearized:
    """What `Jpeg.linearize` has made of a photo.

    Attributes:
        phi: parameters of which it is made.
        size: height and width of x.
        operator: the linear map.
        data: coefficients of the photo.
    """

    phi: Phi
    size: Size
    operator: WhitenedCoefficients
    data: Tensor

    def holds(self, phi: Phi, x: Tensor) -> bool:
        """Whether the parameters are the same tensors, and x is of the same size."""
        same = all(self.phi[name] is value for name, value in phi.items())
        return same and self.size == size_of(x)


_LINEARIZED: Any = WeakTensorKeyDictionary()
"""A `_Linearized` for each tensor of photos, for as long as it exists."""


def _levels(noise: float) -> float:
    """Noise of the luminance in grey levels, given that of each channel in [0, 1]."""
    return 255 * noise * float(colour_matrix(torch.zeros(1))[0].norm())


def _phi(rows: Sequence[FileTables], noises: Sequence[float], like: Tensor) -> Phi:
    phi = Phi(
        tables=torch.stack([row.tables.float() for row in rows]).cpu(),
        factors=torch.tensor([row.factors for row in rows]),
        orientation=torch.tensor([row.orientation for row in rows]),
        noise=torch.tensor(noises, dtype=torch.float32),
    )
    return phi.to(like.device)

"""Blurs of a known shape and an unknown size: straight motion, and defocus."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from d2ir_pl.degradations.convolutional_blur import ConvolutionalBlur, Response
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.degradations.ranges import require_range
from d2ir_pl.errors import require
from d2ir_pl.estimators.kernel_search import most_likely_kernel
from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.convolution import Border

# A moving point is drawn with a Gaussian as wide as linear interpolation (standard deviation of a
# triangle of base 2), the edge of a disk is as soft as a pixel (of a box of side 1). Both stay
# smooth where the exact overlap with the pixel grid has kinks.
PEN = math.sqrt(1 / 6)
EDGE = math.sqrt(1 / 12)
# Below these sizes in pixels the kernels hardly differ from a sharp image's.
MIN_LENGTH, MIN_RADIUS = 1.0, 0.5
# Scatter of what the spectrum shows: log sizes, and the sideways shift of a path's ends in pixels.
LOG_SIZE_SCATTER = 0.04
END_SCATTER = 0.12


def motion_kernel(length: Tensor, angle: Tensor, size: int) -> Tensor:
    """`(B, size, size)` kernels of uniform motion along a straight path, with sum 1.

    k(v) proportional to exp(-q^2 / 2 s^2) [G((L/2 + p) / s) - G((p - L/2) / s)], where p and q
    are v along and across the path, s = `PEN` and G is the normal distribution function: a
    segment of length L, drawn with a Gaussian pen.

    Args:
        length: `(B,)` in pixels, positive.
        angle: `(B,)` in radians, from the x axis toward the y axis, which points down.
        size: side of the kernels, odd.
    """
    direction = (angle[:, None] + _quarter(angle)).sin()
    turned = (direction @ _turned(length, size)).view(len(length), 4, -1)
    half = length[:, None, None] / (2 * math.sqrt(2) * PEN)
    # Beyond the ends +1 and -1 may miss zero by a rounding error.
    profile = torch.erf(half + turned[:, :2]).sum(1).clamp_min(0)
    kernel = profile * (turned[:, 2] * turned[:, 3]).exp()
    return (kernel / kernel.sum(1, keepdim=True)).view(-1, size, size)


def disk_kernel(radius: Tensor, size: int) -> Tensor:
    """`(B, size, size)` disks (pillboxes) with sum 1, k(v) proportional to G((R - |v|) / s).

    s = `EDGE`, and G is the normal distribution function.

    Args:
        radius: `(B,)` in pixels, positive.
        size: side of the kernels, odd.
    """
    distance = _distance(radius, size)
    kernel = torch.erfc((distance - radius[:, None, None]) / (math.sqrt(2) * EDGE))
    return kernel / kernel.sum((1, 2), keepdim=True)


class _ParametricBlur(ConvolutionalBlur):
    """A blur whose unknown sizes start where they make the power spectrum of y most likely."""

    @abstractmethod
    def candidates(self) -> list[Tensor]:
        """Evenly spaced values of each parameter in pixels or radians; a single one where known."""

    @abstractmethod
    def phi(self, values: Tensor) -> Phi:
        """The phi of parameters `(B, P)` in pixels or radians."""

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:
        return self._read(y, sigma_y, rounded=False)

    def init_rounded(self, y: Tensor, sigma_y: Tensor) -> Phi:
        return self._read(y, sigma_y, rounded=True)

    def _read(self, y: Tensor, sigma_y: Tensor, rounded: bool) -> Phi:
        def kernel(values: Tensor) -> Tensor:
            return self.kernel(self.phi(values))

        seen = self.light(y, sigma_y)
        return self.canonicalize(
            self.phi(most_likely_kernel(*seen, self.candidates(), kernel, rounded))
        )

    def _draw(
        self, generators: Sequence[Generator], like: Tensor, ranges: list[tuple[float, float]]
    ) -> Phi:
        u = torch.stack([torch.rand(len(ranges), generator=g) for g in generators]).to(like)
        low, high = torch.tensor(ranges).to(like).T
        return self.canonicalize(self.phi(low + (high - low) * u))


class MotionBlur(_ParametricBlur):
    """Blur by uniform motion along a straight path: of the camera, or of what it looks at.

    y = k * x + n (correlation), k as in `motion_kernel`. phi: `log_length` `(B,)`, natural
    logarithm of the path's length in pixels; `angle` `(B,)` in radians in [0, pi), from the x axis
    toward the y axis, which points down.

    Unknown parameters start from the power spectrum of y (see `kernel_search.py`).

    Args:
        kernel_size: side of the kernel in pixels, odd; paths are shorter than it.
        border: see `Blur`.
        length: the known length in pixels, at least 1; it is then not estimated.
        angle: the known direction in radians; it is then not estimated.
        draw_length: range from which lengths are drawn to degrade clean images.
        response: how the camera has stored light, `linear` or `srgb`; see `ConvolutionalBlur`.

    Raises:
        ValueError: for lengths that are too small or too large for the kernel, or no angle.
    """

    def __init__(
        self,
        kernel_size: int = 21,
        border: Border = "extend",
        length: float | None = None,
        angle: float | None = None,
        draw_length: tuple[float, float] = (3.0, 15.0),
        response: Response = "linear",
    ) -> None:
        super().__init__(kernel_size, border, response)
        self.max_length = kernel_size - 1.0
        _require_size("length", length, MIN_LENGTH, self.max_length)
        require_range("draw_length", draw_length, MIN_LENGTH)
        if angle is not None and not math.isfinite(angle):
            raise ValueError(f"angle {angle} must be a finite number of radians, such as 0.5")
        self.length, self.angle, self.draw_length = length, angle, draw_length
        self.estimated = length is None or angle is None

    def free(self, phi: Phi) -> list[str]:
        known = {"log_length": self.length, "angle": self.angle}
        return [name for name in phi if known[name] is None]

    def kernel(self, phi: Phi) -> Tensor:
        return motion_kernel(phi["log_length"].exp(), phi["angle"], self.kernel_size)

    def candidates(self) -> list[Tensor]:
        # One pixel apart in length, and half a pixel at the ends of the longest path in direction.
        angles = torch.arange(self.kernel_size + 3) * (math.pi / (self.kernel_size + 3))
        return [
            _sizes(self.length, MIN_LENGTH, self.max_length, 1.0),
            angles if self.angle is None else torch.tensor([self.angle]),
        ]

    def phi(self, values: Tensor) -> Phi:
        return Phi(log_length=values[:, 0].log(), angle=values[:, 1])

    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        lengths = self.draw_length if self.length is None else (self.length, self.length)
        angles = (0.0, math.pi) if self.angle is None else (self.angle, self.angle)
        return self._draw(generators, like, [lengths, angles])

    def anchor(self, phi: Phi, start: Phi) -> Tensor:
        """Change of log length, and sideways shift of the path's ends, in units of the scatter."""
        change = (phi["log_length"] - start["log_length"]) / LOG_SIZE_SCATTER
        half = start["log_length"].exp() / 2
        shift = half * (phi["angle"] - start["angle"]).sin() / END_SCATTER
        return change**2 + shift**2

    def canonicalize(self, phi: Phi) -> Phi:
        """Keep the path inside the kernel; half a turn changes nothing."""
        bounds = math.log(MIN_LENGTH), math.log(self.max_length)
        return Phi(log_length=phi["log_length"].clamp(*bounds), angle=phi["angle"] % math.pi)

    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        values = torch.stack([phi["log_length"].exp(), phi["angle"]], 1).tolist()
        rows = zip(super().describe(phi), values, strict=True)
        return [{**row, "length_px": round(n, 4), "angle_rad": round(a, 4)} for row, (n, a) in rows]


class DefocusBlur(_ParametricBlur):
    """Blur of a lens out of focus, by the disk that its aperture makes of a point.

    y = k * x + n (correlation), k as in `disk_kernel`. phi: `log_radius` `(B,)`, natural logarithm
    of the disk's radius in pixels.

    An unknown radius starts from the power spectrum of y (see `kernel_search.py`).

    Args:
        kernel_size: side of the kernel in pixels, odd; disks fit inside it.
        border: see `Blur`.
        radius: the known radius in pixels, at least 0.5; it is then not estimated.
        draw_radius: range from which radii are drawn to degrade clean images.
        response: how the camera has stored light, `linear` or `srgb`; see `ConvolutionalBlur`.

    Raises:
        ValueError: for radii that are too small, or do not fit into the kernel.
    """

    def __init__(
        self,
        kernel_size: int = 21,
        border: Border = "extend",
        radius: float | None = None,
        draw_radius: tuple[float, float] = (1.0, 5.0),
        response: Response = "linear",
    ) -> None:
        super().__init__(kernel_size, border, response)
        self.max_radius = kernel_size / 2 - 0.5
        _require_size("radius", radius, MIN_RADIUS, self.max_radius)
        require_range("draw_radius", draw_radius, MIN_RADIUS)
        self.radius, self.draw_radius = radius, draw_radius
        self.estimated = radius is None

    def kernel(self, phi: Phi) -> Tensor:
        return disk_kernel(phi["log_radius"].exp(), self.kernel_size)

    def candidates(self) -> list[Tensor]:
        return [_sizes(self.radius, MIN_RADIUS, self.max_radius, 0.25)]

    def phi(self, values: Tensor) -> Phi:
        return Phi(log_radius=values[:, 0].log())

    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        radii = self.draw_radius if self.radius is None else (self.radius, self.radius)
        return self._draw(generators, like, [radii])

    def anchor(self, phi: Phi, start: Phi) -> Tensor:
        """Change of log radius in units of the spectrum's scatter."""
        return ((phi["log_radius"] - start["log_radius"]) / LOG_SIZE_SCATTER) ** 2

    def canonicalize(self, phi: Phi) -> Phi:
        """Keep the disk inside the kernel."""
        bounds = math.log(MIN_RADIUS), math.log(self.max_radius)
        return Phi(log_radius=phi["log_radius"].clamp(*bounds))

    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        rows = zip(super().describe(phi), phi["log_radius"].exp().tolist(), strict=True)
        return [{**row, "radius_px": round(radius, 4)} for row, radius in rows]


@kept
def _quarter() -> Tensor:
    """Phases of a sine that make it cos and sin."""
    return torch.tensor([math.pi / 2, 0], dtype=torch.float64)


@kept
def _turned(size: int) -> Tensor:
    """`(2, 4 n)`: products of the direction (cos, sin) with it are p, -p, q and -q at all entries.

    p and q are along and across the direction, in units of sqrt 2 `PEN`.
    """
    i = _places(torch.zeros((), dtype=torch.float64), size) / (math.sqrt(2) * PEN)
    x, y = i.expand(size, size).flatten(), i[:, None].expand(size, size).flatten()
    return torch.stack([torch.cat([x, -x, y, -y]), torch.cat([y, -y, -x, x])])


@kept
def _places(size: int) -> Tensor:
    return torch.arange(size, dtype=torch.float64) - size // 2


@kept
def _distance(size: int) -> Tensor:
    """`(1, size, size)` distance of a kernel's entries from its middle."""
    i = _places(torch.zeros((), dtype=torch.float64), size)
    return (i**2 + i[:, None] ** 2).sqrt()[None]


def _sizes(known: float | None, low: float, high: float, step: float) -> Tensor:
    if known is not None:
        return torch.tensor([known])
    return torch.linspace(low, high, math.ceil((high - low) / step) + 1)


def _require_size(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None:
        require(name, value, low, high, remedy="in pixels: a larger kernel_size holds larger ones")

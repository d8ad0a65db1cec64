"""The protocols by which the field compares restorations with diffusion priors, as data.

A protocol is a degradation of photographs of 256x256 pixels, the noise that is added, the papers
that use it, and what they report. Nothing reported was run here: priors, photographs, kernels and
settings differ between papers, and so do the numbers that they have for one method.

Noise is the standard deviation of values in [-1, 1], to which the programs of these papers add it:
their 0.05 is 0.025 of the range from black to white.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from benchmarks.reported import REPORTED, Reported
from d2ir_pl.degradations import (
    Blur,
    Degradation,
    Downsampling,
    GaussianBlur,
    Grayscale,
    Mask,
    Phi,
)
from d2ir_pl.operators.kernels import gaussian_kernel
from d2ir_pl.operators.linear import Size
from d2ir_pl.operators.shake_paths import trajectory_kernel, walked_kernel

SIZE = 256
"""Side of the photographs in pixels."""
KERNEL_SIDE, WIDTH, INTENSITY = 61, 3.0, 0.5
"""Side of the kernels in pixels, width of the Gaussian one, and how crooked random walks are."""
BOX, MARGIN = 128, 16
"""Side of the missing box in pixels, and its least distance from the border."""

DPS = "DPS (arXiv 2209.14687)"
BLIND_DPS = "BlindDPS (arXiv 2211.10656)"
DAPS = "DAPS (arXiv 2407.01521)"
DDRM = "DDRM (arXiv 2201.11793)"


class Clipped(Degradation):
    """The field's loss of dynamic range: y = clip(a x, -1, 1) + n for x in [-1, 1].

    Args:
        gain: a, 2 in the publications.

    Source: Mardani et al., A Variational Perspective on Solving Inverse Problems with Diffusion
    Models, 2023; Zhang et al., DAPS, 2024.
    """

    def __init__(self, gain: float = 2.0) -> None:
        super().__init__()
        self.gain = gain
        self.estimated = False

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:  # noqa: ARG002
        return Phi(none=y.new_zeros(len(y), 0))

    def draw(self, generators: list[Generator], like: Tensor) -> Phi:  # type: ignore[override]
        return Phi(none=like.new_zeros(len(generators), 0))

    def forward(self, x: Tensor, phi: Phi) -> Tensor:  # noqa: ARG002
        return (self.gain * x).clamp(-1, 1)

    def lift(self, y: Tensor, phi: Phi) -> Tensor:  # noqa: ARG002
        return y / self.gain

    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        return [{"kind": "Clipped", "gain": self.gain} for _ in range(phi.count)]


@dataclass(frozen=True)
class Damage:
    """How one photograph is degraded, and what one who knows of it is told.

    Attributes:
        family: the degradation that methods are told, with phi.
        applied: the degradation that was applied, whose borders nobody is told; often the same.
        phi: its parameters for one image.
        unknown: the degradation as a method has it that is told as little as possible.
        kernel: `(k, k)` blur kernel; None where nothing is blurred.
    """

    family: Degradation
    applied: Degradation
    phi: Phi
    unknown: Degradation
    kernel: Tensor | None = None


@dataclass(frozen=True)
class Protocol:
    """One way to degrade photographs, with its sources.

    Attributes:
        about: the degradation in words.
        config: name of the shipped config that restores it, not knowing phi.
        draw: the damage of one photograph of a size, from its generator.
        noise: standard deviation of the noise that is added to values in [-1, 1].
        papers: the papers that use it.
        reported: what papers report of it; nothing of it was run here.
        blur: whether methods that estimate a free kernel apply.
    """

    about: str
    config: str
    draw: Callable[[Generator, Size], Damage]
    noise: float
    papers: tuple[str, ...]
    reported: tuple[Reported, ...] = ()
    blur: bool = False


def _blurred(kernel: Tensor) -> Damage:
    """A blur whose borders are mirrored, of which methods are told the kernel alone."""
    phi = Phi(logits=kernel.clamp_min(1e-30).log()[None])
    side = kernel.shape[-1]
    return Damage(Blur(side), Blur(side, border="reflect"), phi, Blur(side), kernel)


def _walk(g: Generator, _size: Size) -> Damage:
    return _blurred(walked_kernel(g, KERNEL_SIDE, INTENSITY))


def _trajectory(g: Generator, _size: Size) -> Damage:
    return _blurred(trajectory_kernel(g, KERNEL_SIDE))


def _gaussian(_g: Generator, _size: Size) -> Damage:
    known = {"kernel_size": KERNEL_SIDE, "width": WIDTH}
    family = GaussianBlur(**known)  # type: ignore[arg-type]
    applied = GaussianBlur(**known, border="reflect")  # type: ignore[arg-type]
    phi = family.init(torch.zeros(1, 3, 8, 8), torch.ones(1))
    kernel = gaussian_kernel(WIDTH**2 * torch.eye(2)[None], KERNEL_SIDE)[0]
    return Damage(family, applied, phi, GaussianBlur(KERNEL_SIDE), kernel)


def _smaller(factor: int) -> Callable[[Generator, Size], Damage]:
    def draw(_g: Generator, _size: Size) -> Damage:
        family, applied = Downsampling(factor), Downsampling(factor, border="reflect")
        phi = family.init(torch.zeros(1, 3, 8, 8), torch.ones(1))
        return Damage(family, applied, phi, family)

    return draw


def _masked(mask: Tensor) -> Damage:
    return Damage(Mask(), Mask(), Phi(mask=mask[None]), Mask())


def _box(g: Generator, size: Size) -> Damage:
    """A square box at a random place, `MARGIN` pixels from the border or more."""
    side, margin = (round(n * size[0] / SIZE) for n in (BOX, MARGIN))
    mask = torch.ones(1, *size)
    top, left = (int(torch.randint(margin, n - margin - side + 1, (), generator=g)) for n in size)
    mask[:, top : top + side, left : left + side] = 0
    return _masked(mask)


def _scattered(missing: float) -> Callable[[Generator, Size], Damage]:
    def draw(g: Generator, size: Size) -> Damage:
        order = torch.randperm(size[0] * size[1], generator=g)
        mask = (order >= round(missing * len(order))).float()
        return _masked(mask.view(1, *size))

    return draw


def _grey(_g: Generator, _size: Size) -> Damage:
    family = Grayscale()
    phi = family.init(torch.zeros(1, 3, 8, 8), torch.ones(1))
    return Damage(family, family, phi, family)


def _clipped(_g: Generator, _size: Size) -> Damage:
    return Damage(Clipped(), Clipped(), Phi(none=torch.zeros(1, 0)), Clipped())


_MOTION = Protocol(
    "random walk of intensity 0.5, 61x61",
    "blind_deblur_kernel",
    _walk,
    0.05,
    (DPS, DAPS),
    REPORTED["motion"],
    blur=True,
)

PROTOCOLS: dict[str, Protocol] = {
    "motion": _MOTION,
    "motion_blind": replace(
        _MOTION, noise=0.02, papers=(BLIND_DPS,), reported=REPORTED["motion_blind"]
    ),
    "motion_trajectory": replace(
        _MOTION,
        about="trajectory of Boracchi and Foi 2012, 60 pixels long, 61x61",
        draw=_trajectory,
        noise=0.01,
        papers=("Boracchi and Foi, IEEE Transactions on Image Processing 2012",),
        reported=(),
    ),
    "gaussian": Protocol(
        "Gaussian of width 3, 61x61",
        "blind_deblur",
        _gaussian,
        0.05,
        (DPS, DAPS, BLIND_DPS + " with noise 0.02"),
        REPORTED["gaussian"],
        blur=True,
    ),
    "sr4": Protocol(
        "four times smaller, bicubic",
        "super_resolution_x4",
        _smaller(4),
        0.05,
        (DPS, DAPS),
        REPORTED["sr4"],
    ),
    "sr8": Protocol(
        "eight times smaller, bicubic", "super_resolution_x4", _smaller(8), 0.05, (DDRM,)
    ),
    "box": Protocol(
        "a box of 128x128 missing", "inpainting", _box, 0.05, (DPS, DAPS), REPORTED["box"]
    ),
    "random70": Protocol(
        "70 % of the pixels missing", "inpainting_sparse", _scattered(0.7), 0.05, (DAPS,)
    ),
    "random92": Protocol(
        "92 % of the pixels missing",
        "inpainting_sparse",
        _scattered(0.92),
        0.05,
        (DPS,),
        REPORTED["random92"],
    ),
    "colour": Protocol(
        "colours lost",
        "colorization",
        _grey,
        0.01,
        (DDRM, "DDNM (arXiv 2212.00490)"),
    ),
    "hdr": Protocol(
        "twice as bright, clipped",
        "hdr",
        _clipped,
        0.05,
        (DAPS, "RED-diff (arXiv 2305.04391)"),
        REPORTED["hdr"],
    ),
}
"""The protocols by their names."""


def photograph(pixels: Tensor, size: int) -> Tensor:
    """The middle square of a photograph `(3, H, W)`, its shorter side brought to `size` pixels."""
    factor = size / min(pixels.shape[-2:])
    h, w = (max(size, round(n * factor)) for n in pixels.shape[-2:])
    x = F.interpolate(pixels[None], (h, w), mode="bicubic", antialias=True)[0].clamp(-1, 1)
    top, left = (h - size) // 2, (w - size) // 2
    return x[:, top : top + size, left : left + size]

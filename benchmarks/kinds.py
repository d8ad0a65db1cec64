"""The kinds of damage: how an image is damaged at random, and which shipped config restores it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from d2ir_pl.degradations import (
    Blur,
    Compose,
    DefocusBlur,
    Degradation,
    Downsampling,
    Exposures,
    Fading,
    GaussianBlur,
    Grayscale,
    Identity,
    Jpeg,
    Light,
    Mask,
    MotionBlur,
    Phi,
)
from d2ir_pl.degradations.parametric_blur import disk_kernel, motion_kernel

RADIUS = 10
"""Radius in pixels of the blur kernels."""

Truth = dict[str, Any]
"""What is known about one image: the numbers in a set's metadata, and its kernel or mask."""

Draw = Callable[[Generator, int], Truth]
"""Random truth about an image whose side has so many pixels, with its noise in [0, 1]."""

Parameters = Callable[[list[Truth], Tensor], Phi]
"""The truth about images as parameters of a family; the tensor is the degraded images."""


@dataclass(frozen=True)
class Kind:
    """A task before it has images.

    Attributes:
        config: name of the shipped config that restores it.
        draw: random truth about an image.
        family: the family of degradations, as one uses it who knows phi.
        phi: the truth as parameters of the family.
        border: what lies outside an image when it is blurred (`mirrored`, `cropped` or `wrapped`);
            None for other degradations.
    """

    config: str
    draw: Draw
    family: Callable[[], Degradation]
    phi: Parameters
    border: str | None = None


def _uniform(generator: Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


# ---- Random truth ----


def _fixed(**truth: float) -> Draw:
    return lambda _generator, _size: dict(truth)


def _gaussian(noise: float, narrowest: float = 0.8, widest: float = 2.5) -> Draw:
    return lambda g, _size: {"sigma": _uniform(g, narrowest, widest), "noise": noise}


def _soft(g: Generator, size: int) -> Truth:
    return _gaussian(_uniform(g, 0.0, 0.02))(g, size)


def _grainy(g: Generator, _size: int) -> Truth:
    return {"noise": _uniform(g, 0.0, 0.04)}


def _anisotropic(g: Generator, _size: int) -> Truth:
    sigma = [_uniform(g, 1.6, 3.0), _uniform(g, 0.5, 1.1)]
    return {"sigma": sigma, "theta": _uniform(g, 0, math.pi), "noise": 0.02}


def _motion(g: Generator, _size: int) -> Truth:
    phi = Blur(2 * RADIUS + 1).draw([g], torch.zeros(1))
    return {"kernel": phi["logits"][0].exp(), "noise": 0.01}


def _straight(g: Generator, _size: int) -> Truth:
    length, angle = _uniform(g, 3, 13), _uniform(g, 0, math.pi)
    (kernel,) = motion_kernel(torch.tensor([length]), torch.tensor([angle]), 2 * RADIUS + 1)
    return {"length": length, "angle": angle, "kernel": kernel, "noise": 0.02}


def _out_of_focus(g: Generator, _size: int) -> Truth:
    radius = _uniform(g, 1, 4)
    (kernel,) = disk_kernel(torch.tensor([radius]), 2 * RADIUS + 1)
    return {"radius": radius, "kernel": kernel, "noise": 0.02}


def _print(g: Generator, _size: int) -> Truth:
    phi = Fading().draw([g], torch.zeros(1))
    return {name: phi[name][0] for name in phi} | {"noise": 0.01}


def _random_mask(kept: float) -> Draw:
    def draw(g: Generator, size: int) -> Truth:
        return {"mask": (torch.rand(1, size, size, generator=g) < kept).float(), "noise": 0.05}

    return draw


def _box(noise: float) -> Draw:
    def draw(g: Generator, size: int) -> Truth:
        side = size * 5 // 16
        top, left = (int(_uniform(g, size / 8, size * 9 / 16)) for _ in range(2))
        mask = torch.ones(1, size, size)
        mask[:, top : top + side, left : left + side] = 0
        return {"mask": mask, "noise": noise}

    return draw


def _dark(g: Generator, _size: int) -> Truth:
    return {"gain": _uniform(g, 0.15, 0.3), "noise": 0.01}


def _old(g: Generator, _size: int) -> Truth:
    quality = int(torch.randint(40, 81, (), generator=g))
    return {"width": _uniform(g, 0.8, 1.6), "quality": quality, "noise": 0.0}


# ---- Truth as parameters ----


def _widths(truths: list[Truth], _y: Tensor) -> Phi:
    return Phi(log_width=torch.tensor([[t["sigma"]] for t in truths]).log())


def _ellipses(truths: list[Truth], _y: Tensor) -> Phi:
    log_width = torch.tensor([t["sigma"] for t in truths]).log()
    return Phi(log_width=log_width, angle=torch.tensor([t["theta"] for t in truths]))


def _kernels(truths: list[Truth], _y: Tensor) -> Phi:
    return Phi(logits=torch.stack([t["kernel"] for t in truths]).clamp_min(1e-30).log())


def _masks(truths: list[Truth], _y: Tensor) -> Phi:
    return Phi(mask=torch.stack([t["mask"] for t in truths]))


def _faded(truths: list[Truth], _y: Tensor) -> Phi:
    names = ("log_contrast", "offset")
    return Phi({name: torch.stack([t[name] for t in truths]) for name in names})


def _known(family: Callable[[Truth], Degradation]) -> Parameters:
    """Parameters of a degradation that is told the truth about each image."""

    def phi(truths: list[Truth], y: Tensor) -> Phi:
        return Phi.join(
            family(truth).init(y[b : b + 1], torch.zeros(1)) for b, truth in enumerate(truths)
        )

    return phi


def _parameter_free(family: Callable[[], Degradation]) -> Parameters:
    return _known(lambda _truth: family())


# ---- Kinds ----


def _blur(noise: float, border: str) -> Kind:
    return Kind("blind_deblur", _gaussian(noise), GaussianBlur, _widths, border)


def _compressed(quality: int) -> Kind:
    known = _known(lambda truth: Jpeg(truth["quality"]))
    return Kind("jpeg", _fixed(quality=quality, noise=0.0), Jpeg, known)


def _white(noise: float) -> Kind:
    return Kind("denoising", _fixed(noise=noise), Identity, _parameter_free(Identity))


def _aged(width: float | None = None, quality: int | None = None) -> Compose:
    return Compose([GaussianBlur(width=width), Downsampling(2), Jpeg(quality, "4:2:0")])


TASKS: dict[str, Kind] = {
    "blur_gaussian": _blur(0.02, "mirrored"),
    "blur_gaussian_noisy": _blur(0.05, "mirrored"),
    "blur_gaussian_cropped": _blur(0.02, "cropped"),
    "blur_gaussian_wrapped": _blur(0.02, "wrapped"),
    "blur_anisotropic": Kind(
        "blind_deblur_anisotropic",
        _anisotropic,
        lambda: GaussianBlur(isotropic=False),
        _ellipses,
        "mirrored",
    ),
    "blur_motion": Kind("blind_deblur_kernel", _motion, Blur, _kernels, "mirrored"),
    "super_resolution_x4": Kind(
        "super_resolution_x4", _fixed(noise=0.05), Downsampling, _parameter_free(Downsampling)
    ),
    "super_resolution_x2_blind": Kind(
        "super_resolution_blind",
        _gaussian(0.02, 1.2, 2.2),
        lambda: Downsampling(2, "gaussian"),
        _widths,
    ),
    "inpainting_random": Kind("inpainting_sparse", _random_mask(0.08), Mask, _masks),
    "inpainting_box": Kind("inpainting", _box(0.0), Mask, _masks),
    "colorization": Kind("colorization", _fixed(noise=0.0), Grayscale, _parameter_free(Grayscale)),
    "low_light": Kind("low_light", _dark, Light, _known(lambda truth: Light(gain=truth["gain"]))),
    "jpeg": _compressed(12),
    "old_photo": Kind(
        "old_photo", _old, _aged, _known(lambda truth: _aged(truth["width"], truth["quality"]))
    ),
    "denoising": _white(0.1),
    "hdr": Kind("hdr", _fixed(noise=0.01), Exposures, _parameter_free(Exposures)),
}
"""The tasks of the quality table."""

OTHERS: dict[str, Kind] = {
    "blur_straight": Kind(
        "deblur_motion",
        _straight,
        MotionBlur,
        _known(lambda truth: MotionBlur(length=truth["length"], angle=truth["angle"])),
        "mirrored",
    ),
    "blur_defocus": Kind(
        "deblur_defocus",
        _out_of_focus,
        DefocusBlur,
        _known(lambda truth: DefocusBlur(radius=truth["radius"])),
        "mirrored",
    ),
    "faded": Kind("faded", _print, Fading, _faded),
    "grainy": Kind("denoising", _grainy, Identity, _parameter_free(Identity)),
    "soft": Kind("blind_deblur", _soft, GaussianBlur, _widths, "cropped"),
}
"""Damage of which the quality table has no row."""

CLEAN = Kind("denoising", _fixed(noise=0.0), Identity, _parameter_free(Identity))
"""No damage at all."""

_RANGES = {"width": (0.8, 2.0), "gain": (0.15, 0.35), "quality": (30, 80)}


def _chain(truth: Truth) -> Compose:
    """Degradations in the order in which a camera and a program apply them."""
    parts: list[Degradation] = []
    if "width" in truth:
        parts.append(GaussianBlur(width=truth["width"], border="reflect"))
    if "gain" in truth:
        parts.append(Light(gain=truth["gain"], map_size=0))
    if "quality" in truth:
        parts.append(Jpeg(truth["quality"], "4:2:0"))
    return Compose(parts)


def _chained(*names: str, noise: float = 0.0) -> Kind:
    def draw(g: Generator, _size: int) -> Truth:
        truth: Truth = {name: _uniform(g, *_RANGES[name]) for name in names}
        if "quality" in truth:
            truth["quality"] = round(truth["quality"])
        return {**truth, "noise": noise}

    example = dict.fromkeys(names, 1)
    return Kind("auto", draw, lambda: _chain(example), _known(_chain))


CHAINS = {
    "blur_jpeg": _chained("width", "quality"),
    "blur_low_light": _chained("width", "gain", noise=0.01),
    "low_light_jpeg": _chained("gain", "quality"),
    "blur_low_light_jpeg": _chained("width", "gain", "quality"),
}
"""Damage that no shipped config is for; `auto` has to find what happened."""


GRADES = {
    **{f"denoising_{sigma}": _white(sigma) for sigma in (0.025, 0.05)},
    "inpainting_half": Kind("inpainting_sparse", _random_mask(0.5), Mask, _masks),
    "inpainting_box_noisy": Kind("inpainting", _box(0.02), Mask, _masks),
}
"""Damage of the kinds of `TASKS` in other strengths."""


def kind(name: str) -> Kind:
    """The kind of damage with this name, that of a grade, a chain or `clean` included."""
    return {**TASKS, **OTHERS, **GRADES, **CHAINS, "clean": CLEAN}[name]

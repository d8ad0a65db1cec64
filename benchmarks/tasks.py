"""Degraded images with the truth about them: made of public-domain photographs, or read from disk.

Each task names the shipped config that restores it. Degrading is done here on the clean image with
mirrored borders (or cropped, or wrapped ones), in a way that the restoring side is not told of.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from d2ir_pl.degradations import (
    Blur,
    Compose,
    Degradation,
    Downsampling,
    Exposures,
    GaussianBlur,
    Grayscale,
    Identity,
    Jpeg,
    Light,
    Mask,
    Phi,
)
from d2ir_pl.image_io import read_image
from d2ir_pl.operators.kernels import gaussian_kernel
from d2ir_pl.randomness import image_generator, normal_like

# Photographs in the public domain (or CC0) that scikit-image's wheel carries.
PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "coins", "gravel", "hubble_deep_field")
PHOTOGRAPHS += ("rocket",)
GREY = ("camera", "coins", "gravel")
"""Those without colours to be found again."""
SIZE = 128
"""Side of the crops that are made of them."""
RADIUS = 10
_NUMPY_BORDER = {"mirrored": "reflect", "wrapped": "wrap"}


@dataclass(frozen=True)
class Task:
    """Degraded images, and everything that is known about them.

    Attributes:
        name: of the task.
        config: the shipped config that restores it, not knowing phi.
        names: one per image.
        y: `(B, 3, h, w)` or `(B, S, 3, h, w)` degraded, in [-1, 1].
        reference: `(B, 3, H, W)` clean.
        degradation: the family, as one uses it who knows phi.
        phi: the truth.
        kernel: `(B, k, k)` true blur kernels, where there are any.
    """

    name: str
    config: str
    names: list[str]
    y: Tensor
    reference: Tensor
    degradation: Degradation
    phi: Phi
    kernel: Tensor | None = None

    def part(self, rows: slice) -> Task:
        return replace(
            self,
            names=self.names[rows],
            y=self.y[rows],
            reference=self.reference[rows],
            phi=self.phi.select(rows),
            kernel=None if self.kernel is None else self.kernel[rows],
        )

    def shown(self) -> Tensor:
        """y at the size of the clean images, enlarged by bicubic interpolation if smaller."""
        if self.y.ndim == 5:
            return self.y[:, self.y.shape[1] // 2]
        if self.y.shape == self.reference.shape:
            return self.y
        size = self.reference.shape[-2:]
        return F.interpolate(self.y, size, mode="bicubic", antialias=True).clamp(-1, 1)


Truth = dict[str, Any]
"""What is known about one image: the numbers in a set's metadata, and its files."""


@dataclass(frozen=True)
class Kind:
    """A task before it has images.

    Attributes:
        config: the shipped config that restores it.
        draw: random truth about an image of a size, with its noise in [0, 1].
        family: of the degradation, for one who knows phi.
        phi: the truth as parameters of the family, for what the images are degraded to.
        border: what lies outside an image when it is blurred; None for other degradations.
    """

    config: str
    draw: Callable[[Generator, int], Truth]
    family: Callable[[], Degradation]
    phi: Callable[[list[Truth], Tensor], Phi]
    border: str | None = None


def _uniform(generator: Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _gaussian(noise: float) -> Callable[[Generator, int], Truth]:
    return lambda g, size: {"sigma": _uniform(g, 0.8, 2.5), "noise": noise}


def _anisotropic(g: Generator, size: int) -> Truth:
    sigma = [_uniform(g, 1.6, 3.0), _uniform(g, 0.5, 1.1)]
    return {"sigma": sigma, "theta": _uniform(g, 0, math.pi), "noise": 0.02}


def _motion(g: Generator, size: int) -> Truth:
    phi = Blur(2 * RADIUS + 1).draw([g], torch.zeros(1))
    return {"kernel": phi["logits"][0].exp(), "noise": 0.01}


def _widths(truths: list[Truth], y: Tensor) -> Phi:
    return Phi(log_width=torch.tensor([[t["sigma"]] for t in truths]).log())


def _ellipses(truths: list[Truth], y: Tensor) -> Phi:
    log_width = torch.tensor([t["sigma"] for t in truths]).log()
    return Phi(log_width=log_width, angle=torch.tensor([t["theta"] for t in truths]))


def _kernels(truths: list[Truth], y: Tensor) -> Phi:
    return Phi(logits=torch.stack([t["kernel"] for t in truths]).clamp_min(1e-30).log())


def _known(family: Callable[[Truth], Degradation]) -> Callable[[list[Truth], Tensor], Phi]:
    """Parameters of a degradation that is told the truth about each image."""

    def phi(truths: list[Truth], y: Tensor) -> Phi:
        return Phi.join(
            family(truth).init(y[b : b + 1], torch.zeros(1)) for b, truth in enumerate(truths)
        )

    return phi


def _random_mask(kept: float) -> Callable[[Generator, int], Truth]:
    def draw(g: Generator, size: int) -> Truth:
        return {"mask": (torch.rand(1, size, size, generator=g) < kept).float(), "noise": 0.05}

    return draw


def _box(g: Generator, size: int) -> Truth:
    side = size * 5 // 16
    top, left = (int(_uniform(g, size / 8, size * 9 / 16)) for _ in range(2))
    mask = torch.ones(1, size, size)
    mask[:, top : top + side, left : left + side] = 0
    return {"mask": mask, "noise": 0.0}


def _masks(truths: list[Truth], y: Tensor) -> Phi:
    return Phi(mask=torch.stack([t["mask"] for t in truths]))


def _old(g: Generator, size: int) -> Truth:
    quality = int(torch.randint(40, 81, (), generator=g))
    return {"width": _uniform(g, 0.8, 1.6), "quality": quality, "noise": 0.0}


def _aged(width: float | None = None, quality: int | None = None) -> Compose:
    return Compose([GaussianBlur(width=width), Downsampling(2), Jpeg(quality, "4:2:0")])


_BLUR: dict[str, Any] = {"family": GaussianBlur, "phi": _widths}
TASKS: dict[str, Kind] = {
    "blur_gaussian": Kind("blind_deblur", _gaussian(0.02), border="mirrored", **_BLUR),
    "blur_gaussian_noisy": Kind("blind_deblur", _gaussian(0.05), border="mirrored", **_BLUR),
    "blur_gaussian_cropped": Kind("blind_deblur", _gaussian(0.02), border="cropped", **_BLUR),
    "blur_gaussian_wrapped": Kind("blind_deblur", _gaussian(0.02), border="wrapped", **_BLUR),
    "blur_anisotropic": Kind(
        "blind_deblur_anisotropic",
        _anisotropic,
        lambda: GaussianBlur(isotropic=False),
        _ellipses,
        "mirrored",
    ),
    "blur_motion": Kind("blind_deblur_kernel", _motion, Blur, _kernels, "mirrored"),
    "super_resolution_x4": Kind(
        "super_resolution_x4",
        lambda g, size: {"noise": 0.05},
        Downsampling,
        _known(lambda truth: Downsampling()),
    ),
    "super_resolution_x2_blind": Kind(
        "super_resolution_blind",
        lambda g, size: {"sigma": _uniform(g, 1.2, 2.2), "noise": 0.02},
        lambda: Downsampling(2, "gaussian"),
        _widths,
    ),
    "inpainting_random": Kind("inpainting_sparse", _random_mask(0.08), Mask, _masks),
    "inpainting_box": Kind("inpainting", _box, Mask, _masks),
    "colorization": Kind(
        "colorization", lambda g, size: {"noise": 0.0}, Grayscale, _known(lambda truth: Grayscale())
    ),
    "low_light": Kind(
        "low_light",
        lambda g, size: {"gain": _uniform(g, 0.15, 0.3), "noise": 0.01},
        Light,
        _known(lambda truth: Light(gain=truth["gain"])),
    ),
    "jpeg": Kind(
        "jpeg",
        lambda g, size: {"quality": 12, "noise": 0.0},
        Jpeg,
        _known(lambda truth: Jpeg(truth["quality"])),
    ),
    "old_photo": Kind(
        "old_photo", _old, _aged, _known(lambda truth: _aged(truth["width"], truth["quality"]))
    ),
    "denoising": Kind(
        "denoising", lambda g, size: {"noise": 0.1}, Identity, _known(lambda truth: Identity())
    ),
    "hdr": Kind(
        "hdr", lambda g, size: {"noise": 0.01}, Exposures, _known(lambda truth: Exposures())
    ),
}


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
    ranges = {"width": (0.8, 2.0), "gain": (0.15, 0.35), "quality": (30, 80)}

    def draw(g: Generator, size: int) -> Truth:
        truth: Truth = {name: _uniform(g, *ranges[name]) for name in names}
        if "quality" in truth:
            truth["quality"] = round(truth["quality"])
        return {**truth, "noise": noise}

    example = dict.fromkeys(names, 1)
    return Kind("auto", draw, lambda: _chain(example), _known(_chain))


# Damage that no shipped config is for, for benchmarks/auto.py.
CHAINS = {
    "blur_jpeg": _chained("width", "quality"),
    "blur_low_light": _chained("width", "gain", noise=0.01),
    "low_light_jpeg": _chained("gain", "quality"),
    "blur_low_light_jpeg": _chained("width", "gain", "quality"),
}
CLEAN = Kind(
    "denoising", lambda g, size: {"noise": 0.0}, Identity, _known(lambda truth: Identity())
)


def make(name: str, size: int = SIZE) -> Task:
    """Degrade the centres of the photographs, at half their size, as `TASKS` says.

    Crops of another size than the default carry it in their names.
    """
    import skimage

    kind = _kind(name)
    folder = Path(skimage.__file__).parent / "data"
    photographs, truths, generators = [], [], []
    names = [n for n in PHOTOGRAPHS if kind.family is not Grayscale or n not in GREY]
    for photograph in names:
        (path,) = folder.glob(f"{photograph}.*")
        photographs.append(_centre(read_image(path).pixels, size + 2 * RADIUS))
        generators.append(image_generator(0, f"{name}/{photograph}"))
        truths.append(kind.draw(generators[-1], size))
    wide = torch.stack(photographs)
    clean = wide[..., RADIUS:-RADIUS, RADIUS:-RADIUS]
    labels = names if size == SIZE else [f"{n}_{size}" for n in names]
    return _task(name, labels, truths, clean, _degrade(kind, wide, truths, generators))


def _degrade(
    kind: Kind, wide: Tensor, truths: list[Truth], generators: Sequence[Generator]
) -> Tensor:
    """y in 8 bits; `wide` carries a margin, which only `cropped` borders look at."""
    clean = wide[..., RADIUS:-RADIUS, RADIUS:-RADIUS]
    if kind.border is not None:
        kernels = [_kernel(truth) for truth in truths]
        y = torch.stack([_blur(x, k, kind.border) for x, k in zip(wide, kernels, strict=True)])
    else:
        family = kind.family()
        phi = (
            kind.phi(truths, clean)
            if kind.family is not Exposures
            else family.draw(generators, clean)
        )
        y = family(family.frame.embed(clean), phi)
    noise = torch.tensor([2 * truth.get("noise", 0.0) for truth in truths])
    n = normal_like(y, generators)
    if kind.family is Grayscale:
        n = n[:, :1]
    y = y + noise.view(-1, *[1] * (y.ndim - 1)) * n
    if kind.family is Mask:
        mask = torch.stack([truth["mask"] for truth in truths])
        y = mask * y - (1 - mask)
    return _eight_bits(y)


def read(name: str, folder: Path) -> Task:
    """A degraded set from disk: `<folder>/<task>/*.png`, `reference/`, `metadata.json`.

    True kernels lie beside the images as `.npy`, masks under `mask/`. A wrapped set is made of the
    references.
    """
    kind = TASKS[name]
    source = "blur_gaussian" if name == "blur_gaussian_wrapped" else name
    metadata = json.loads((folder / "metadata.json").read_text())[source]
    names = sorted(metadata)
    references = folder / ("reference_cropped" if name.endswith("cropped") else "reference")
    clean = torch.stack([read_image(references / f"{n}.png").pixels for n in names])
    truths: list[Truth] = [dict(metadata[n]) for n in names]
    for truth in truths:
        truth.pop("kernel", None)  # a description in words
    for truth, n in zip(truths, names, strict=True):
        if (file := folder / source / f"{n}.npy").is_file():
            kernel = torch.from_numpy(np.load(file)).float()
            truth["kernel"] = F.pad(kernel, (RADIUS - kernel.shape[-1] // 2,) * 4)
        if (file := folder / source / "mask" / f"{n}.png").is_file():
            truth["mask"] = (read_image(file).pixels[:1] > 0).float()
    if name == "blur_gaussian_wrapped":
        generators = [image_generator(0, f"{name}/{n}") for n in names]
        y = _degrade(kind, F.pad(clean, (RADIUS,) * 4, mode="reflect"), truths, generators)
    else:
        y = torch.stack([read_image(folder / name / f"{n}.png").pixels for n in names])
    return _task(name, names, truths, clean, y)


def on_disk(folder: Path) -> list[str]:
    """The tasks that a folder holds."""
    known = set(json.loads((folder / "metadata.json").read_text())) | {"blur_gaussian_wrapped"}
    return [name for name in TASKS if name in known]


def _kind(name: str) -> Kind:
    return {**TASKS, **CHAINS, "clean": CLEAN}[name]


def _task(name: str, names: list[str], truths: list[Truth], clean: Tensor, y: Tensor) -> Task:
    kind = _kind(name)
    blurred = "kernel" in truths[0] or "sigma" in truths[0]
    kernel = torch.stack([_kernel(truth) for truth in truths]) if blurred else None
    phi = kind.phi(truths, y)
    return Task(name, kind.config, names, y, clean, kind.family(), phi, kernel)


def _kernel(truth: Truth) -> Tensor:
    if "kernel" in truth:
        return truth["kernel"]
    sigma, angle = truth["sigma"], truth.get("theta", 0.0)
    major, minor = sigma if isinstance(sigma, list) else (sigma, sigma)
    r = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    covariance = r @ torch.diag(torch.tensor([major**2, minor**2])) @ r.T
    return gaussian_kernel(covariance[None], 2 * RADIUS + 1)[0]


def _blur(x: Tensor, kernel: Tensor, border: str) -> Tensor:
    """Correlate; x carries a margin, which only `cropped` borders look at."""
    if border != "cropped":
        inner = x[:, RADIUS:-RADIUS, RADIUS:-RADIUS].numpy()
        width = ((0, 0), (RADIUS, RADIUS), (RADIUS, RADIUS))
        x = torch.from_numpy(np.pad(inner, width, _NUMPY_BORDER[border]))
    return F.conv2d(x[:, None], kernel[None, None])[:, 0]


def _centre(x: Tensor, size: int) -> Tensor:
    factor = max(0.5, size / min(x.shape[-2:]))
    h, w = (max(size, round(n * factor)) for n in x.shape[-2:])
    x = F.interpolate(x[None], (h, w), mode="bicubic", antialias=True)[0].clamp(-1, 1)
    top, left = (h - size) // 2, (w - size) // 2
    return x[:, top : top + size, left : left + size]


def _eight_bits(y: Tensor) -> Tensor:
    return ((y.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1

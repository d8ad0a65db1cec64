"""Degraded sets of public-domain photographs, made anew with frozen seeds, or read from disk."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.degradations import Blur
from d2ir_pl.degradations.kernels import gaussian_kernel
from d2ir_pl.image_io import read_image
from d2ir_pl.noise import image_generator, normal_like

# Photographs in the public domain (or CC0) that scikit-image's wheel carries.
PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "coins", "gravel", "hubble_deep_field")
PHOTOGRAPHS += ("rocket",)
RADIUS = 10
TASKS = {
    # name: (kind of kernel, border, noise in [0, 1])
    "blur_gaussian": ("gaussian", "mirrored", 0.02),
    "blur_gaussian_noisy": ("gaussian", "mirrored", 0.05),
    "blur_gaussian_cropped": ("gaussian", "cropped", 0.02),
    "blur_gaussian_wrapped": ("gaussian", "wrapped", 0.02),
    "blur_anisotropic": ("anisotropic", "mirrored", 0.02),
    "blur_motion": ("motion", "mirrored", 0.01),
}
_NUMPY_BORDER = {"mirrored": "reflect", "wrapped": "wrap"}


@dataclass
class Task:
    """Degraded images with the truth about them.

    Attributes:
        names: one per image.
        y: `(B, 3, H, W)` degraded, in [-1, 1].
        reference: `(B, 3, H, W)` clean.
        kernel: `(B, 21, 21)` true kernels, applied as correlation.
    """

    name: str
    names: list[str]
    y: Tensor
    reference: Tensor
    kernel: Tensor

    def part(self, rows: slice) -> Task:
        return Task(
            self.name, self.names[rows], self.y[rows], self.reference[rows], self.kernel[rows]
        )


def make(name: str, size: int = 128) -> Task:
    """Degrade the centres of the photographs, at half their size, as `TASKS` says."""
    import skimage

    kind, border, noise = TASKS[name]
    folder = Path(skimage.__file__).parent / "data"
    clean, degraded, kernels = [], [], []
    for photograph in PHOTOGRAPHS:
        (path,) = folder.glob(f"{photograph}.*")
        x = _centre(read_image(path).pixels, size + 2 * RADIUS)
        generator = image_generator(0, f"{name}/{photograph}")
        kernel = _kernel(kind, generator)
        y = _blur(x, kernel, border)
        y = y + 2 * noise * normal_like(y[None], [generator])[0]
        clean.append(x[:, RADIUS:-RADIUS, RADIUS:-RADIUS])
        degraded.append(_eight_bits(y))
        kernels.append(kernel)
    return Task(
        name, list(PHOTOGRAPHS), torch.stack(degraded), torch.stack(clean), torch.stack(kernels)
    )


def read(name: str, folder: Path) -> Task:
    """A degraded set from disk: `<folder>/<task>/*.png`, `reference/`, `metadata.json`.

    Kernels come from `<task>/<name>.npy`, or from `sigma` in the metadata. A wrapped set is made
    from the references.
    """
    source = "blur_gaussian" if name == "blur_gaussian_wrapped" else name
    metadata = json.loads((folder / "metadata.json").read_text())[source]
    names = sorted(metadata)
    cropped = name.endswith("cropped")
    references = folder / ("reference_cropped" if cropped else "reference")
    reference = torch.stack([read_image(references / f"{n}.png").pixels for n in names])
    kernel = torch.stack([_true_kernel(folder / source / f"{n}.npy", metadata[n]) for n in names])
    if name == "blur_gaussian_wrapped":
        generators = [image_generator(0, f"{name}/{n}") for n in names]
        noise = [2 * metadata[n]["noise"] for n in names]
        padded = F.pad(reference, (RADIUS,) * 4, mode="reflect")
        y = torch.stack([_blur(x, k, "wrapped") for x, k in zip(padded, kernel, strict=True)])
        y = y + torch.tensor(noise)[:, None, None, None] * normal_like(y, generators)
        return Task(name, names, _eight_bits(y), reference, kernel)
    y = torch.stack([read_image(folder / name / f"{n}.png").pixels for n in names])
    return Task(name, names, y, reference, kernel)


def _true_kernel(path: Path, metadata: dict[str, float]) -> Tensor:
    if path.is_file():
        kernel = torch.from_numpy(np.load(path)).float()
        margin = RADIUS - kernel.shape[-1] // 2
        return F.pad(kernel, (margin,) * 4)
    return gaussian_kernel(torch.eye(2)[None] * metadata["sigma"] ** 2, 2 * RADIUS + 1)[0]


def _centre(x: Tensor, size: int) -> Tensor:
    factor = max(0.5, size / min(x.shape[-2:]))
    h, w = (max(size, round(n * factor)) for n in x.shape[-2:])
    x = F.interpolate(x[None], (h, w), mode="bicubic", antialias=True)[0].clamp(-1, 1)
    top, left = (h - size) // 2, (w - size) // 2
    return x[:, top : top + size, left : left + size]


def _kernel(kind: str, generator: torch.Generator) -> Tensor:
    if kind == "motion":
        phi = Blur(2 * RADIUS + 1).draw([generator], torch.zeros(1))
        return phi["logits"][0].exp()
    u = torch.rand(3, generator=generator)
    if kind == "gaussian":
        width = 0.8 + 1.7 * float(u[0])
        covariance = torch.eye(2) * width**2
    else:
        major, minor = 1.6 + 1.4 * float(u[0]), 0.5 + 0.6 * float(u[1])
        angle = math.pi * float(u[2])
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


def _eight_bits(y: Tensor) -> Tensor:
    return ((y.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1

"""Degraded images with the truth about them: made of public-domain photographs, or read from disk.

Each task names the shipped config that restores it. Degrading is done here on the clean image with
mirrored borders (or cropped, or wrapped ones), in a way that the restoring side is not told of.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from benchmarks.kinds import RADIUS, TASKS, Kind, Truth, kind
from d2ir_pl.degradations import Degradation, Exposures, Grayscale, Mask, Phi
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.image_io import EXTENSIONS, read_image
from d2ir_pl.operators.kernels import gaussian_kernel

GREY = ("camera", "coins", "gravel")
"""Photographs without colours that could be found again."""

PHOTOGRAPHS = (
    *("astronaut", "camera", "chelsea", "coffee", "coins", "gravel", "hubble_deep_field"),
    "rocket",
)
"""Photographs in the public domain (or CC0) that scikit-image's wheel carries."""

SIZE = 128
"""Side in pixels of the crops that are made of them."""

_NUMPY_BORDER: dict[str, Literal["reflect", "wrap"]] = {"mirrored": "reflect", "wrapped": "wrap"}


@dataclass(frozen=True)
class Task:
    """Degraded images, and everything that is known about them.

    Attributes:
        name: name of the task.
        config: name of the shipped config that restores it, not knowing phi.
        names: names of the images.
        y: `(B, 3, h, w)` or `(B, S, 3, h, w)` in [-1, 1], the degraded images.
        reference: `(B, 3, H, W)` in [-1, 1], the clean images.
        degradation: the family of degradations, as one uses it who knows phi.
        phi: the true parameters of the degradation.
        kernel: `(B, k, k)` true blur kernels; None where nothing is blurred.
        unknown: the family as one uses it who does not know phi; None for that of the config.
    """

    name: str
    config: str
    names: list[str]
    y: Tensor
    reference: Tensor
    degradation: Degradation
    phi: Phi
    kernel: Tensor | None = None
    unknown: Degradation | None = None

    def part(self, rows: slice) -> Task:
        """The task with some of its images."""
        return replace(
            self,
            names=self.names[rows],
            y=self.y[rows],
            reference=self.reference[rows],
            phi=self.phi.select(rows),
            kernel=None if self.kernel is None else self.kernel[rows],
        )

    def shown(self) -> Tensor:
        """The degraded images at the size of the clean ones, by bicubic interpolation if smaller.

        Of several exposures it is the middle one.
        """
        if self.y.ndim == 5:
            return self.y[:, self.y.shape[1] // 2]
        if self.y.shape == self.reference.shape:
            return self.y
        size = self.reference.shape[-2:]
        return F.interpolate(self.y, size, mode="bicubic", antialias=True).clamp(-1, 1)


def make(name: str, size: int = SIZE) -> Task:
    """Degrade the centres of the photographs, at half their size.

    Args:
        name: name of a kind of damage.
        size: side of the centres in pixels; images of another size than the default carry it in
            their names.
    """
    names = [n for n in PHOTOGRAPHS if kind(name).family is not Grayscale or n not in GREY]
    task = of_photographs(name, {n: photograph_file(n) for n in names}, size)
    return task if size == SIZE else replace(task, names=[f"{n}_{size}" for n in names])


def of_photographs(name: str, files: Mapping[str, Path], size: int = SIZE) -> Task:
    """Degrade the centres of clean photographs, at half their size.

    Args:
        name: name of a kind of damage.
        files: the photographs by their names, which decide how each is degraded.
        size: side of the centres in pixels.
    """
    damage = kind(name)
    photographs, truths, generators = [], [], []
    for photograph, file in files.items():
        photographs.append(centre(read_image(file).pixels, size + 2 * RADIUS))
        generators.append(image_generator(0, f"{name}/{photograph}"))
        truths.append(damage.draw(generators[-1], size))
    wide = torch.stack(photographs)
    clean = wide[..., RADIUS:-RADIUS, RADIUS:-RADIUS]
    return _task(name, list(files), truths, clean, _degrade(damage, wide, truths, generators))


def photograph_file(name: str) -> Path:
    """The file of one of `PHOTOGRAPHS`."""
    import skimage

    (path,) = (Path(skimage.__file__).parent / "data").glob(f"{name}.*")
    return path


def photograph_files(folder: Path | None) -> list[Path]:
    """The photographs of a folder and those below it, or `PHOTOGRAPHS`."""
    if folder is None:
        return [photograph_file(name) for name in PHOTOGRAPHS]
    return [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in EXTENSIONS]


def _degrade(
    damage: Kind, wide: Tensor, truths: list[Truth], generators: Sequence[Generator]
) -> Tensor:
    """Degraded images in 8 bits.

    Args:
        damage: what happens to them.
        wide: `(B, 3, H, W)` clean images with a margin of `RADIUS` pixels, which only `cropped`
            borders look at.
        truths: the truth about each image.
        generators: generator of each image's noise.
    """
    clean = wide[..., RADIUS:-RADIUS, RADIUS:-RADIUS]
    if damage.border is not None:
        kernels = [_kernel(truth) for truth in truths]
        y = torch.stack([blurred(x, k, damage.border) for x, k in zip(wide, kernels, strict=True)])
    else:
        family = damage.family()
        if damage.family is Exposures:
            phi = family.draw(generators, clean)
        else:
            phi = damage.phi(truths, clean)
        y = family(family.frame.embed(clean), phi)
    noise = torch.tensor([2 * truth.get("noise", 0.0) for truth in truths])
    n = normal_like(y, generators)
    if damage.family is Grayscale:
        n = n[:, :1]
    y = y + noise.view(-1, *[1] * (y.ndim - 1)) * n
    if damage.family is Mask:
        mask = torch.stack([truth["mask"] for truth in truths])
        y = mask * y - (1 - mask)
    return in_eight_bits(y)


def read(name: str, folder: Path) -> Task:
    """A degraded set from disk: `<folder>/<task>/*.png`, `reference/`, `metadata.json`.

    True kernels lie beside the images as `.npy`, masks under `mask/`. A wrapped set is made of the
    references.

    Args:
        name: name of the task.
        folder: the folder with the sets.
    """
    damage = TASKS[name]
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
        y = _degrade(damage, F.pad(clean, (RADIUS,) * 4, mode="reflect"), truths, generators)
    else:
        y = torch.stack([read_image(folder / name / f"{n}.png").pixels for n in names])
    return _task(name, names, truths, clean, y)


def on_disk(folder: Path) -> list[str]:
    """The tasks that a folder holds."""
    known = set(json.loads((folder / "metadata.json").read_text())) | {"blur_gaussian_wrapped"}
    return [name for name in TASKS if name in known]


def _task(name: str, names: list[str], truths: list[Truth], clean: Tensor, y: Tensor) -> Task:
    damage = kind(name)
    has_kernel = "kernel" in truths[0] or "sigma" in truths[0]
    kernel = torch.stack([_kernel(truth) for truth in truths]) if has_kernel else None
    phi = damage.phi(truths, y)
    return Task(name, damage.config, names, y, clean, damage.family(), phi, kernel)


def _kernel(truth: Truth) -> Tensor:
    """The true blur kernel `(k, k)`, k = 2 RADIUS + 1."""
    if "kernel" in truth:
        kernel: Tensor = truth["kernel"]
        return kernel
    sigma, angle = truth["sigma"], truth.get("theta", 0.0)
    major, minor = sigma if isinstance(sigma, list) else (sigma, sigma)
    r = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    covariance = r @ torch.diag(torch.tensor([major**2, minor**2])) @ r.T
    return gaussian_kernel(covariance[None], 2 * RADIUS + 1)[0]


def blurred(x: Tensor, kernel: Tensor, border: str) -> Tensor:
    """The correlation of an image with a kernel; x carries a margin of `RADIUS` pixels."""
    if border != "cropped":
        inner = x[:, RADIUS:-RADIUS, RADIUS:-RADIUS].numpy()
        width = ((0, 0), (RADIUS, RADIUS), (RADIUS, RADIUS))
        x = torch.from_numpy(np.pad(np.asarray(inner), width, _NUMPY_BORDER[border]))
    return F.conv2d(x[:, None], kernel[None, None])[:, 0]


def centre(x: Tensor, size: int) -> Tensor:
    """The central square of an image at half its scale, or more where that would be too small."""
    factor = max(0.5, size / min(x.shape[-2:]))
    h, w = (max(size, round(n * factor)) for n in x.shape[-2:])
    x = F.interpolate(x[None], (h, w), mode="bicubic", antialias=True)[0].clamp(-1, 1)
    top, left = (h - size) // 2, (w - size) // 2
    return x[:, top : top + size, left : left + size]


def in_eight_bits(y: Tensor) -> Tensor:
    """An image in [-1, 1] as a file of 8 bits has it."""
    return ((y.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1

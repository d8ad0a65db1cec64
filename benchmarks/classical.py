"""Classical rows of the table, from scikit-image, with the true kernel, mask or noise."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.restoration import (
    denoise_tv_chambolle,
    inpaint_biharmonic,
    richardson_lucy,
    wiener,
)
from torch import Tensor

from benchmarks.tasks import Task
from d2ir_pl.degradations import Identity, Mask

Image = NDArray[np.float64]
Score = Callable[[Task, Tensor], dict[str, Any]]


# The best of 0.05 to 0.3 on eight photographs of the training set with noise 0.1.
TV_WEIGHT = 0.08


@dataclass(frozen=True)
class Classical:
    """A method for one image `(H, W, 3)` in [0, 1]; ValueError if the task is not for it."""

    title: str
    restore: Callable[[Image, Task], Image]

    def run(self, task: Task, score: Score) -> tuple[dict[str, Any], Tensor]:
        """The row of one image, and the restored image; ValueError if the pair makes no sense."""
        y = (np.moveaxis(task.y[0].double().numpy(), 0, -1) + 1) / 2
        start = time.perf_counter()
        restored = self.restore(y, task)
        seconds = time.perf_counter() - start
        x = torch.from_numpy(np.moveaxis(restored, -1, 0)).float()[None].clamp(0, 1) * 2 - 1
        return {**score(task, x), "nfe": 0, "seconds": round(seconds, 3)}, x


def _deconvolve(restore: Callable[[Image, Image], Image]) -> Callable[[Image, Task], Image]:
    """Apply a method for one channel and the kernel to each channel, with mirrored borders."""

    def channels(y: Image, task: Task) -> Image:
        if task.kernel is None or task.y.shape != task.reference.shape:
            raise ValueError("it deconvolves")
        # scikit-image convolves, and the kernels here are those of a correlation.
        kernel = task.kernel[0].double().numpy()[::-1, ::-1].copy()
        m = kernel.shape[0]
        padded = np.pad(y, ((m, m), (m, m), (0, 0)), mode="reflect")
        restored = [restore(c, kernel)[m:-m, m:-m] for c in np.moveaxis(padded, -1, 0)]
        return np.stack(restored, -1)

    return channels


def _biharmonic(y: Image, task: Task) -> Image:
    if not isinstance(task.degradation, Mask):
        raise ValueError("it fills holes")
    return inpaint_biharmonic(y, task.phi["mask"][0, 0].numpy() < 0.5, channel_axis=-1)


def _total_variation(y: Image, task: Task) -> Image:
    if not isinstance(task.degradation, Identity):
        raise ValueError("it removes noise alone")
    return denoise_tv_chambolle(y, TV_WEIGHT, channel_axis=-1)


CLASSICAL = {
    "wiener": Classical(
        "Wiener filter, kernel known",
        _deconvolve(lambda y, k: wiener(y, k, balance=0.1, clip=False)),
    ),
    "richardson_lucy": Classical(
        "Richardson-Lucy (10 iterations) and TV, kernel known",
        _deconvolve(
            lambda y, k: denoise_tv_chambolle(richardson_lucy(y, k, num_iter=10), weight=0.02)
        ),
    ),
    "biharmonic": Classical("Biharmonic inpainting, mask known", _biharmonic),
    "tv": Classical("Total variation, noise known", _total_variation),
}

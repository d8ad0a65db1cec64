"""Classical methods of the quality table, from scikit-image.

They are told the true kernel, mask or noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

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

from benchmarks.scores import Row
from benchmarks.tasks import Task
from d2ir_pl.degradations import Identity, Mask

Image = NDArray[np.float64]
Score = Callable[[Task, Tensor], Row]

_TV_WEIGHT = 0.08
"""The best of 0.05 to 0.3 on eight photographs of the training set with noise 0.1."""


@dataclass(frozen=True)
class Classical:
    """A row of the table.

    Attributes:
        title: title of the row.
        restore: the method, for one image `(H, W, 3)` in [0, 1]; it raises ValueError if it is not
            for the task.
    """

    title: str
    restore: Callable[[Image, Task], Image]

    def run(self, task: Task, score: Score) -> tuple[Row, Tensor]:
        """Restore one image.

        Args:
            task: a task of one image.
            score: scores of a restored image.

        Returns:
            The image's row, and the restored image `(1, 3, H, W)`.

        Raises:
            ValueError: if the method is not for this task.
        """
        y = (np.moveaxis(task.y[0].double().numpy(), 0, -1) + 1) / 2
        start = time.perf_counter()
        restored = self.restore(y, task)
        seconds = time.perf_counter() - start
        x = torch.from_numpy(np.moveaxis(restored, -1, 0)).float()[None].clamp(0, 1) * 2 - 1
        return {**score(task, x), "nfe": 0, "seconds": round(seconds, 3)}, x


def _deconvolve(restore: Callable[[Image, Image], Image]) -> Callable[[Image, Task], Image]:
    """A method for images, from one for a channel and the kernel; borders are mirrored."""

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
    filled: Image = inpaint_biharmonic(y, task.phi["mask"][0, 0].numpy() < 0.5, channel_axis=-1)
    return filled


def smooth(y: Image, weight: float, channel_axis: int | None = None) -> Image:
    """An image by total variation; higher weights smooth more."""
    smoothed: Image = denoise_tv_chambolle(  # type: ignore[no-untyped-call]
        y, weight, channel_axis=channel_axis
    )
    return smoothed


def _wiener(y: Image, kernel: Image) -> Image:
    sharp: Image = wiener(y, kernel, balance=0.1, clip=False)  # type: ignore[no-untyped-call]
    return sharp


def _richardson_lucy(y: Image, kernel: Image) -> Image:
    sharp: Image = richardson_lucy(y, kernel, num_iter=10)  # type: ignore[no-untyped-call]
    return smooth(sharp, 0.02)


def _total_variation(y: Image, task: Task) -> Image:
    if not isinstance(task.degradation, Identity):
        raise ValueError("it removes noise alone")
    return smooth(y, _TV_WEIGHT, channel_axis=-1)


CLASSICAL = {
    "wiener": Classical("Wiener filter, kernel known", _deconvolve(_wiener)),
    "richardson_lucy": Classical(
        "Richardson-Lucy (10 iterations) and TV, kernel known", _deconvolve(_richardson_lucy)
    ),
    "biharmonic": Classical("Biharmonic inpainting, mask known", _biharmonic),
    "tv": Classical("Total variation, noise known", _total_variation),
}

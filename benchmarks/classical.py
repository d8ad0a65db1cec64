"""Classical rows of the table, from scikit-image, with the true kernel."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.restoration import denoise_tv_chambolle, richardson_lucy, wiener
from tasks import Task
from torch import Tensor

Image = NDArray[np.float64]
Score = Callable[[Task, Tensor], dict[str, Any]]


@dataclass(frozen=True)
class Classical:
    """A method for one channel of a blurred image in [0, 1] and its kernel."""

    title: str
    restore: Callable[[Image, Image], Image]

    def run(self, task: Task, score: Score) -> tuple[dict[str, Any], Tensor]:
        """The row of one image, and the restored image; ValueError if it is not blurred."""
        if task.kernel is None or task.y.shape != task.reference.shape:
            raise ValueError("it deconvolves")
        # scikit-image convolves, and the kernels here are those of a correlation.
        kernel = task.kernel[0].double().numpy()[::-1, ::-1].copy()
        margin = kernel.shape[0]
        start = time.perf_counter()
        channels = [
            self.restore(np.pad((c + 1) / 2, margin, mode="reflect"), kernel)[
                margin:-margin, margin:-margin
            ]
            for c in task.y[0].double().numpy()
        ]
        seconds = time.perf_counter() - start
        x = torch.from_numpy(np.stack(channels)).float()[None].clamp(0, 1) * 2 - 1
        return {**score(task, x), "nfe": 0, "seconds": round(seconds, 3)}, x


CLASSICAL = {
    "wiener": Classical(
        "Wiener filter, kernel known", lambda y, k: wiener(y, k, balance=0.1, clip=False)
    ),
    "richardson_lucy": Classical(
        "Richardson-Lucy (10 iterations) and TV, kernel known",
        lambda y, k: denoise_tv_chambolle(richardson_lucy(y, k, num_iter=10), weight=0.02),
    ),
}

"""Priors that are networks: half precision, tiles that memory holds, and classes."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from d2ir_pl.diffusion import Prior, Schedule, Timestep
from d2ir_pl.errors import PriorError
from d2ir_pl.priors.compiling import Compiled
from d2ir_pl.priors.memory import AllocationCounter, total_memory
from d2ir_pl.priors.unet import Enlarging

Tile = int | Literal["auto"]
"""Largest side in pixels that a prior sees at once; `auto` is its own choice."""

_AUTO_TILE = 5
"""Side of an automatic tile over that of the images that the network was trained on. Wider tiles
have fewer overlaps, but attention does not know them from training."""

_CPU_SHARE, _GPU_SHARE = 0.25, 0.6
"""The share of a device's memory that one evaluation may take."""


class NetworkPrior(Prior):
    """A prior that is a frozen U-Net, which may compute in half precision.

    Args:
        unet: the network.
        schedule: alpha_bar of each timestep.
        levels: number of resolutions of the U-Net; it halves the image `levels - 1` times.
        trained_size: side in pixels of the images that it was trained on.
        tile: largest side in pixels that is predicted at once; `auto` is five times
            `trained_size`, or less where the device's memory does not hold that.
        classes: number of classes that the U-Net is conditioned on; None if it knows no classes.
        label: class of every prediction, in 0..classes - 1; None if the U-Net knows no classes.

    Raises:
        PriorError: if the label does not fit the classes.
        ValueError: if the tile is too small for the network.
    """

    def __init__(
        self,
        unet: nn.Module,
        schedule: Schedule,
        levels: int,
        trained_size: int,
        tile: Tile = "auto",
        classes: int | None = None,
        label: int | None = None,
    ) -> None:
        multiple = 2 ** (levels - 1)
        largest = _AUTO_TILE * max(multiple, trained_size)
        super().__init__(schedule, multiple, largest if tile == "auto" else tile)
        _check_label(label, classes)
        self.unet = unet.eval().requires_grad_(False)
        self.label = label
        self._largest_tile = largest if tile == "auto" else None
        self._compiled: Compiled | None = None
        self._counts = False
        """Whether operations are watched, for which torch.compile would give up for good."""
        self._footprints: dict[tuple[torch.device, torch.dtype, bool], float] = {}

    def cast(self, dtype: torch.dtype) -> Self:
        """Evaluate the U-Net in `dtype` from now on; inputs, outputs and the schedule stay float32.

        Convolutions and linear layers are converted once, so that autocast does not convert them
        in every call; normalisation stays float32.

        Raises:
            ValueError: if `dtype` is not float32, bfloat16 or float16.
        """
        if dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise ValueError(f"a prior runs in float32, bfloat16 or float16, not {dtype}")
        for module in self.unet.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
                module.to(dtype)
        self.compute_dtype = dtype
        return self

    @contextmanager
    def in_float32(self) -> Iterator[None]:
        """Evaluate the U-Net in float32 inside, for values that half precision cannot hold."""
        dtype = self.compute_dtype
        try:
            self.cast(torch.float32)
            yield
        finally:
            self.cast(dtype)

    def compile_network(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """Evaluate the U-Net as torch.compile makes it from now on.

        Args:
            backend: what compiles it, see `torch.compile`.
        """
        self._compiled = Compiled(self.unet, backend)

    def evaluate(self, *arguments: Tensor | None, **options: bool) -> Tensor:
        """The (first) output of the U-Net, compiled where that is asked for."""
        call = self.unet if self._compiled is None or self._counts else self._compiled
        found = call(*arguments, **options)
        output: Tensor = found[0] if isinstance(found, tuple) else found
        return output

    def prepare(self, gradient: bool) -> None:
        """Choose an automatic tile, how many images at once, and the order of the weights.

        The tile is as large as it may be, and as the device's memory allows for one image: it does
        not depend on the batch, which is predicted in parts where it has to be.
        """
        device = self._weights[0].device
        self._order_weights(device)
        weights = sum(p.nbytes for p in self._weights)
        share = _CPU_SHARE if device.type == "cpu" else _GPU_SHARE
        memory = share * max(0, total_memory(device) - weights)
        key = device, self.compute_dtype, gradient
        if key not in self._footprints:
            self._footprints[key] = self.bytes_per_pixel(gradient)
        self.pixels = int(memory / self._footprints[key])
        if self._largest_tile is not None:
            side = min(self._largest_tile, math.isqrt(self.pixels))
            self.use_tiles(max(self.smallest_tile, side))

    def _order_weights(self, device: torch.device) -> None:
        """Put the weights of convolutions into the order that is fastest on a device.

        Channels-last is that of CPUs, and of the tensor cores of a GPU in half precision; features
        then have it too.
        """
        half = self.compute_dtype != torch.float32
        last = device.type == "cpu" or (device.type == "cuda" and half)
        order = torch.channels_last if last else torch.contiguous_format
        for kernel in self._weights:
            if kernel.ndim == 4 and not kernel.is_contiguous(memory_format=order):
                kernel.data = kernel.data.contiguous(memory_format=order)
        for layer in self._enlarging:
            layer.kernel()  # now, as it is kept, so that no evaluation is charged for it

    @cached_property
    def _weights(self) -> list[nn.Parameter]:
        """The parameters of the U-Net, found once: photos ask for them more often than steps."""
        return list(self.unet.parameters())

    @cached_property
    def _enlarging(self) -> list[Enlarging]:
        return [layer for layer in self.unet.modules() if isinstance(layer, Enlarging)]

    def bytes_per_pixel(self, gradient: bool) -> float:
        """Memory that an evaluation takes for each pixel of an image, as counted in a small one.

        Args:
            gradient: whether everything that a backward pass needs is kept.
        """
        device = self._weights[0].device
        side = self.smallest_tile
        x_t = torch.zeros(1, 3, side, side, device=device, requires_grad=gradient)
        self._counts = True
        try:
            with torch.set_grad_enabled(gradient), AllocationCounter() as counter:
                self.predict_eps(x_t, 0)
        finally:
            self._counts = False
        return counter.peak / side**2

    @abstractmethod
    def unet_output(self, x_t: Tensor, steps: Tensor, labels: Tensor | None) -> Tensor:
        """The U-Net's output, `(B, 3 or 6, H, W)`, whose first three channels are its prediction.

        Args:
            x_t: `(B, 3, H, W)` float32.
            steps: `(B,)` timesteps; of stride 0 where all images share one.
            labels: `(B,)` classes; None if the U-Net knows none.
        """

    def predict_eps(self, x_t: Tensor, t: Timestep) -> Tensor:
        steps = t if isinstance(t, Tensor) else _shared(t, x_t)
        labels = None if self.label is None else _shared(self.label, x_t)
        half = self.compute_dtype != torch.float32
        with torch.autocast(x_t.device.type, self.compute_dtype, enabled=half):
            prediction = self.unet_output(x_t.float(), steps, labels)
        return prediction[:, : x_t.shape[1]].float()


def _shared(number: int, x_t: Tensor) -> Tensor:
    """A whole number `(B,)` that is the same of all images."""
    return torch.full((), number, device=x_t.device).expand(len(x_t))


def _check_label(label: int | None, classes: int | None) -> None:
    if classes is None:
        if label is not None:
            raise PriorError(f"label {label} is a class, and the prior knows none: leave it out")
    elif label is None:
        raise PriorError(
            f"the prior is class-conditional: give the label of a class, in 0..{classes - 1}"
        )
    elif not 0 <= label < classes:
        raise PriorError(
            f"label {label} is not a class of the prior: choose one of 0..{classes - 1}"
        )

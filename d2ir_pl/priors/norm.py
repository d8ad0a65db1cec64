"""Group norms that stay in the dtype and the order of their input, with sums in float32."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Norm(nn.GroupNorm):
    """Group normalisation that stays in the dtype of its input and adds up in float32.

    Args:
        norm: norm whose weights it takes over; they stay in float32.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, device="meta")
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor, emb: Tensor | None = None) -> Tensor:
        """Normalise; then, if `emb` is given, multiply by 1 + scale and add shift.

        Args:
            x: `(B, C, ...)`.
            emb: `(1 or B, 2 C)`, scale and shift of each channel.
        """
        if emb is None:
            return group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
        scale, shift = emb.float().chunk(2, dim=1)
        if len(emb) == 1:  # one affine map instead of two
            factor = 1 + scale[0]
            weight, bias = self.weight * factor, torch.addcmul(shift[0], self.bias, factor)
            return group_norm(x, self.num_groups, weight, bias, self.eps)
        normal = group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
        factor, shift = ((v.to(x.dtype))[..., None, None] for v in (1 + scale, shift))
        return torch.addcmul(shift, normal, factor)


def group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Group normalisation in the dtype of x, with sums in float32.

    Args:
        x: `(B, C, H, W)`.
        groups: number of groups of channels.
        weight: `(C,)` float32.
        bias: `(C,)` float32.
        eps: number that is added to the variance.
    """
    if x.is_contiguous() and (x.dtype == torch.float32 or x.device.type == "cpu"):
        return F.group_norm(x, groups, weight, bias, eps)
    found: Tensor = _GroupNorm.apply(x, groups, weight, bias, eps)  # type: ignore[no-untyped-call]
    return found


class _GroupNorm(torch.autograd.Function):
    """Group normalisation of what is channels-last, or in half precision on a GPU.

    PyTorch's own reorders it on a GPU; on a CPU its backward pass takes ten times as long as in
    the other order. Here both are sums over pixels, in float32, and affine maps of each channel.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float
    ) -> Tensor:
        batch, channels = x.shape[:2]
        if x.device.type == "cpu":
            size = batch, channels, x[0, 0].numel()
            y, mean, inverse = torch.native_group_norm(x, weight, bias, *size, groups, eps)
            y = y.view_as(x)
        else:
            # Autocast would convert x for its norm.
            with torch.autocast(x.device.type, enabled=False):
                y, mean, inverse = normalised(x, groups, weight, bias, eps)
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.groups = groups
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = ctx.saved_tensors
        batch, channels = x.shape[:2]
        n = x[0].numel() // ctx.groups
        by_x, by_1 = (
            (dy * x).sum((2, 3), dtype=torch.float32),
            dy.sum((2, 3), dtype=torch.float32),
        )
        own_mean, own_inverse = _of_channels(mean, channels), _of_channels(inverse, channels)
        d_weight = ((by_x - own_mean * by_1) * own_inverse).sum(0)
        of_x, of_1 = ((v * weight).view(batch, ctx.groups, -1).sum(2) for v in (by_x, by_1))
        curve = (of_1 * mean - of_x) * inverse**3 / n
        shift = -curve * mean - of_1 * inverse / n
        curve, shift = (_of_pixels(_of_channels(v, channels), x) for v in (curve, shift))
        dx = torch.addcmul(shift, x, curve)
        dx = dx.addcmul_(dy, _of_pixels(weight * own_inverse, x))
        return dx, None, d_weight, by_1.sum(0), None


def normalised(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What `group_norm` returns, and the mean and inverse deviation of each group, `(B, G)`."""
    batch, channels = x.shape[:2]
    n = x[0, 0].numel()
    sums = x.sum((2, 3), dtype=torch.float32)
    squares = torch.linalg.vector_norm(x, 2, (2, 3), dtype=torch.float32).square()
    mean, square = (v.view(batch, groups, -1).mean(2) / n for v in (sums, squares))
    inverse = (square - mean.square()).clamp(min=0).add(eps).rsqrt()
    a = weight * _of_channels(inverse, channels)
    b = bias - a * _of_channels(mean, channels)
    return torch.addcmul(_of_pixels(b, x), x, _of_pixels(a, x)), mean, inverse


def _of_channels(values: Tensor, channels: int) -> Tensor:
    """Values of groups `(B, G)` as values of their channels `(B, C)`."""
    return values.repeat_interleave(channels // values.shape[1], 1, output_size=channels)


def _of_pixels(values: Tensor, like: Tensor) -> Tensor:
    """Values of channels `(B, C)` as values of all their pixels, in the dtype of `like`."""
    return values.to(like.dtype)[..., None, None]

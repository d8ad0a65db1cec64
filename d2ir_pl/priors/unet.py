"""The parts of guided-diffusion's U-Net, evaluated with less traffic of memory and less arithmetic.

Each takes over the layers of the part that it stands for, under the same names: a file of weights
fits both, and they compute the same function. What differs:

- Features stay in the dtype of the convolutions. Group norms add up in float32, where
  guided-diffusion converts what goes in and what comes out.
- Scale and shift by the timestep are multiplied into the norm's own where all images of a batch
  have the same timestep, as they mostly have in sampling.
- Enlarging by 2 (nearest neighbour) and the 3x3 convolution behind it are one transposed
  convolution with a 4x4 kernel: 4/9 of the multiplications, and the enlarged features are never
  there.
- Attention is PyTorch's fused one, and its 1x1 convolutions are products of matrices.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from d2ir_pl.compat import changes
from d2ir_pl.priors.norm import Norm


class FusedAttention(nn.Module):
    """softmax(q k^T / sqrt(C)) v for each head, by `scaled_dot_product_attention`; no parameters.

    Args:
        heads: number H of heads.
        heads_first: whether channels are ordered as (H, 3, C), the first order of
            guided-diffusion, or as (3, H, C), its new one.
    """

    def __init__(self, heads: int, heads_first: bool) -> None:
        super().__init__()
        self.heads = heads
        self.heads_first = heads_first

    def forward(self, qkv: Tensor) -> Tensor:
        """Attend over T pixels: `(B, T, H C)` from `(B, T, 3 H C)`."""
        batch, pixels, _ = qkv.shape
        sizes = (self.heads, 3) if self.heads_first else (3, self.heads)
        # Without contiguous rows of channels, PyTorch falls back to slow kernels and says nothing.
        parts = qkv.contiguous().view(batch, pixels, *sizes, -1)
        q, k, v = (part.transpose(1, 2) for part in parts.unbind(3 if self.heads_first else 2))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """x + proj(attention(qkv(norm(x)))).

    Args:
        block: `AttentionBlock` whose layers it takes over.
        heads_first: see `FusedAttention`.
    """

    def __init__(self, block: Any, heads_first: bool) -> None:
        super().__init__()
        self.norm = Norm(block.norm)
        self.qkv, self.proj_out = block.qkv, block.proj_out
        self.attention = FusedAttention(block.num_heads, heads_first)
        self.checkpointed: bool = block.use_checkpoint

    def forward(self, x: Tensor) -> Tensor:
        """The block of features `(B, C, H, W)`."""
        return _checkpointed(self._forward, x) if self.checkpointed else self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        pixels = self.norm(x).flatten(2).mT
        qkv = F.linear(pixels, self.qkv.weight[..., 0], self.qkv.bias)
        found = self.attention(qkv)
        found = F.linear(found, self.proj_out.weight[..., 0], self.proj_out.bias)
        return x + found.mT.view_as(x)


class Residual(nn.Module):
    """skip(x) + conv(silu(norm(conv(silu(norm(x))), emb))), at another size where it changes that.

    Args:
        block: `ResBlock` whose layers it takes over.
        up: whether it doubles the size.
    """

    def __init__(self, block: Any, up: bool) -> None:
        super().__init__()
        self.in_layers, self.emb_layers = block.in_layers, block.emb_layers
        self.out_layers, self.skip_connection = block.out_layers, block.skip_connection
        self.in_layers[0], self.out_layers[0] = Norm(self.in_layers[0]), Norm(self.out_layers[0])
        if up:
            self.in_layers[2] = Enlarging(self.in_layers[2])
        self.up = up
        self.resample = block.x_upd
        self.scales: bool = block.use_scale_shift_norm
        self.checkpointed: bool = block.use_checkpoint

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """The block of features `(B, C, H, W)` and an embedding `(1 or B, E)` of the timestep."""
        return _checkpointed(self._forward, x, emb) if self.checkpointed else self._forward(x, emb)

    def _forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = silu(self.in_layers[0](x))
        h = self.in_layers[-1](h if self.up else self.resample(h))
        emb = self.emb_layers(emb)
        if self.scales:
            h = self.out_layers[0](h, emb)
        else:
            h = self.out_layers[0](h + emb[..., None, None].to(h.dtype))
        _, _, dropout, convolution = self.out_layers
        h = convolution(dropout(silu(h)))
        x = self.skip_connection(self.resample(x))
        found: Tensor = h + x if h.requires_grad else h.add_(x)
        return found


class Enlarging(nn.Conv2d):
    """A 3x3 convolution of its input enlarged by 2, nearest neighbour, as a transposed one.

    Args:
        conv: convolution whose weights it takes over.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(conv.in_channels, conv.out_channels, 3, padding=1, device="meta")
        self.weight, self.bias = conv.weight, conv.bias
        self._made_of: tuple[object, ...] = ()
        self._kernel = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        """Features `(B, C', 2 H, 2 W)` from `(B, C, H, W)`."""
        return F.conv_transpose2d(x, self.kernel(), self.bias, stride=2, padding=1)

    def kernel(self) -> Tensor:
        """`enlarging_kernel` of the weights, which is kept while they are frozen."""
        weight = self.weight
        if torch.compiler.is_compiling() and len(self._kernel) and not weight.requires_grad:
            return self._kernel  # which was made when the prior was prepared
        if weight.requires_grad or weight.is_inference() or torch.compiler.is_compiling():
            return enlarging_kernel(weight)
        now = weight.data_ptr(), changes(weight), weight.dtype, weight.device, weight.stride()
        if now != self._made_of:
            with torch.inference_mode(False), torch.no_grad():
                self._made_of, self._kernel = now, enlarging_kernel(weight)
        return self._kernel


def enlarging_kernel(weight: Tensor) -> Tensor:
    """`(C, C', 4, 4)`: the kernel of a transposed convolution that enlarges by 2 and convolves.

    A pixel of the enlarged image has the value of one of x's, so that the 3x3 weights of each of
    the four positions in it add up to 2x2, which together are 4x4 for a stride of 2.

    Args:
        weight: `(C', C, 3, 3)`, of the convolution; the kernel has its dtype and order.
    """
    kernel = weight.float().transpose(0, 1).flip(2, 3)
    kernel = F.pad(kernel, (0, 0, 0, 1)) + F.pad(kernel, (0, 0, 1, 0))
    kernel = F.pad(kernel, (0, 1)) + F.pad(kernel, (1, 0))
    order = torch.contiguous_format if weight.is_contiguous() else torch.channels_last
    return kernel.to(weight.dtype).contiguous(memory_format=order)


def timestep_embedding(t: Tensor, channels: int) -> Tensor:
    """`(B, channels)`: cosines, then sines, of t times frequencies from 1 down to 1/10000.

    Args:
        t: `(B,)` timesteps; everything is computed on their device.
        channels: number of channels.

    Source: Vaswani et al., Attention Is All You Need, 2017, section 3.5.
    """
    half = channels // 2
    steps = torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t[:, None].float() * torch.exp(steps * (-math.log(10_000) / half))
    return F.pad(torch.cat([angles.cos(), angles.sin()], 1), (0, channels % 2))


def silu(x: Tensor) -> Tensor:
    """The function x / (1 + exp(-x)), in place of x where no gradient passes."""
    return F.silu(x, inplace=not x.requires_grad)


def _checkpointed(compute: Any, *features: Tensor) -> Tensor:
    """Features of which a backward pass, if there will be one, computes the inside again."""
    if not torch.is_grad_enabled():
        return compute(*features)  # type: ignore[no-any-return]
    found: Tensor = checkpoint(compute, *features, use_reentrant=False)
    return found

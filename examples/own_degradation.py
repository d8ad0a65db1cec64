"""A degradation of one's own: the stripes of a line sensor. See docs/own_degradation.md."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from d2ir_pl.degradations import LinearDegradation, Phi
from d2ir_pl.operators import IdentityOperator, Size


class Stripes(LinearDegradation):
    """Every column has an error of its own, as from a scanner or a satellite: y = x + s + n.

    phi: `offset` `(B, W)`, s in the units of x, with mean 0: a mean is the scene's brightness. It
    starts as what the mean of a column has beyond the median over the columns around it.

    Args:
        strength: standard deviation in [0, 1] of the offsets that are drawn.
        reach: how many columns on either side the median is taken over.
    """

    def __init__(self, strength: float = 0.05, reach: int = 4) -> None:
        super().__init__()
        self.strength, self.reach = strength, reach

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:  # noqa: ARG002
        mean = y.mean((1, 2))
        around = pad(mean[:, None], (self.reach, self.reach), "replicate")[:, 0]
        median = around.unfold(1, 2 * self.reach + 1, 1).sort(2).values[..., self.reach]
        return self.canonicalize(Phi(offset=mean - median))

    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        rows = [torch.randn(like.shape[-1], generator=g) for g in generators]
        return self.canonicalize(Phi(offset=2 * self.strength * torch.stack(rows).to(like)))

    def operator(self, phi: Phi, image_size: Size) -> IdentityOperator:  # noqa: ARG002
        return IdentityOperator()

    def offset(self, phi: Phi) -> Tensor:
        return phi["offset"][:, None, None, :]

    def lift(self, y: Tensor, phi: Phi) -> Tensor:
        return y - self.offset(phi)

    def canonicalize(self, phi: Phi) -> Phi:
        return Phi(offset=phi["offset"] - phi["offset"].mean(1, keepdim=True))

    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        return [{"kind": "Stripes", "offset": row} for row in (phi["offset"] / 2).tolist()]

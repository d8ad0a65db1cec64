"""What a method tells of each of its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from d2ir_pl.degradations import Phi


@dataclass(frozen=True)
class Step:
    """One optimisation or sampling step, as reported to an observer.

    Attributes:
        stage: `estimation` or `latent`.
        index: number of the step in its stage, from 0.
        total: how many steps the stage has at most.
        images: positions in the batch that the step concerns.
        loss: per-pixel mean of the squared residual, one per image, in the units of [-1, 1].
        sigma_y: `(n,)` noise of the images, with a method's `model_error` if it has one; loss =
            sigma_y^2 means explained to the noise.
        x0: the images as they are now, `(n, 3, H, W)`, computed when called.
        phi: the parameters as they are now.
        latent_norm: RMS of x_T, one per image; 1 for white noise. None outside stage 2.
        sample: which of several restorations of the same images this is, from 0.
        num_samples: how many there will be.
    """

    stage: str
    index: int
    total: int
    images: list[int]
    loss: Tensor
    sigma_y: Tensor
    x0: Callable[[], Tensor]
    phi: Phi
    latent_norm: Tensor | None = None
    sample: int = 0
    num_samples: int = 1

    @property
    def residual_over_sigma(self) -> Tensor:
        """`(n,)` RMS of the residual in units of the noise; 1 means explained to it."""
        return (self.loss / self.sigma_y**2).sqrt()


Observer = Callable[[Step], None]


def silent(step: Step) -> None:
    """An observer that ignores what it sees."""

"""Priors whose every prediction is known: of independent Gaussian pixels, or of given images."""

import torch
from torch import Tensor

from d2ir_pl.diffusion import Schedule, Timestep
from d2ir_pl.priors import Prior


class GaussianPrior(Prior):
    """x_0 ~ N(mean, std^2) pixel by pixel, so that E[x_0 | x_t] is linear in x_t."""

    def __init__(self, mean: float = 0.1, std: float = 0.5, **arguments: int) -> None:
        super().__init__(Schedule.linear(), **arguments)
        self.mean, self.std = mean, std
        self.calls: list[tuple[int, ...]] = []

    def predict_eps(self, x_t: Tensor, t: Timestep) -> Tensor:
        self.calls.append(tuple(x_t.shape))
        ab = self.schedule.level(t)
        variance = ab * self.std**2 + 1 - ab
        return ((1 - ab) ** 0.5 * (x_t - ab**0.5 * self.mean) / variance).to(x_t)


class CurvedPrior(GaussianPrior):
    """A smooth, non-linear denoiser that mixes neighbours, for gradient tests."""

    def predict_eps(self, x_t: Tensor, t: Timestep) -> Tensor:
        mixed = x_t + 0.3 * torch.roll(x_t, 1, -1) - 0.2 * torch.roll(x_t, 1, -2)
        return torch.tanh(super().predict_eps(mixed, t))


class KnownImages(Prior):
    """A prior that knows the clean images: x_0|t is the truth whatever x_t."""

    def __init__(self, truth: Tensor) -> None:
        super().__init__(Schedule.linear())
        self.truth = truth

    def predict_eps(self, x_t: Tensor, t: Timestep) -> Tensor:
        ab = self.schedule.level(t)
        return ((x_t - ab**0.5 * self.truth) / (1 - ab) ** 0.5).to(x_t)

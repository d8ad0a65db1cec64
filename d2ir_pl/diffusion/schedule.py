"""Noise schedules: alpha_bar in float64, and the timesteps that a sampler visits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, overload

import torch
from torch import Tensor

from d2ir_pl.operators.linear import per_image

Timestep = int | Tensor
"""A timestep that all images of a batch share, or one of each, `(B,)` on their device."""
Level = float | Tensor
"""An alpha_bar, or what is made of one, likewise: of each image it is `(B, 1, 1, 1)` float64."""
Spacing = Literal["linear", "geometric"]


@dataclass(frozen=True)
class Schedule:
    """The cumulative signal level of a discrete diffusion, x_t = sqrt(ab_t) x_0 + sqrt(1 - ab_t) n.

    `alpha_bar` stays in float64 on the CPU: in bfloat16 its 1000 levels would collapse to about
    half as many. Samplers take single levels out of it as Python floats.

    Args:
        alpha_bar: `(T,)` float64, strictly decreasing, each in (0, 1).

    Raises:
        ValueError: if the levels do not decrease strictly inside (0, 1).

    Source: Ho et al., Denoising Diffusion Probabilistic Models, 2020, eq. 4.
    """

    alpha_bar: Tensor

    def __post_init__(self) -> None:
        ab = self.alpha_bar
        if ab.dtype != torch.float64 or ab.ndim != 1:
            raise ValueError(
                f"alpha_bar must be a float64 vector, not {ab.dtype} {tuple(ab.shape)}"
            )
        if not (float(ab[-1]) > 0 and float(ab[0]) < 1 and bool((ab.diff() < 0).all())):
            raise ValueError("alpha_bar must decrease strictly from below 1 to above 0")

    @classmethod
    def from_betas(cls, beta: Tensor) -> Schedule:
        """The schedule whose alpha_bar_t is the product of 1 - beta_s up to t.

        Args:
            beta: `(T,)` float64, share of noise that each step adds.
        """
        return cls(torch.cumprod(1 - beta, 0))

    @classmethod
    def linear(
        cls, steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
    ) -> Schedule:
        """The schedule whose beta_t grows in equal steps (Ho et al. 2020, section 4).

        Args:
            steps: number T of timesteps.
            beta_start: first beta_t.
            beta_end: last beta_t.
        """
        return cls.from_betas(torch.linspace(beta_start, beta_end, steps, dtype=torch.float64))

    @classmethod
    def cosine(cls, steps: int = 1000, offset: float = 0.008) -> Schedule:
        """The schedule of squared-cosine levels (Nichol and Dhariwal 2021, eq. 17).

        beta_t is at most 0.999.

        Args:
            steps: number T of timesteps.
            offset: share of the quarter period that is left out at the clean end.
        """
        u = torch.arange(steps + 1, dtype=torch.float64) / steps
        level = torch.cos((u + offset) / (1 + offset) * math.pi / 2) ** 2
        return cls.from_betas((1 - level[1:] / level[:-1]).clamp(max=0.999))

    @classmethod
    def from_config(cls, name: str, **arguments: float) -> Schedule:
        """The schedule of a name and its arguments, as they are stored beside a prior's weights.

        Args:
            name: `linear` or `cosine`.
            arguments: arguments of that schedule; others are ignored.

        Raises:
            ValueError: for another name.
        """
        if name == "linear":
            return cls.linear(
                int(arguments.get("steps", 1000)),
                arguments.get("beta_start", 1e-4),
                arguments.get("beta_end", 0.02),
            )
        if name == "cosine":
            return cls.cosine(int(arguments.get("steps", 1000)))
        raise ValueError(f"noise schedule {name!r} is unknown: use 'linear' or 'cosine'")

    @property
    def T(self) -> int:
        """The number of timesteps."""
        return len(self.alpha_bar)

    @overload
    def level(self, t: int) -> float: ...
    @overload
    def level(self, t: Tensor) -> Tensor: ...
    def level(self, t: Timestep) -> Level:
        """The alpha_bar at timestep t, or at each of several; t = -1 is the clean image, with 1."""
        if isinstance(t, Tensor):
            return per_image(self._on(t.device)[t])
        return 1.0 if t < 0 else float(self.alpha_bar[t])

    def _on(self, device: torch.device) -> Tensor:
        """The levels on a device, which are brought there once."""
        if device not in self._brought:
            self._brought[device] = self.alpha_bar.to(device)
        return self._brought[device]

    @cached_property
    def _brought(self) -> dict[torch.device, Tensor]:
        return {}

    @overload
    def walk(self, timesteps: Sequence[int]) -> list[tuple[int, float, float]]: ...
    @overload
    def walk(self, timesteps: Sequence[Timestep]) -> list[tuple[Timestep, Level, Level]]: ...
    def walk(self, timesteps: Sequence[Timestep]) -> Sequence[tuple[Timestep, Level, Level]]:
        """Each step of a sampler: its timestep, alpha_bar there, and alpha_bar after the step.

        The last step leads to the clean image, where alpha_bar is 1.

        Args:
            timesteps: descending timesteps.
        """
        levels = [self.level(t) for t in (*timesteps, -1)]
        return list(zip(timesteps, levels[:-1], levels[1:], strict=True))

    def sigma(self, t: int) -> float:
        """The noise sqrt((1 - ab_t) / ab_t) of x_t / sqrt(ab_t), which is x_0 plus noise."""
        level = self.level(t)
        return math.sqrt((1 - level) / level)

    def nearest(self, sigma: float) -> int:
        """The timestep whose `sigma` is nearest, by their ratio."""
        log_sigma = 0.5 * ((1 - self.alpha_bar) / self.alpha_bar).log()
        return int((log_sigma - math.log(sigma)).abs().argmin())

    def timesteps(
        self, steps: int, start: int | None = None, spacing: Spacing = "linear"
    ) -> list[int]:
        """`steps` different timesteps from `start` down to 0.

        Args:
            steps: number of network evaluations that a sampler makes.
            start: first timestep; T - 1 if None.
            spacing: distance of the timesteps: `linear` for equal strides, `geometric` for a
                `sigma` that falls by an equal factor at each.

        Raises:
            ValueError: if `start` lies outside the schedule or leaves no room for `steps`.
        """
        start = self.T - 1 if start is None else start
        if not 0 <= start < self.T:
            raise ValueError(f"start level {start} lies outside 0..{self.T - 1}: choose one inside")
        if not 1 <= steps <= start + 1:
            raise ValueError(
                f"{steps} steps do not fit between level {start} and 0: use 1 to {start + 1}"
            )
        if steps == 1:
            return [start]
        shares = [i / (steps - 1) for i in range(steps)]
        if spacing == "linear":
            return [round(start * (1 - share)) for share in shares]
        first, factor = self.sigma(start), self.sigma(0) / self.sigma(start)
        timesteps = [self.nearest(first * factor**share) for share in shares]
        # Where levels are closer than timesteps, each still takes one of its own.
        for i in range(steps):
            highest = start if i == 0 else timesteps[i - 1] - 1
            timesteps[i] = max(min(timesteps[i], highest), steps - 1 - i)
        return timesteps


def together(walks: Sequence[Sequence[int]], device: torch.device) -> list[Timestep]:
    """The timesteps of a batch, step by step: one where all images share it, else one of each.

    Args:
        walks: timesteps of each image, as many for all.
        device: device of the images, for which it waits once.
    """
    if all(walk == walks[0] for walk in walks):
        return list(walks[0])
    steps = list(zip(*walks, strict=True))
    rows = torch.tensor(steps, device=device).unbind()
    return [own[0] if len({*own}) == 1 else row for own, row in zip(steps, rows, strict=True)]

"""Several exposures of one scene, each with highlights that it clips."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Generator, Tensor

from d2ir_pl.degradations.base import Degradation
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.degradations.ranges import require_range
from d2ir_pl.errors import require
from d2ir_pl.estimators.noise_level import estimate_sigma
from d2ir_pl.operators.linear import LinearOperator
from d2ir_pl.operators.order import nanmedian
from d2ir_pl.operators.pointwise import StackOperator

# Scatter of the logarithm of a ratio of exposures that is read off two noisy photos.
LOG_GAIN_SCATTER = 0.02
# From this value in [-1, 1] on, a value may be clipped: 1 less half a percent of the range.
SATURATED = 0.99
# Intensities over which a ratio is taken: above the noise, and below clipped values with noise.
RATIO_RANGE = (0.05, 0.85)


class Exposures(Degradation):
    """Exposures of one scene: y_s = clip(g_s x, 0, 1) + n in intensities from 0 to 1, s = 1 .. S.

    Here y is `(B, S, 3, H, W)`, and x `(B, 3, H, W)` the scene as the reference exposure, whose
    gain is 1, shows it without clipping. phi: `log_gain` `(B, S)`, 0 at the reference;
    `unclipped` `(B,)`, the share of y's values that are not clipped.

    Unknown gains start from the ratios of y between exposures of neighbouring brightness: the
    median over the pixels that both of them show well.

    Args:
        count: S, at least 2.
        gains: the known g_s, positive; they are then not estimated.
        reference: s of the reference, from 0; None is the middle one, of an even S the one after
            the middle. With the darkest as the reference, x shows all highlights.
        draw_ratio: range of the ratio of neighbouring gains, to degrade clean images with.

    Raises:
        ValueError: for settings that do not fit each other.

    Source: Debevec and Malik, Recovering High Dynamic Range Radiance Maps from Photographs, 1997.
    """

    phi_settings = ("count", "reference")

    def __init__(
        self,
        count: int = 3,
        gains: list[float] | None = None,
        reference: int | None = None,
        draw_ratio: tuple[float, float] = (2.0, 4.0),
    ) -> None:
        super().__init__()
        require("count", count, 2, remedy="the exposures of a scene")
        if gains is not None and (len(gains) != count or not all(gain > 0 for gain in gains)):
            raise ValueError(f"gains {gains} must be {count} positive numbers")
        if reference is not None:
            require("reference", reference, 0, count - 1)
        require_range("draw_ratio", draw_ratio, above=1)
        self.count = count
        self.gains = gains
        self.reference = count // 2 if reference is None else reference
        self.draw_ratio = draw_ratio
        self.estimated = gains is None

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:  # noqa: ARG002
        self._require_scene(y)
        log_gain = self._known(len(y), y)
        if log_gain is None:
            log_gain = torch.stack([_log_gains((scene + 1) / 2) for scene in y])
        # A scene that is clipped everywhere still has a share above 0.
        unclipped = (y < SATURATED).to(y).flatten(1).mean(1).clamp_min(1e-3)
        return self.canonicalize(Phi(log_gain=log_gain, unclipped=unclipped))

    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        log_gain = self._known(len(generators), like)
        if log_gain is None:
            low, high = self.draw_ratio
            u = torch.stack([torch.rand(self.count, generator=g) for g in generators])
            log_gain = (low + (high - low) * u).log().cumsum(1).to(like)
        ones = torch.ones_like(log_gain[:, 0])
        return self.canonicalize(Phi(log_gain=log_gain, unclipped=ones))

    def forward(self, x: Tensor, phi: Phi) -> Tensor:
        return 2 * self._exposed(x, phi)[1].clamp(0, 1) - 1

    def linearize(self, y: Tensor, x: Tensor, phi: Phi) -> tuple[LinearOperator, Tensor]:
        gain, exposed = self._exposed(x, phi)
        shown = exposed.clamp(0, 1)
        slope = torch.where(shown == exposed, gain, 0)
        return StackOperator(slope), self.residual(y, 2 * shown - 1, phi)

    def _exposed(self, x: Tensor, phi: Phi) -> tuple[Tensor, Tensor]:
        """The gains `(B, S, 1, 1, 1)`, and the exposures in intensities before they are clipped."""
        relative = phi["log_gain"] - phi["log_gain"][:, self.reference, None]
        gain = relative.exp()[:, :, None, None, None]
        return gain, gain * (x[:, None] + 1) / 2

    def residual(self, y: Tensor, prediction: Tensor, phi: Phi) -> Tensor:  # noqa: ARG002
        """The difference y - prediction; 0 where both are clipped, which says no more than that."""
        agree = (y >= SATURATED) & (prediction >= SATURATED)
        return torch.where(agree, 0.0, y - prediction)

    def share(self, phi: Phi) -> Tensor:
        return phi["unclipped"]

    def estimate_sigma(self, y: Tensor) -> Tensor:
        self._require_scene(y)
        return estimate_sigma(y.flatten(1, 2))

    def lift(self, y: Tensor, phi: Phi) -> Tensor:
        """Merge the exposures: the mean of y_s / g_s with weights h(y_s) g_s^2, clipped.

        g_s^2 is the inverse variance of y_s / g_s, and h falls from 1 at 0.75 to 0 at 0.95, because
        noise hides where y_s clips. Where all exposures are brighter, the darkest one is left.
        """
        intensity = (y + 1) / 2
        gain = phi["log_gain"].exp()[:, :, None, None, None]
        weight = ((0.95 - intensity) / 0.2).clamp(0, 1) * gain**2
        darkest = (gain == gain.amin(1, keepdim=True)).to(y)
        weight = weight + 1e-4 * darkest * gain**2
        merged = (weight * intensity / gain).sum(1) / weight.sum(1)
        return 2 * merged.clamp(0, 1) - 1

    def free(self, phi: Phi) -> list[str]:  # noqa: ARG002
        return ["log_gain"] if self.estimated else []

    def anchor(self, phi: Phi, start: Phi) -> Tensor:
        now, then = self.canonicalize(phi), self.canonicalize(start)
        return ((now["log_gain"] - then["log_gain"]) / LOG_GAIN_SCATTER).square().mean(1)

    def canonicalize(self, phi: Phi) -> Phi:
        """Make gains relative to the reference: their common factor is the brightness of x."""
        relative = phi["log_gain"] - phi["log_gain"][:, self.reference, None]
        return phi.replace(log_gain=relative)

    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        return [
            {
                "kind": type(self).__name__,
                "gains": [round(gain, 4) for gain in gains],
                "reference": self.reference,
                "unclipped": round(unclipped, 4),
            }
            for gains, unclipped in zip(
                phi["log_gain"].exp().tolist(), phi["unclipped"].tolist(), strict=True
            )
        ]

    def _require_scene(self, y: Tensor) -> None:
        if y.ndim != 5:
            raise ValueError(
                f"one photo is no scene of {self.count} exposures: --data.scenes true makes a "
                f"folder of {self.count} photos a scene, and in Python y is (B, {self.count}, 3, "
                "H, W)"
            )
        if y.shape[1] != self.count:
            raise ValueError(
                f"the scene has {y.shape[1]} photos, and count is {self.count}: restore with "
                f"--model.degradation.count {y.shape[1]}, or Exposures(count={y.shape[1]})"
            )

    def _known(self, count: int, like: Tensor) -> Tensor | None:
        if self.gains is None:
            return None
        known = torch.tensor(self.gains, device=like.device, dtype=like.dtype)
        return known.log().expand(count, -1).clone()


def _log_gains(scene: Tensor) -> Tensor:
    """Log gains `(S,)`, up to a constant, of exposures `(S, 3, H, W)` in intensities.

    Ratios are taken between neighbours in brightness, which show the most pixels in common.
    """
    values = scene.flatten(1)
    order = values.mean(1).argsort()
    darker, brighter = values[order[:-1]], values[order[1:]]
    low, high = RATIO_RANGE
    both = (darker > low) & (darker < high) & (brighter > low) & (brighter < high)
    shown = nanmedian(torch.where(both, brighter / darker, torch.nan), 1)
    # Without a pixel in common, the brightness of all of them is what is left.
    steps = torch.where(shown.isnan(), _ratio(brighter.mean(1), darker.mean(1)), shown).log()
    log_gains = list(accumulate(steps.unbind(), initial=scene.new_zeros(())))
    return torch.stack(log_gains)[order.argsort()]


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    return a.clamp_min(1e-3) / b.clamp_min(1e-3)

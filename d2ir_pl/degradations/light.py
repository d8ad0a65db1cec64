"""Low light: photos that are too dark, perhaps unevenly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from d2ir_pl.degradations.base import Degradation
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.degradations.ranges import require_range
from d2ir_pl.degradations.shadows import faded_shadows
from d2ir_pl.errors import require
from d2ir_pl.estimators.exposure import exposure, light_tint
from d2ir_pl.estimators.noise_level import estimate_sigma
from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.encoding import from_light, to_light
from d2ir_pl.operators.linear import LinearOperator
from d2ir_pl.operators.order import kth_smallest
from d2ir_pl.operators.pointwise import MaskOperator

# The 99th percentile of the intensities of photographs: its typical value, and the scatter of its
# logarithm (400 photographs of the training set).
BRIGHT = 0.90
LOG_GAIN_SCATTER = 0.14
# Unit of the additive map in intensities, and its scatter: in this unit, an optimiser's steps that
# suit a logarithm suit the map too.
MAP_UNIT = 0.01
# Scatter of log gamma.
LOG_GAMMA_SCATTER = 0.2
# Least gain that is read off a photo, and least intensity whose power has a finite derivative.
MIN_GAIN = 0.02
MIN_INTENSITY = 1e-3
# What the noise of a dark photo is in units of what its finest band shows (docs/experiments.md).
COARSE = 1.25
# Least gain of linear light: half the pixels of a photo with less have the levels 0 and 1 of 255.
MIN_LIGHT = 0.002

Scales = Literal["encoded", "light", "auto"]


class Light(Degradation):
    """Low light: y = f x^g + M + n in intensities from 0 to 1, or y = e(f e^-1(x^g)) + M + n.

    f is a gain, one per image or per channel; M a smooth map, interpolated bicubically from a
    coarse grid; the exponent g is 1 unless `gamma` is set; e encodes linear light, which a short
    exposure scales, in sRGB. phi: `log_gain` `(B, 1)` or `(B, 3)`; `map` `(B, k, k)`, the grid of M
    in hundredths, if any; `log_gamma` `(B,)` with `gamma`; `linear` `(B,)` under `scales` auto, 1
    where linear light was scaled and 0 elsewhere.

    y cannot tell a dim photo of a bright scene from a bright photo of a dim one. An unknown gain
    starts where the 99th percentile of x has the value that it has in photographs, and `anchor`
    holds it near. Brightening amplifies the noise by 1 / f. The gain of linear light starts where
    the brightest pixels of x have the light that they have in photographs (`estimators.exposure`);
    not under `auto` for points of light on an even ground, as a night sky is no day scene;
    and gains per channel take half of the differences between the channels for colour of the light.

    An error of the level that a camera takes for black, half a level of 8 bits, tints all shadows
    once they are brightened. So where linear light was scaled by an unknown gain, the colours of
    the shadows of y fade (`faded_shadows`).

    Args:
        gain: the known f, positive; it is then not estimated.
        per_channel: a gain of its own for each channel, for coloured light.
        map_size: k, side of the grid of M in cells; 0 leaves M out.
        gamma: estimate an exponent g too; or a number, the known g of a camera's response.
        scales: what the gain scales: `encoded` values, as files store them; linear `light`, as a
            short exposure does; or what the photo shows, `auto`.
        draw_gain: range from which gains are drawn to degrade clean images.

    Raises:
        ValueError: for gains that are not positive, a negative `map_size`, or unknown `scales`.

    Source: Fei et al., Generative Diffusion Prior for Unified Image Restoration, 2023, section 3.3.
    """

    phi_settings = ("per_channel", "map_size", "gamma", "scales")

    def __init__(
        self,
        gain: float | None = None,
        per_channel: bool = False,
        map_size: int = 8,
        gamma: bool | float = False,
        scales: Scales = "encoded",
        draw_gain: tuple[float, float] = (0.15, 0.35),
    ) -> None:
        super().__init__()
        if scales not in ("encoded", "light", "auto"):
            raise ValueError(f"scales {scales!r} must be 'encoded', 'light' or 'auto'")
        if gain is not None:
            require("gain", gain, above=0, remedy="such as 0.25")
        require("map_size", map_size, 0, remedy="such as 8")
        require_range("draw_gain", draw_gain, above=0, remedy="such as 0.25")
        self.gain = gain
        self.per_channel = per_channel
        self.map_size = map_size
        if not isinstance(gamma, bool):
            require("gamma", gamma, above=0, remedy="such as 2.2 or 0.4545")
        self.gamma = gamma
        self.scales = scales
        self.draw_gain = draw_gain
        self.estimated = gain is None or map_size > 0 or gamma is True

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:  # noqa: ARG002
        """The gain that the percentiles show, an empty map and an exponent of 1.

        Noise does not reach far into a percentile, so sigma_y is not used.
        """
        log_gain = self._log_gain_of_encoded(y)
        if self.scales == "encoded":
            return self._phi(log_gain)
        photos = y.cpu()  # a device is waited for once
        seen = [*map(exposure, photos)]
        of_light = y.new_tensor([[max(own.log_gain, math.log(MIN_LIGHT))] for own in seen])
        if self.per_channel:
            of_light = of_light + torch.stack([light_tint(image) for image in photos]).to(y)
        if self.gain is not None:
            of_light = torch.full_like(log_gain, self.gain).log()
        if self.scales == "light":
            return self._phi(of_light)
        linear = y.new_tensor([own.on_light > 0 and not own.starry for own in seen])
        return self._phi(torch.where(linear[:, None] > 0, of_light, log_gain), linear)

    def estimate_sigma(self, y: Tensor) -> Tensor:
        """Noise of the noisiest channel, and a quarter more.

        Cameras amplify one channel more than another, and interpolate colours, so that the finest
        band has less of the noise than coarser ones; where less than all of it is assumed,
        brightening shows the rest.
        """
        channels = torch.stack([estimate_sigma(y[:, c : c + 1]) for c in range(y.shape[1])])
        return COARSE * channels.amax(0)

    def _log_gain_of_encoded(self, y: Tensor) -> Tensor:
        intensity = ((y + 1) / 2).flatten(2)
        apart = self.per_channel and self.scales == "encoded"
        values = intensity if apart else intensity.flatten(1)[:, None]
        gain = kth_smallest(values, max(1, round(0.99 * values.shape[2])), 2) / BRIGHT
        if self.gain is not None:
            gain = torch.full_like(gain, self.gain)
        gain = gain.expand(-1, 3 if self.per_channel else 1)
        return gain.clamp_min(MIN_GAIN if self.gain is None else 0).log()

    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        low, high = self.draw_gain if self.gain is None else (self.gain, self.gain)
        cells, channels = self.map_size**2, 3 if self.per_channel else 1
        u = torch.stack([torch.rand(channels, generator=g) for g in generators])
        n = torch.stack([torch.randn(cells + 1, generator=g) for g in generators])
        linear = like.new_ones(len(generators)) if self.scales == "auto" else None
        phi = self._phi((low + (high - low) * u).log().to(like), linear)
        if self.map_size:
            phi["map"] = n[:, 1:].view(-1, self.map_size, self.map_size).to(like)
        if self.gamma is True:
            phi["log_gamma"] = LOG_GAMMA_SCATTER * n[:, 0].to(like)
        return phi

    def forward(self, x: Tensor, phi: Phi) -> Tensor:
        intensity = (x + 1) / 2
        if self.gamma:
            exponent = phi["log_gamma"].exp()[:, None, None, None]
            intensity = intensity.clamp_min(MIN_INTENSITY) ** exponent
        return 2 * (self._scaled(intensity, _gain(phi), phi) + self._map(phi, intensity)) - 1

    def linearize(self, y: Tensor, x: Tensor, phi: Phi) -> tuple[LinearOperator, Tensor]:
        # Every value of y depends on one value of x, so that the gradient of a sum has all slopes.
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            value = self(point, phi.detach())
            (slope,) = torch.autograd.grad(value.sum(), point)
        return MaskOperator(slope), self.residual(y, value.detach(), phi)

    def residual(self, y: Tensor, prediction: Tensor, phi: Phi) -> Tensor:
        """The residual y - D_phi(x), with what is brighter than a white x taken for white.

        Colours of y next to black count little, as the class says.
        """
        if self.scales != "encoded":
            y = self._without_tint(y, phi).minimum(self._white(phi).detach())
        return y - prediction

    def _without_tint(self, y: Tensor, phi: Phi) -> Tensor:
        """The photo with less colour next to black, if linear light was scaled."""
        if self.gain is not None or self.scales == "encoded":
            return y
        faded = faded_shadows(y)
        if self.scales == "light":
            return faded
        return y.lerp(faded, phi["linear"][:, None, None, None])

    def _white(self, phi: Phi) -> Tensor:
        """What a white x becomes: D_phi(1), as 1 is white in light and under any exponent too."""
        gain = _gain(phi)
        scaled = from_light(gain)
        if self.scales == "auto":
            scaled = gain.lerp(scaled, phi["linear"][:, None, None, None])
        return 2 * (scaled + self._map(phi, scaled)) - 1

    def lift(self, y: Tensor, phi: Phi) -> Tensor:
        """Brighten y: the inverse of the degradation, clipped."""
        seen = (self._without_tint(y, phi) + 1) / 2 - self._map(phi, y)
        intensity = self._scaled(seen, 1 / _gain(phi), phi).clamp(0, 1)
        if self.gamma:
            intensity = intensity ** (-phi["log_gamma"]).exp()[:, None, None, None]
        return 2 * intensity - 1

    def _scaled(self, intensity: Tensor, gain: Tensor, phi: Phi) -> Tensor:
        """Stored intensities of which the values or the linear light are multiplied by a gain."""
        if self.scales == "encoded":
            return gain * intensity
        of_light = from_light(gain * to_light(intensity))
        if self.scales == "light":
            return of_light
        return torch.where(phi["linear"][:, None, None, None] > 0, of_light, gain * intensity)

    def free(self, phi: Phi) -> list[str]:
        known = {"linear"} if self.gain is None else {"linear", "log_gain"}
        known |= set() if self.gamma is True else {"log_gamma"}
        return [name for name in phi if name not in known]

    def anchor(self, phi: Phi, start: Phi) -> Tensor:
        """The sum of the mean squares of all changes, in units of the scatter among photographs."""
        scatter = {"log_gain": LOG_GAIN_SCATTER, "map": 1.0, "log_gamma": LOG_GAMMA_SCATTER}
        changes = [
            ((phi[name] - start[name]) / scatter[name]).view(len(phi[name]), -1)
            for name in phi
            if name in scatter
        ]
        return torch.stack([change.square().mean(1) for change in changes]).sum(0)

    def change(self, phi: Phi, before: Phi) -> Tensor:
        # The picture of a map is stretched to the whole range, however flat the map is.
        return phi.distance(before, self.free(phi))

    def picture(self, phi: Phi) -> Tensor | None:
        """The grid of M, from its least (0) to its largest value (1)."""
        if not self.map_size:
            return None
        low, high = (extreme(phi["map"], (1, 2)) for extreme in (torch.amin, torch.amax))
        span = (high - low).clamp_min(1e-12)
        return ((phi["map"] - low[:, None, None]) / span[:, None, None]).clamp(0, 1)

    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        rows = []
        for b, gain in enumerate(phi["log_gain"].exp().tolist()):
            row: dict[str, Any] = {
                "kind": type(self).__name__,
                "gain": [round(value, 4) for value in gain],
            }
            if self.gamma:
                row["gamma"] = round(float(phi["log_gamma"][b].exp()), 4)
            if self.scales != "encoded":
                linear = self.scales == "light" or bool(phi["linear"][b] > 0)
                row["scales"] = "light" if linear else "encoded"
            if self.map_size:
                grid = MAP_UNIT * phi["map"][b]
                row["map"] = [[round(v, 5) for v in line] for line in grid.tolist()]
            rows.append(row)
        return rows

    def _phi(self, log_gain: Tensor, linear: Tensor | None = None) -> Phi:
        """The parameters without a map and an exponent; `linear` under `scales` auto alone."""
        phi = Phi(log_gain=log_gain)
        if self.map_size:
            phi["map"] = log_gain.new_zeros(len(log_gain), self.map_size, self.map_size)
        if self.gamma:
            exponent = 0.0 if self.gamma is True else math.log(self.gamma)
            phi["log_gamma"] = log_gain.new_full((len(log_gain),), exponent)
        if linear is not None:
            phi["linear"] = linear
        return phi

    def _map(self, phi: Phi, like: Tensor) -> Tensor | float:
        """The map M `(B, 1, H, W)` in intensities."""
        if not self.map_size:
            return 0.0
        rows, columns = (_finer(like, n, self.map_size) for n in like.shape[-2:])
        return MAP_UNIT * (rows @ phi["map"] @ columns.mT)[:, None]


@kept
def _finer(n: int, cells: int) -> Tensor:
    """`(n, cells)`: bicubic interpolation of a side of the grid of M.

    As a matrix, because the gradient of PyTorch's own is not deterministic on every device.
    """
    unit = torch.eye(cells, dtype=torch.float64)[:, None, :, None]
    return F.interpolate(unit, (n, 1), mode="bicubic")[:, 0, :, 0].mT


def _gain(phi: Phi) -> Tensor:
    """The gain f as `(B, 1 or 3, 1, 1)`."""
    return phi["log_gain"].exp()[:, :, None, None]

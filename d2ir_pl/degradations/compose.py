"""Several degradations, one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Generator, Tensor, nn

from d2ir_pl.degradations.base import Degradation, LinearDegradation, is_linear
from d2ir_pl.degradations.first_guesses import first_guesses
from d2ir_pl.degradations.frame import Frame
from d2ir_pl.degradations.free_kernel import FreeKernel
from d2ir_pl.degradations.kernel_fit import KernelFit, kernel_fit_of
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.image_io import Photo
from d2ir_pl.operators.conditioning import Conditioning
from d2ir_pl.operators.linear import (
    LinearOperator,
    Transposed,
    colours_alike,
    conditioning,
    slowness,
)
from d2ir_pl.operators.weighted import coefficients_beside


class Compose(Degradation):
    """y = D_n(... D_2(D_1(x))) + n, such as blur, then downsampling, then JPEG.

    phi holds the parameters of part i under `<i>.<name>`, counted from 0. Each part reads its first
    parameters off what the parts after it leave of y: the last part off y itself, the one before it
    off the last part's `lift` of y, and so on. The widths of a `GaussianBlur` are read before
    anything is enlarged, and then grow with it: an enlarged photo has no high frequencies, as if it
    were blurred. The last part estimates the noise, which the parts before it are told as undoing a
    change of light leaves it, and says what it leaves unexplained. A chain among the parts is
    replaced by its parts.

    Args:
        parts: the degradations in the order in which they happened.

    Raises:
        ValueError: if there are none, or one that needs a margin follows one that shrinks images.
    """

    def __init__(self, parts: list[Degradation]) -> None:
        super().__init__()
        if not parts:
            raise ValueError("parts is empty: give the degradations in the order they happened")
        chains = [part.parts if isinstance(part, Compose) else [part] for part in parts]
        parts = [part for chain in chains for part in chain]
        self.parts: list[Degradation] = nn.ModuleList(parts)  # type: ignore[assignment]
        self.estimated = any(part.estimated for part in parts)
        self.keeps_grey = all(part.keeps_grey for part in parts)
        self.uniform = all(part.uniform for part in parts)
        self.frame = Frame(
            math.prod(part.frame.factor for part in parts),
            tuple(margin for part in reversed(parts) for margin in part.frame.margins),
        )
        shrunk = None
        for part in parts:
            if shrunk and (part.frame.before or part.frame.after):
                raise ValueError(
                    f"{type(part).__name__} looks past the border of an image that {shrunk} has "
                    "made smaller: put it first, or set its border to 'reflect'"
                )
            if part.frame.factor > 1:
                shrunk = type(part).__name__

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:
        phi = Phi()
        for i, own in first_guesses(self.parts, y, sigma_y):
            phi = _named(i, own).replace(**phi)
        return phi

    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        phi = Phi()
        for i, part in enumerate(self.parts):
            phi |= _named(i, part.draw(generators, like))
        return phi

    def forward(self, x: Tensor, phi: Phi) -> Tensor:
        for i, part in enumerate(self.parts):
            x = part(x, _own(i, phi))
        return x

    def split(self, phi: Phi) -> list[tuple[Degradation, Phi]]:
        """The parts, each with its own parameters."""
        return [(part, _own(i, phi)) for i, part in enumerate(self.parts)]

    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        columns = [part.describe(_own(i, phi)) for i, part in enumerate(self.parts)]
        return [{"kind": "Compose", "parts": list(row)} for row in zip(*columns, strict=True)]

    def picture(self, phi: Phi) -> Tensor | None:
        """The picture of the first part that has one."""
        pictures = (part.picture(_own(i, phi)) for i, part in enumerate(self.parts))
        return next((picture for picture in pictures if picture is not None), None)

    def free(self, phi: Phi) -> list[str]:
        return [
            f"{i}.{name}" for i, part in enumerate(self.parts) for name in part.free(_own(i, phi))
        ]

    def told(self, phi: Phi) -> Self:
        return type(self)([part.told(_own(i, phi)) for i, part in enumerate(self.parts)])

    def for_images(
        self, photos: Sequence[Photo], keys: Sequence[str], degraded: bool = True
    ) -> Compose:
        chain = Compose([part.for_images(photos, keys, degraded) for part in self.parts])
        chain.reasons = tuple(reason for part in chain.parts for reason in part.reasons)
        chain.holes = next((part.holes for part in chain.parts if part.holes is not None), None)
        return chain

    def estimate_sigma(self, y: Tensor) -> Tensor:
        return self.parts[-1].estimate_sigma(y)

    def residual(self, y: Tensor, prediction: Tensor, phi: Phi) -> Tensor:
        return self.parts[-1].residual(y, prediction, _own(len(self.parts) - 1, phi))

    def share(self, phi: Phi) -> Tensor:
        return self.parts[-1].share(_own(len(self.parts) - 1, phi))

    def linearize(self, y: Tensor, x: Tensor, phi: Phi) -> tuple[LinearOperator, Tensor]:
        operators = []
        for i, part in enumerate(self.parts[:-1]):
            own = _own(i, phi)
            value = part(x, own)
            operators.append(part.linearize(value, x, own)[0])
            x = value
        last, residual = self.parts[-1].linearize(y, x, _own(len(self.parts) - 1, phi))
        return _Chain([*operators, last]) if operators else last, residual

    def kernel_fit(self, x: Tensor, start: Phi) -> KernelFit | None:
        """That of the first part, where the others are linear and have no free parameters."""
        rest = [part for part in self.parts[1:] if is_linear(part)]
        if len(rest) < len(self.parts) - 1 or any(part.estimated for part in rest):
            return None
        inner = kernel_fit_of(self.parts[0], x, _own(0, start))
        return _ChainOfKernel(inner, rest) if isinstance(inner, FreeKernel) else None

    def lift(self, y: Tensor, phi: Phi) -> Tensor:
        for i, part in reversed(list(enumerate(self.parts))):
            y = part.lift(y, _own(i, phi))
        return y

    def anchor(self, phi: Phi, start: Phi) -> Tensor:
        parts = enumerate(self.parts)
        return torch.stack([part.anchor(_own(i, phi), _own(i, start)) for i, part in parts]).sum(0)

    def change(self, phi: Phi, before: Phi) -> Tensor:
        """The change of the part that changed most."""
        parts = [
            (part, _own(i, phi), _own(i, before))
            for i, part in enumerate(self.parts)
            if part.free(_own(i, phi))
        ]
        return torch.stack([part.change(now, then) for part, now, then in parts]).amax(0)

    def canonicalize(self, phi: Phi) -> Phi:
        canonical = Phi()
        for i, part in enumerate(self.parts):
            canonical |= _named(i, part.canonicalize(_own(i, phi)))
        return canonical


class _ChainOfTransposed:
    """The transpose of a product of operators, the first of which is applied first."""

    def __init__(self, operators: Sequence[Transposed]) -> None:
        self._operators = operators

    def adjoint(self, r: Tensor) -> Tensor:
        for operator in reversed(self._operators):
            r = operator.adjoint(r)
        return r


class _Chain(_ChainOfTransposed):
    """The product of operators, the first of which is applied first."""

    def __init__(self, operators: list[LinearOperator]) -> None:
        super().__init__(operators)
        self._operators: list[LinearOperator] = operators
        self.slowness = max(map(slowness, operators))
        self.colours_alike = all(map(colours_alike, operators))
        known = [own for own in map(conditioning, operators) if own is not None]
        self.conditioning = (
            Conditioning(math.prod(own.gain for own in known))
            if len(known) == len(operators)
            else None
        )
        self._gain: Tensor | None = None
        self._rho: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        for operator in self._operators:
            x = operator.forward(x)
        return x

    def seen(self, observed: Tensor) -> Tensor | None:
        """See `coefficients_beside`."""
        return coefficients_beside(self._operators[-1], observed)

    def precondition(self, g: Tensor, rho: Tensor) -> Tensor:
        """The approximation of the first operator, as if the others scaled all images alike."""
        if self._gain is None:
            flat = self._operators[0].forward(torch.ones_like(g))
            before = flat.square().flatten(1).sum(1)
            for operator in self._operators[1:]:
                flat = operator.forward(flat)
            after = flat.square().flatten(1).sum(1)
            self._gain = (after / before).clamp_min(1e-6)[:, None, None, None]
        if self._rho is None or self._rho[0] is not rho:  # one tensor, by which much is kept
            self._rho = rho, rho / self._gain
        return self._operators[0].precondition(g, self._rho[1]) / self._gain


class _ChainOfKernel:
    """The `KernelFit` of a blur that others follow.

    Args:
        blur: that of the blur.
        rest: linear degradations, at least one, of which nothing is free.
    """

    def __init__(self, blur: FreeKernel, rest: Sequence[LinearDegradation]) -> None:
        self._blur, self._rest = blur, rest

    def at(self, y: Tensor, phi: Phi) -> tuple[Transposed, Tensor]:
        """See `KernelFit`."""
        first, x = self._blur.value(_own(0, phi))
        operators: list[LinearOperator] = []
        for i, part in enumerate(self._rest, 1):
            own, last = _own(i, phi), i == len(self._rest)
            value = y if last else part(x, own)
            operator, residual = part.linearize(value, x, own)
            operators.append(operator)
            x = value
        return _ChainOfTransposed([first, *operators]), residual

    def slope(self, phi: Phi, by_kernel: Tensor, anchor: float) -> Tensor:
        """See `KernelFit`."""
        return self._blur.slope(_own(0, phi), by_kernel, anchor)


def _named(i: int, phi: Phi) -> Phi:
    return Phi({f"{i}.{name}": value for name, value in phi.items()})


def _own(i: int, phi: Phi) -> Phi:
    prefix = f"{i}."
    own = {k.removeprefix(prefix): v for k, v in phi.items() if k.startswith(prefix)}
    return Phi(own)

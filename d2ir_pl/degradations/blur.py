"""Blur by a kernel of any shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from d2ir_pl.degradations.base import Degradation
from d2ir_pl.degradations.blur_guesses import guesses, likeliest
from d2ir_pl.degradations.convolutional_blur import ConvolutionalBlur, Response
from d2ir_pl.degradations.frame import Frame
from d2ir_pl.degradations.free_kernel import FreeKernel, anchor
from d2ir_pl.degradations.kernel_fit import KernelFit
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.errors import require
from d2ir_pl.estimators.kernel_convention import is_symmetric, mirror_evidence
from d2ir_pl.estimators.kernel_shapes import trimmed
from d2ir_pl.estimators.spectrum import gaussian_covariance
from d2ir_pl.image_io import Photo
from d2ir_pl.operators.convolution import Border
from d2ir_pl.operators.drawn_kernels import kernel_law
from d2ir_pl.operators.kernels import (
    gaussian_kernel,
    kernel_centroid,
    padded,
    read_kernel,
)
from d2ir_pl.operators.padding import shifted

# Weight that all entries of a free kernel share when it starts: a softmax cannot leave exact zero.
START_FLOOR = 5e-3
# Logit of an entry that is zero: 1e-30 to single precision, whatever the others are.
ZERO_LOGIT = -69.0
# Evidence a pixel from which one of the two conventions of a kernel is believed: on photographs of
# the training set, 4 of 245 random shakes are then taken the wrong way round, and 24 not told
# (docs/experiments.md).
DECISIVE = 0.001

Convention = Literal["auto", "psf", "correlation"]
"""What the kernel in a file is; see `Blur`."""


class Blur(ConvolutionalBlur):
    """Blur by a free kernel of `kernel_size` x `kernel_size` non-negative entries with sum 1.

    y(u) = sum_v k(v) x(u + v) + n, with k = softmax(logits). phi: `logits` `(B, k, k)`.

    An unknown kernel is guessed in several ways: as the anisotropic Gaussian that the power
    spectrum of y shows (`spectrum.py`), as a straight motion or a disk (`kernel_search.py`), and by
    the edges of y for several sizes (`kernel_hypotheses.py`). Where D2IR restores a photo, the
    guess wins that leads to the best image by a short walk with the prior; where phi is only read
    off y (`init`), by a quick deconvolution. What the spectrum says counts as well. A kernel on the
    simplex follows Fergus et al. 2006.

    Args:
        kernel_size: side of the kernel in pixels, odd; of an unknown one, the largest that is
            looked for. Ignored where `kernel` is given.
        border: `extend` (nothing is assumed about what lies outside the photo), `reflect`,
            `replicate` or `circular`.
        kernel: file with the known kernel: `.npy` (2-D), an image whose brightness is the weight,
            or the `.json` that `predict` wrote about a photo whose blur it estimated. The kernel is
            then not estimated.
        start: where an unknown kernel starts: `edges`, or the Gaussian of the `spectrum` alone.
        convention: what a kernel in a `.npy` file or an image is: what the photo is correlated
            with (`correlation`), or what a bright spot becomes (`psf`, a point spread function),
            which is the same mirrored in its middle. `auto` looks which of the two explains the
            photo (`kernel_convention.py`), and takes a correlation where it does not tell.
        response: how the camera has stored light, `linear` or `srgb`; see `ConvolutionalBlur`.
        width: standard deviation in pixels of the Gaussian that is guessed; None reads one off the
            spectrum, which a compression has changed.
        draw_kernel: kernels that clean images are degraded with: by a law (`shake`, `walk`,
            `trajectory`, `spline`, `tremor`, `zernike`; see `drawn_kernels.py`), or one of those in
            a folder of kernel files.

    Raises:
        ValueError: for an even or tiny size, a kernel file that holds no kernel, an unknown
            convention, or a folder without kernels.
    """

    file_settings = ("kernel", "draw_kernel")

    def __init__(
        self,
        kernel_size: int = 21,
        border: Border = "extend",
        kernel: str | None = None,
        start: Literal["edges", "spectrum"] = "edges",
        convention: Convention = "auto",
        response: Response = "linear",
        draw_kernel: str = "shake",
        width: float | None = None,
    ) -> None:
        if width is not None:
            require("width", width, above=0, remedy="such as 1.5 pixels")
        if start not in ("edges", "spectrum"):
            raise ValueError(f"start {start!r} must be 'edges' or 'spectrum'")
        if convention not in get_args(Convention):
            raise ValueError(f"convention {convention!r} must be 'auto', 'psf' or 'correlation'")
        given = None if kernel is None else read_kernel(Path(kernel))
        super().__init__(kernel_size if given is None else given.shape[-1], border, response)
        self.start = start
        self.draw_kernel = draw_kernel
        self.width = width
        self._law = kernel_law(draw_kernel)
        self.convention: Convention = convention
        self._given: Tensor | None = None
        """A given kernel that may have to be mirrored, as each photo tells."""
        if given is None:
            if convention == "psf":
                raise ValueError("convention 'psf' is that of a known kernel: give its file")
            self.reasons = (
                "no kernel was given: it was looked for in the photo, up to "
                f"{self.kernel_size} pixels wide",
            )
            return
        mine = str(kernel).lower().endswith(".json")  # which this program wrote, as correlation
        if convention == "psf" and not mine:
            given = given.flip(0, 1)
        self._tell(Phi(logits=_logits(given)[None]))
        if convention == "auto" and not mine and not is_symmetric(given):
            self._given = given
            del self.init  # the class's own asks the photo

    def kernel(self, phi: Phi) -> Tensor:
        return phi["logits"].flatten(1).softmax(1).view_as(phi["logits"])

    def told(self, phi: Phi) -> Self:
        """The same family with phi known; x reaches no farther than its kernels do."""
        family = super().told(phi)
        family.reasons = ()
        if self.border == "extend":
            radius = max(trimmed(kernel).shape[-1] // 2 for kernel in self.kernel(phi))
            family.frame = Frame(margins=((radius, radius),))
        return family

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:
        y, sigma_y = self.light(y, sigma_y)
        if self._given is not None:
            evidence = mirror_evidence(y, sigma_y, self._given)
            mirrored = (evidence > DECISIVE)[:, None, None]
            logits = _logits(self._given).to(y)
            return Phi(logits=torch.where(mirrored, logits.flip(0, 1), logits), mirror=evidence)
        if self.start == "edges":
            kernel = torch.stack([self._guessed(*image) for image in zip(y, sigma_y, strict=True)])
        else:
            covariance = gaussian_covariance(y, sigma_y, isotropic=False)
            kernel = gaussian_kernel(covariance, self.kernel_size)
        kernel = kernel + START_FLOOR / self.kernel_size**2
        return Phi(logits=(kernel / kernel.sum((1, 2), keepdim=True)).log())

    def _guessed(self, y: Tensor, sigma_y: Tensor) -> Tensor:
        """The kernel of one photo that a quick look finds best."""
        best = likeliest(y, sigma_y, guesses(y, sigma_y, self.kernel_size, width=self.width))
        return padded(best.kernel, self.kernel_size).to(y)

    def resized(self, size: int) -> Blur:
        """The same family with kernels of another side, which are unknown."""
        known: dict[str, Any] = {"response": self.response, "draw_kernel": self.draw_kernel}
        return Blur(size, self.border, start=self.start, width=self.width, **known)

    def embedded(self, phi: Phi) -> Phi:
        """The parameters of kernels of another, smaller side as those of this family."""
        logits = phi["logits"]
        margin = (self.kernel_size - logits.shape[-1]) // 2
        return Phi(logits=F.pad(logits, (margin,) * 4, value=ZERO_LOGIT))

    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        """Random kernels by the law `draw_kernel`."""
        kernels = torch.stack([self._law(g, self.kernel_size) for g in generators]).to(like)
        return Phi(logits=(kernels + 1e-12).log())

    def for_images(
        self,
        photos: Sequence[Photo],  # noqa: ARG002
        keys: Sequence[str],  # noqa: ARG002
        degraded: bool = True,
    ) -> Degradation:
        if degraded or self._given is None or self.known is None:
            return self
        # What is degraded here is correlated with the kernel.
        return self.told(self.known)

    def picture(self, phi: Phi) -> Tensor:
        """The kernels, each with a largest entry of 1, without the margin that all have empty."""
        whole = super().picture(phi)
        if not self.estimated:
            return whole
        least = max(3, *(trimmed(kernel).shape[-1] for kernel in whole))
        margin = (self.kernel_size - least) // 2
        inner = slice(margin, self.kernel_size - margin)
        return whole[:, inner, inner]

    def change(self, phi: Phi, before: Phi) -> Tensor:
        now, then = (self.kernel(p).flatten(1) for p in (phi, before))
        distance: Tensor = (now - then).norm(dim=1) / now.norm(dim=1)
        return distance

    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        rows = super().describe(phi)
        if self.estimated:
            for row, kernel in zip(rows, self.kernel(phi).double().cpu(), strict=True):
                inner = trimmed(kernel)
                row["kernel_size"] = inner.shape[-1]
                row["kernel"] = [[float(f"{v:.9g}") for v in line] for line in inner.tolist()]
        if "mirror" in phi:
            for row, evidence in zip(rows, phi["mirror"].tolist(), strict=True):
                row["convention"] = "psf" if evidence > DECISIVE else "correlation"
                row["mirror_evidence"] = round(evidence, 5)
        return rows

    def anchor(self, phi: Phi, start: Phi) -> Tensor:
        return anchor(self.kernel(phi), self.kernel(start))

    def kernel_fit(self, x: Tensor, start: Phi) -> KernelFit | None:
        """See `kernel_fit_of`."""
        return FreeKernel(self, x, start) if self.estimated else None

    def canonicalize(self, phi: Phi) -> Phi:
        """Centre the kernels: y cannot tell a shifted kernel from a shifted image."""
        kernel = self.kernel(phi)
        offset = kernel_centroid(kernel).nan_to_num().round().long()
        return Phi(logits=shifted(phi["logits"], offset))


def _logits(kernel: Tensor) -> Tensor:
    """The logarithm of a kernel."""
    return kernel.clamp_min(math.exp(ZERO_LOGIT)).log()

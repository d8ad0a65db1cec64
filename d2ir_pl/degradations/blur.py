"""Blur by a kernel of any shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Generator, Tensor

from d2ir_pl.degradations.convolutional_blur import ConvolutionalBlur
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.estimators.edge_kernel import edge_kernel
from d2ir_pl.estimators.kernel_search import spectral_misfit
from d2ir_pl.estimators.spectrum import gaussian_covariance
from d2ir_pl.estimators.widths import LOG_WIDTH_SCATTER, SHARP_WIDTH
from d2ir_pl.operators.convolution import Border
from d2ir_pl.operators.kernels import (
    gaussian_kernel,
    kernel_centroid,
    kernel_covariance,
    read_kernel,
    shake_kernel,
)
from d2ir_pl.operators.padding import pad

# Least weight of a kernel entry when a free kernel starts: a softmax cannot leave exact zero.
START_FLOOR = 1e-5


class Blur(ConvolutionalBlur):
    """Blur by a free kernel of `kernel_size` x `kernel_size` non-negative entries with sum 1.

    y(u) = sum_v k(v) x(u + v) + n, with k = softmax(logits). phi: `logits` `(B, k, k)`.

    An unknown kernel starts as the anisotropic Gaussian that the power spectrum of y shows
    (`spectrum.py`) or, where the photo is blurred at all and that explains the spectrum better, as
    the kernel that the edges of y show (`edge_kernel.py`). A kernel on the simplex follows Fergus
    et al. 2006.

    Args:
        kernel_size: side of the kernel in pixels, odd. Ignored where `kernel` is given.
        border: `extend` (nothing is assumed about what lies outside the photo), `reflect`,
            `replicate` or `circular`.
        kernel: file with the known kernel, `.npy` (2-D, applied as correlation), an image whose
            brightness is the weight, or the `.json` that `predict` wrote about a photo whose blur
            it estimated. The kernel is then not estimated.
        start: where an unknown kernel starts: `edges`, or the Gaussian of the `spectrum` alone.

    Raises:
        ValueError: for an even or tiny size, or a kernel file that holds no kernel.
    """

    def __init__(
        self,
        kernel_size: int = 21,
        border: Border = "extend",
        kernel: str | None = None,
        start: Literal["edges", "spectrum"] = "edges",
    ) -> None:
        if start not in ("edges", "spectrum"):
            raise ValueError(f"start {start!r} must be 'edges' or 'spectrum'")
        known = None if kernel is None else read_kernel(Path(kernel))
        super().__init__(kernel_size if known is None else known.shape[-1], border)
        self.start = start
        if known is not None:
            # exp(-69) is 1e-30: a zero of the known kernel stays one to single precision.
            self._tell(Phi(logits=known[None].clamp_min(1e-30).log()))

    def kernel(self, phi: Phi) -> Tensor:
        return phi["logits"].flatten(1).softmax(1).view_as(phi["logits"])

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:
        covariance = gaussian_covariance(y, sigma_y, isotropic=False)
        kernel = gaussian_kernel(covariance, self.kernel_size)
        if self.start == "edges":
            blurred = torch.linalg.eigvalsh(covariance.cpu())[:, 1].to(y.device) > SHARP_WIDTH**2
            likely = self._more_likely(y[blurred], sigma_y[blurred], kernel[blurred])
            kernel = kernel.index_put((blurred,), likely)
        kernel = kernel + START_FLOOR
        return Phi(logits=(kernel / kernel.sum((1, 2), keepdim=True)).log())

    def _more_likely(self, y: Tensor, sigma_y: Tensor, gaussian: Tensor) -> Tensor:
        """Choose by each spectrum between the Gaussian `(B, k, k)` and the kernel of the edges."""
        if not len(y):
            return gaussian
        edges = [edge_kernel(image, self.kernel_size) for image in y]
        rows = zip(gaussian, edges, strict=True)
        both = torch.stack([torch.stack([g, g if e is None else e.to(g)]) for g, e in rows])
        choice = spectral_misfit(y, sigma_y, both).argmin(1)
        return both[torch.arange(len(y), device=y.device), choice]

    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        """Random camera shakes: smooth paths, slightly out of focus."""
        kernels = torch.stack([shake_kernel(g, self.kernel_size) for g in generators]).to(like)
        return Phi(logits=(kernels + 1e-12).log())

    def anchor(self, phi: Phi, start: Phi) -> Tensor:
        """Change of the covariance's logarithm, in units of the spectrum's scatter.

        It holds the size and direction of the kernel that the spectrum shows, and leaves its
        shape free.
        """
        now, then = (kernel_covariance(self.kernel(p)) for p in (phi, start))
        change = torch.stack(
            [
                (now[:, 0, 0] / then[:, 0, 0]).log() / 2,
                (now[:, 1, 1] / then[:, 1, 1]).log() / 2,
                (now[:, 0, 1] - then[:, 0, 1]) / (then[:, 0, 0] * then[:, 1, 1]).sqrt(),
            ]
        )
        return (change / LOG_WIDTH_SCATTER).square().sum(0)

    def canonicalize(self, phi: Phi) -> Phi:
        """Centre the kernels: y cannot tell a shifted kernel from a shifted image."""
        kernel = self.kernel(phi)
        offset = kernel_centroid(kernel).nan_to_num().round().long()
        logits = phi["logits"]
        rows = []
        for image, (dx, dy) in zip(logits, offset.tolist(), strict=True):
            r = self.kernel_size // 2
            shifted = pad(image, (r, r), (r, r), "replicate")
            rows.append(shifted[r + dy : r + dy + image.shape[0], r + dx : r + dx + image.shape[1]])
        return Phi(logits=torch.stack(rows))

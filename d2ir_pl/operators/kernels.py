"""Blur kernels: Gaussian ones, random ones, those in files, and what describes them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from d2ir_pl.errors import in_words
from d2ir_pl.image_io import ImageError, read_image
from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.numbers import Array, read_object, unpacked

WIDE = 101
"""Side of a known kernel in pixels from which zeros all around are left out, as they cost time."""

LARGEST_SIDE = 4097
"""Side of a known kernel in pixels at most, once zeros all around are left out."""

_MOST_BYTES = 2**28
_OTHER_ARRAYS = (".npz", ".mat", ".txt", ".csv", ".h5", ".pt", ".pth", ".pkl")
_ARRAYS = "arrays are read from .npy files, as numpy.save writes them"
_RECORD = "the .json that predict writes about a photo"


def gaussian_kernel(covariance: Tensor, size: int) -> Tensor:
    """`(B, size, size)` kernels with sum 1, k(v) proportional to exp(-v^T S^-1 v / 2).

    Args:
        covariance: `(B, 2, 2)` in pixels^2, order (x, y), positive definite.
        size: side of the kernels in pixels, odd.
    """
    s_xx, s_xy, s_yy = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    det = s_xx * s_yy - s_xy**2
    return kernel_of_precision(torch.stack([s_yy, -s_xy, s_xx], 1) / det[:, None], size)


def kernel_of_precision(precision: Tensor, size: int) -> Tensor:
    """`(B, size, size)` kernels with sum 1, k(v) proportional to exp(-v^T P v / 2).

    Args:
        precision: `(B, 3)`: P_xx, P_xy and P_yy in pixels^-2, or `(B, 1)` for the same along both
            axes.
        size: side of the kernels in pixels, odd.
    """
    exponent = precision @ _half_squares(precision, size, precision.shape[1] == 1)
    return exponent.softmax(1).view(-1, size, size)


@kept
def _half_squares(size: int, isotropic: bool) -> Tensor:
    """The terms of -v^T P v / 2 at the entries v of a kernel, `(3, n)`, or their sum `(1, n)`."""
    i = torch.arange(size, dtype=torch.float64) - size // 2
    x, y = i.expand(size, size).flatten(), i[:, None].expand(size, size).flatten()
    if isotropic:
        return -(x**2 + y**2)[None] / 2
    return torch.stack([-(x**2) / 2, -x * y, -(y**2) / 2])


def shake_kernel(generator: Generator, size: int) -> Tensor:
    """A random motion path of about half the kernel's side, drawn with a narrow Gaussian pen."""
    steps = 200
    velocity = torch.randn(2, generator=generator, dtype=torch.float64)
    jerk = torch.randn(steps, 2, generator=generator, dtype=torch.float64)
    path = (velocity + 0.15 * jerk.cumsum(0)).cumsum(0)
    path = path - path.mean(0)
    path = path / path.norm(dim=1).max() * (size / 4)
    i = torch.arange(size, dtype=torch.float64) - size // 2
    pen = [torch.exp(-((i - path[:, d, None]) ** 2) / (2 * 0.7**2)) for d in (0, 1)]
    kernel = (pen[1].T @ pen[0]).float()
    return kernel / kernel.sum()


def read_kernel(path: Path) -> Tensor:
    """A kernel `(k, k)` with odd k and sum 1, from a `.npy` file, an image, or a record.

    A record is the `.json` that `predict` writes about a photo, with the blur that it estimated.
    Kernels with an even side get a row or column of zeros, and oblong ones are padded to squares.
    Where the side is more than `WIDE`, zeros all around are left out, as many as keep the middle
    where it is.

    Raises:
        ValueError: if the file is missing or does not hold a non-negative, non-empty 2-D kernel, or
            one with a side of more than `LARGEST_SIDE`.
    """
    if not path.is_file():
        raise ValueError(
            f"kernel file {path} does not exist: give a .npy file, an image, or the .json of a "
            "restored photo"
        )
    suffix = path.suffix.lower()
    if suffix == ".json":
        values = _kernel_of_record(path)
    elif suffix == ".npy":
        values = _kernel_of_array(path)
    elif suffix in _OTHER_ARRAYS:
        raise ValueError(f"kernel file {path} is not an image: {_ARRAYS}")
    else:
        try:
            values = ((read_image(path).pixels.mean(0) + 1) / 2).numpy()
        except ImageError as error:
            raise ValueError(f"kernel file {error}; {_ARRAYS}") from None
    values = np.asarray(values)
    if values.ndim != 2 or values.dtype.kind not in "fiu" or not values.size:
        raise ValueError(
            f"kernel file {path} holds {values.dtype} {values.shape}: give a 2-D array of numbers"
        )
    # In float64, where the sum of the largest float32 does not overflow.
    kernel = torch.from_numpy(values.astype(np.float64))
    if not bool(kernel.isfinite().all()) or float(kernel.min()) < 0 or float(kernel.max()) <= 0:
        raise ValueError(f"kernel file {path} must hold finite weights of at least 0, not all 0")
    kernel = kernel / kernel.max()
    side = max(3, *(n + 1 - n % 2 for n in kernel.shape))
    (top, below), (left, right) = (_halves(side - n) for n in kernel.shape)
    kernel = F.pad(kernel, (left, right, top, below))
    kernel = kernel if side <= WIDE else _trimmed(kernel)
    if len(kernel) > LARGEST_SIDE:
        raise ValueError(
            f"kernel file {path} holds a kernel of {len(kernel)}x{len(kernel)} pixels, more than "
            f"{LARGEST_SIDE}: cut it to what it weighs"
        )
    return (kernel / kernel.sum()).float()


def _trimmed(kernel: Tensor) -> Tensor:
    """A square kernel without the zeros all around, but for a side of 3; its middle stays."""
    middle = len(kernel) // 2
    reach = (kernel.nonzero() - middle).abs().max()
    r = max(1, int(reach))
    return kernel[middle - r : middle + r + 1, middle - r : middle + r + 1]


def _kernel_of_array(path: Path) -> Array:
    """The array in a `.npy` file.

    Raises:
        ValueError: if the file is too large, or no such file.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(
            f"kernel file {path} has {path.stat().st_size} bytes, too many for a kernel: cut it to "
            "what it weighs"
        )
    try:
        values = np.load(path, allow_pickle=False)
    except Exception as error:  # the reader raises anything at all on hostile bytes
        raise ValueError(
            f"kernel file {path} is not a readable .npy array: {in_words(error)}"
        ) from None
    if not isinstance(values, np.ndarray):
        raise ValueError(f"kernel file {path} holds several arrays: save one with numpy.save")
    return values


def _kernel_of_record(path: Path) -> Array:
    """The kernel of the one blur that a record tells of.

    Raises:
        ValueError: if it tells of none, or of several.
    """
    try:
        record = read_object(path)
    except ValueError as error:
        raise ValueError(f"kernel file {path} {error}: give {_RECORD}") from None
    phi = record.get("phi", record)
    if record.get("status") == "failed":
        raise ValueError(
            f"kernel file {path} has no kernel: that photo failed ({record.get('reason', '')})"
        )
    if not isinstance(phi, dict) or "kind" not in phi:
        raise ValueError(f"kernel file {path} holds no record of a restored photo: give {_RECORD}")
    parts = phi["parts"] if isinstance(phi.get("parts"), list) else [phi]
    # The kernel of a downsampling is named by a word.
    blurs = [p for p in parts if isinstance(p, dict) and isinstance(p.get("kernel"), list | dict)]
    kinds = [str(part.get("kind")) for part in (blurs or parts) if isinstance(part, dict)]
    if not blurs:
        raise ValueError(
            f"kernel file {path} has no kernel: it tells of {' and '.join(kinds)}, not of a blur"
        )
    if len(blurs) > 1:
        raise ValueError(
            f"kernel file {path} has {len(blurs)} kernels, of {' and '.join(kinds)}: give one as a "
            ".npy file"
        )
    try:
        return unpacked(blurs[0]["kernel"])
    except ValueError as error:
        raise ValueError(f"kernel file {path} has a kernel whose {error}") from None


def kernel_covariance(kernel: Tensor) -> Tensor:
    """`(B, 2, 2)` second moments of `(B, k, k)` kernels about their centroids, order (x, y)."""
    return covariance_of(kernel_moments(kernel))


def kernel_moments(kernel: Tensor) -> Tensor:
    """`(B, 7)` sums over the entries of kernels `(B, k, k)`, weighed by the `monomials`."""
    return kernel.flatten(1) @ monomials(kernel, kernel.shape[-1])


def covariance_of(moments: Tensor) -> Tensor:
    """`(B, 2, 2)` second moments about the centroids, of `kernel_moments`."""
    first, second = moments[:, 1:3], moments[:, 3:].view(-1, 2, 2)
    # sum_v k(v) (v - c) (v - c)^T, with c = sum_v k(v) v.
    return torch.addcmul(second, moments[:, :1, None] - 2, first[:, :, None] * first[:, None])


@kept
def monomials(size: int) -> Tensor:
    """`(n, 7)`: 1, x, y, x^2, x y, x y and y^2 at the n entries of a kernel, 0 in its middle."""
    i = torch.arange(size, dtype=torch.float64) - size // 2
    x, y = i.expand(size, size).flatten(), i[:, None].expand(size, size).flatten()
    return torch.stack([torch.ones_like(x), x, y, x * x, x * y, x * y, y * y], 1)


def principal_widths(covariance: Tensor) -> tuple[float, float, float]:
    """Major and minor width in pixels and the major axis' angle in [0, pi), of a covariance."""
    values, vectors = torch.linalg.eigh(covariance)
    minor, major = values.clamp_min(0).sqrt().tolist()
    return major, minor, float(torch.atan2(vectors[1, 1], vectors[0, 1]) % math.pi)


def kernel_centroid(kernel: Tensor) -> Tensor:
    """`(B, 2)` centre of mass (x, y) relative to the middle entry, in pixels."""
    return kernel.flatten(1) @ monomials(kernel, kernel.shape[-1])[:, 1:3]


def _halves(n: int) -> tuple[int, int]:
    return n // 2, n - n // 2


def padded(kernel: Tensor, size: int) -> Tensor:
    """A kernel `(k, k)` in the middle of `(size, size)` zeros, both odd."""
    return F.pad(kernel, ((size - kernel.shape[-1]) // 2,) * 4)

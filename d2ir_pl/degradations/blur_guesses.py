"""What kernel may have blurred a photo: guesses, of which the image they lead to tells the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from d2ir_pl.degradations.parametric_blur import DefocusBlur, MotionBlur
from d2ir_pl.estimators.edge_windows import edge_windows
from d2ir_pl.estimators.kernel_hypotheses import Hypothesis, kernel_of_edges
from d2ir_pl.estimators.kernel_search import spectral_misfit
from d2ir_pl.estimators.kernel_shapes import centred, cut_off, likeness, trimmed
from d2ir_pl.estimators.kernel_worth import deconvolved, unlikeliness
from d2ir_pl.estimators.noise_level import grey_variance
from d2ir_pl.estimators.remembered import remembered
from d2ir_pl.estimators.spectrum import gaussian_covariance
from d2ir_pl.estimators.threads import each, one_thread
from d2ir_pl.estimators.widths import SHARP_WIDTH
from d2ir_pl.operators.kernels import gaussian_kernel, kernel_covariance, padded, principal_widths

# Settings were chosen on photographs with synthetic shakes (docs/experiments.md).
SIZES = (15, 21, 29, 41, 65, 101)
"""Sides of the kernels that are looked for, as far as the photo is `LEAST_KERNELS` of them wide."""
SPACING = 1.4
"""Ratio of the largest side to the next one, at least."""
SETTINGS = ((6.4e-2, 0.0), (3.2e-2, 0.1), (1.6e-2, 0.1))
"""Edge weights, each with the threshold of the minimal pixels."""
PARAMETRIC_SIZE = 41
"""Largest side of a straight motion or a disk, whose search takes the square of its time."""
WINDOW, WINDOW_KERNELS = 512, 6
"""Side in pixels of the part of a large photo that edges are looked for in, at least, and the same
in kernels."""
QUICK_WINDOW = 256
"""Side in pixels of the part that a quick deconvolution looks at, at least."""
LEAST_KERNELS = 4
"""How many kernels wide a photo is at least, and the part that a quick deconvolution looks at."""
SPECTRUM_WEIGHT, SPECTRUM_LIMIT = 2.0, 0.25
"""Weight of the logarithm of the spectrum's misfit in the choice between guesses, and the most that
it counts: noise that is not white has a spectrum of its own."""
QUICK_DOUBT = 0.1
"""What speaks against every guess but the Gaussian where a quick deconvolution decides."""
SIMPLE = ("motion", "disk")
"""Sources of guesses of which one is kept on a short list."""
SAME = 0.97
"""Likeness above which two kernels are taken for one."""
PEERS = 6
"""Kernels of edges, by the look of the images that they lead to, which are compared."""
CLOSEST = 3
"""The closest of them, whose likeness counts: searches of some sizes and weights may well fail."""
DISAGREEMENT, LEAST_DOUBT = 1.5, 0.05
"""What speaks against a kernel of edges that is like none of its peers, in the units of
`unlikeliness`, and against one that the closest of them are the same as."""
NO_NEWS, LIKE_GAUSSIAN = 0.1, 0.8
"""What speaks besides against a kernel of edges that is like the Gaussian, which has fewer ways to
be wrong, and the likeness from which it is."""
CUT, WHOLE = 4.0, 0.1
"""What speaks against a kernel all of which is cut off, in the same units, and the share of it up
to which that says nothing: a path may end where its sides do."""


@dataclass(frozen=True)
class Guess:
    """A kernel that may have blurred a photo.

    Attributes:
        source: what it was read off: `gaussian`, `motion`, `disk` or `edges`.
        kernel: `(k, k)` of a correlation, centred, with sum 1.
        agreement: mean likeness of the closest of the best other kernels of edges to it, in [0, 1];
            None where none were compared. Edges that show a kernel show it to several searches.
        cut: share of it at the edge of the sides that it was looked for in (`cut_off`).
    """

    source: str
    kernel: Tensor
    agreement: float | None = None
    cut: float = 0.0

    @property
    def size(self) -> int:
        """Side of the kernel in pixels."""
        return self.kernel.shape[-1]


@remembered
def guesses(
    y: Tensor,
    sigma_y: Tensor,
    largest: int,
    seen: Tensor | None = None,
    width: float | None = None,
) -> list[Guess]:
    """Guess the kernel of a photo, from its spectrum and from its edges.

    Args:
        y: `(C, H, W)` photo in [-1, 1].
        sigma_y: standard deviation of its noise in the units of y, a scalar.
        largest: largest side of a kernel in pixels, odd.
        seen: `(H, W)`, 0 where a pixel is no part of the photo; None where all are.
        width: standard deviation in pixels of the Gaussian, where it is known from elsewhere.

    Returns:
        The Gaussian first, which the spectrum shows where it is not known. It is the only one for a
        photo that is too small or flat to show edges.
    """
    image, sigma = y.float()[None], sigma_y.view(1)
    if width is None:
        covariance = gaussian_covariance(image, sigma, isotropic=False)
    else:
        covariance = width**2 * torch.eye(2)[None]
    major = principal_widths(covariance[0])[0]
    gaussian = Guess("gaussian", gaussian_kernel(covariance, _odd(6 * major, largest))[0])
    grey = (image[0].mean(0) + 1) / 2
    sizes = _sizes(min(largest, _odd_below(min(grey.shape) / LEAST_KERNELS)))
    if not sizes or float(grey.std()) < 1e-3:
        return [gaussian]
    noise = float(grey_variance(image, sigma).sqrt()) / 2
    edges = _of_edges(grey, noise, sizes, seen)
    return [gaussian, *_parametric(image, sigma, min(largest, PARAMETRIC_SIZE)), *edges]


def _of_edges(grey: Tensor, noise: float, sizes: Sequence[int], seen: Tensor | None) -> list[Guess]:
    """Kernels of several sizes that the edges show, in a window that is some kernels wide."""
    sides = {size: max(WINDOW, WINDOW_KERNELS * size) for size in sizes}
    corners = {side: edge_windows(grey, side, 1, seen)[0].tolist() for side in set(sides.values())}

    def found(guessed: tuple[int, Hypothesis]) -> Guess:
        side, hypothesis = guessed
        top, left = corners[side]
        window = grey[None, top : top + side, left : left + side]
        kernel = kernel_of_edges(window, hypothesis, noise)
        return Guess("edges", trimmed(centred(kernel)), cut=cut_off(kernel))

    hypotheses = [(sides[n], Hypothesis(n, w, m)) for n in sizes for w, m in SETTINGS]
    return each(found, hypotheses[::-1])[::-1]  # the largest take longest


def _parametric(y: Tensor, sigma: Tensor, size: int) -> list[Guess]:
    """The straight motion and the disk that explain the spectrum best."""
    found = []
    for source, family in (("motion", MotionBlur(size)), ("disk", DefocusBlur(size))):
        kernel = family.kernel(family.init(y, sigma))[0]
        found.append(Guess(source, trimmed(kernel)))
    return found


@one_thread()
def likeliest(y: Tensor, sigma_y: Tensor, found: Sequence[Guess]) -> Guess:
    """The guess that a quick deconvolution and the spectrum together find best.

    Args:
        y: `(C, H, W)` photo in [-1, 1].
        sigma_y: standard deviation of its noise in the units of y, a scalar.
        found: guesses on its kernel, the Gaussian first.
    """
    if len(found) == 1:
        return found[0]
    scores = _quick_scores(y, found) + handicaps(y, sigma_y, found, QUICK_DOUBT)
    return found[int(scores.argmin())]


@one_thread()
def shortlist(y: Tensor, found: Sequence[Guess], count: int) -> list[Guess]:
    """The first guess, and those that lead to the best images by a quick deconvolution.

    Of guesses that are nearly the same kernel, the better one is kept, and of a straight motion and
    a disk: narrow ones, which change the photo little, lead to images that this look finds good.

    Args:
        y: `(C, H, W)` photo in [-1, 1].
        found: guesses on its kernel.
        count: number of guesses that are kept, at most.

    Returns:
        The first guess, and then the others that are kept, best first.
    """
    if len(found) == 1:
        return list(found)
    kept = [0]
    losses = torch.tensor([_loss(guess) for guess in found])
    order = (_quick_scores(y, found) + losses).argsort().tolist()
    found = _compared(found, [i for i in order if found[i].source == "edges"][:PEERS])
    for i in order:
        new = all(likeness(found[i].kernel, found[j].kernel) < SAME for j in kept)
        simple = sum(found[j].source in SIMPLE for j in kept)
        if len(kept) < count and new and not (simple and found[i].source in SIMPLE):
            kept.append(i)
    return [found[i] for i in kept]


def _compared(found: Sequence[Guess], peers: Sequence[int]) -> list[Guess]:
    """The guesses, each of edges with its agreement with some others.

    Args:
        found: guesses on a kernel.
        peers: places of those that the others are compared with.
    """
    compared = []
    for i, guess in enumerate(found):
        alike = sorted(likeness(guess.kernel, found[j].kernel) for j in peers if j != i)[-CLOSEST:]
        known = guess.source == "edges" and bool(alike)
        compared.append(replace(guess, agreement=sum(alike) / len(alike)) if known else guess)
    return compared


@one_thread()
def handicaps(y: Tensor, sigma_y: Tensor, found: Sequence[Guess], doubt: float) -> Tensor:
    """What the spectrum says against each guess, `(n,)`, in the units of `unlikeliness`.

    The spectrum alone takes many a shake for a Gaussian. But what it says is not seen in an image
    that a short walk leads to, where blurs that are about as wide look alike. Where it shows no
    blur to speak of, it is not asked about others: a texture may look to it like any of them.

    Args:
        y: `(C, H, W)` photo in [-1, 1].
        sigma_y: standard deviation of its noise in the units of y, a scalar.
        found: guesses on its kernel, the Gaussian first.
        doubt: what speaks against every guess but the Gaussian, which has fewer ways to be wrong.
            Against kernels of edges speaks instead that they do not agree, where that is known.
    """
    against = torch.tensor([_doubt(guess, doubt, found[0].kernel) for guess in found])
    against[0] = 0
    gaussian = found[0].kernel[None]
    if principal_widths(kernel_covariance(gaussian)[0])[0] <= SHARP_WIDTH:
        return against
    kernels = _stacked(found)[None]
    misfit = spectral_misfit(y.detach().cpu()[None], sigma_y.detach().cpu().view(1), kernels)[0]
    evidence = SPECTRUM_WEIGHT * (misfit / misfit[0]).log()
    return against + evidence.clamp(-SPECTRUM_LIMIT, SPECTRUM_LIMIT)


def _doubt(guess: Guess, doubt: float, gaussian: Tensor) -> float:
    """What speaks against a guess before one looks, with `doubt` where no agreement is known."""
    if guess.agreement is not None:
        doubt = LEAST_DOUBT + DISAGREEMENT * (1 - guess.agreement)
        if likeness(guess.kernel, gaussian) > LIKE_GAUSSIAN:
            doubt += NO_NEWS
    return doubt + _loss(guess)


def _loss(guess: Guess) -> float:
    """What speaks against a guess because its sides have cut it off."""
    return CUT * max(0.0, guess.cut - WHOLE)


def _quick_scores(y: Tensor, found: Sequence[Guess]) -> Tensor:
    """The unlikeliness `(n,)` of the images that a quick deconvolution leads to."""
    grey = (y.detach().cpu().float().mean(0) + 1) / 2
    kernels = _stacked(found)
    side = max(QUICK_WINDOW, LEAST_KERNELS * kernels.shape[-1])
    top, left = edge_windows(grey, side, 1)[0].tolist()
    part = grey[None, top : top + side, left : left + side]
    return unlikeliness(*deconvolved(part, kernels))


def _stacked(found: Sequence[Guess]) -> Tensor:
    """The kernels `(n, k, k)` of guesses, at the size of the largest."""
    largest = max(guess.size for guess in found)
    return torch.stack([padded(guess.kernel, largest) for guess in found])


def _sizes(largest: int) -> list[int]:
    """Sides of kernels up to about a largest one; none where that is under 3."""
    if largest < 3:
        return []
    sizes = [size for size in SIZES if size <= largest]
    return sizes if sizes and SPACING * sizes[-1] > largest else [*sizes, largest]


def _odd_below(n: float) -> int:
    return 2 * int((n - 1) // 2) + 1


def _odd(least: float, largest: int) -> int:
    """The smallest odd number of at least 3 and `least`, or `largest` where that is less."""
    return min(largest, max(3, 2 * math.ceil((least - 1) / 2) + 1))

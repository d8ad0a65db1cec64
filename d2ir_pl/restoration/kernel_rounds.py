"""Refinement of a blur kernel by the prior: a walk with the kernel, a kernel from its image, ...

A walk explains the photo by the kernel that it is given, wrong parts included, as far as it
believes it. So the first walk assumes a large error m beside the noise, and each one less, as what
is left unexplained gets less:

    s <- min(s, sqrt(sigma^2 + unexplained^2 (misfit - sigma^2))),    s^2 = sigma^2 + m^2,

but m shrinks slowly, by `SLOWNESS` at most, and never so far that a walk explains more of the photo
than its noise allows, which is a misfit of less than (share sigma)^2 (`assumed_error.py`). The
image of a kernel that is nearly right has the sharp edges that the prior knows, and those show the
kernel better than edges that were made by a threshold do. Rounds end where m would no longer
shrink: a kernel that is fitted again to an image that is no better explains the image's mistakes,
and drifts, also where it then explains more of the photo. The last m is what a restoration with the
refined kernel should assume.

Where several kernels are about as likely, each takes the first rounds, and the one whose image is
then the likeliest takes the others. Where none was believed, but a Gaussian is no better, each
takes them as well: wrong kernels go on to differ, and two that have become the same one, whose
image is then likelier than that of the Gaussian, are right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from d2ir_pl.degradations import Blur
from d2ir_pl.estimators.edge_windows import edge_windows
from d2ir_pl.estimators.kernel_shapes import centred, likeness, trimmed
from d2ir_pl.estimators.noise_level import grey_variance
from d2ir_pl.operators.kernels import padded
from d2ir_pl.restoration.assumed_error import SHARE
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.searches import WALK, Search, fitted, side_by_side, walked

# Settings were chosen on photographs with synthetic shakes (docs/experiments.md).
FIRST_ERROR = 0.015
"""What the kernel is taken to leave unexplained in the first round, in [0, 1]."""
UNEXPLAINED = 1.7
"""Error that the next round assumes over what a round leaves unexplained beyond the noise."""
RECOVERY = 1.5
"""Exponent by which the assumed error goes with what a walk leaves unexplained."""
SLOWNESS = 0.7
"""Least share of the assumed error that the next round assumes."""
ROUNDS, HEATS = 7, 2
"""Rounds at most, and those after which one of several kernels is chosen."""
STEADY = 0.98
"""Share of what a round assumed from which another one is no use."""
ALIKE = 0.9
"""Likeness of two refined kernels from which they are taken for one."""
LEAD = 0.1
"""By how much the image of such a kernel is likelier than that of a Gaussian, at least."""
FLOOR = 0.01
"""Entries of a kernel below this part of the largest one are noise."""
GROWTH = 2
"""Pixels by which a kernel may grow to each side in a round, up to the side that was asked for."""
WINDOW = 256
"""Side in pixels of the part of a large photo that is looked at, at least."""
WINDOW_KERNELS = 4
"""The same in sides of the kernel."""
SETTLED = 0.02
"""Relative change of the kernel at which rounds end."""


@dataclass(frozen=True)
class Refined:
    """What the rounds have made of a kernel.

    Attributes:
        kernel: `(k, k)` of a correlation, centred.
        error: what it leaves unexplained beside the noise, of the mean of the channels, in [0, 1].
        nfe: number of network evaluations that this took.
        lead: by how much its image was likelier than that of a Gaussian; None where none was seen.
        double: whether another given kernel had become the same one after the first rounds.
    """

    kernel: Tensor
    error: float
    nfe: int
    lead: float | None = None
    double: bool = False


def refined(problem: Problem, kernels: Sequence[Tensor], doubt: float = 0.0) -> Search[Refined]:
    """Search for the kernel that the likeliest of the given ones becomes.

    Args:
        problem: a blurred photo, a batch of one.
        kernels: `(k, k)` of correlations, centred, the likeliest first.
        doubt: probability in [0, 1] that the kernel has another shape. The error of such a one is
            that of the first round, so no less than sqrt(doubt) of that is assumed in any.
    """
    least = math.sqrt(doubt) * FIRST_ERROR
    window = grey_window(problem, WINDOW, max(kernel.shape[-1] for kernel in kernels))
    paths = [_Path(window, kernel, least) for kernel in kernels]
    if len(paths) > 1:
        yield from side_by_side([path.advance(HEATS) for path in paths])
    best = min(paths, key=lambda path: path.score)
    double = _has_a_double(best, paths)
    yield from best.advance(ROUNDS)
    return Refined(best.kernel, best.error, sum(path.nfe for path in paths), double=double)


def agreed(
    problem: Problem, gaussian: Tensor, kernels: Sequence[Tensor]
) -> Search[tuple[Refined | None, int]]:
    """Search for what two of several kernels that were not believed become, if that is the same.

    Args:
        problem: a blurred photo, a batch of one.
        gaussian: `(k, k)` of a correlation, which was believed.
        kernels: the others, centred.

    Returns:
        The kernel, or None where no two agree, or their image is no likelier than that of the
        Gaussian; and the number of network evaluations that were taken either way.
    """
    window = grey_window(problem, WINDOW, max((k.shape[-1] for k in kernels), default=1))
    paths = [_Path(window, kernel, 0.0) for kernel in kernels]
    yield from side_by_side([path.advance(HEATS) for path in paths])
    agreeing = [path for path in paths if _has_a_double(path, paths)]
    if not agreeing:
        return None, sum(path.nfe for path in paths)

    def unlikely(kernel: Tensor) -> Search[float]:
        found = yield from walked(window, kernel, SLOWNESS * FIRST_ERROR)
        return found.unlikely

    images = [unlikely(kernel) for kernel in (gaussian.cpu(), *(p.kernel for p in agreeing))]
    least, *scores = yield from side_by_side(images)
    score, best = min(zip(scores, agreeing, strict=True), key=lambda of: of[0])
    lead = least - score
    if lead >= LEAD:
        yield from best.advance(ROUNDS)
    nfe = sum(path.nfe for path in paths) + (len(agreeing) + 1) * WALK.steps
    return (Refined(best.kernel, best.error, nfe, lead, True) if lead >= LEAD else None), nfe


class _Path:
    """What becomes of one kernel, round by round.

    Attributes:
        kernel: the present one.
        error: what it is assumed to leave unexplained.
        score: how unlikely the image of the last round was.
        nfe: network evaluations that it took.
    """

    def __init__(self, window: Problem, kernel: Tensor, least: float) -> None:
        self._window, self._least = window, least
        assert isinstance(window.degradation, Blur)
        self._largest = window.degradation.kernel_size
        self._y, self._noise = grey_light(window, window.y), float(window.sigma_y) / 2
        self.kernel = kernel.cpu()
        self.error, self.score = FIRST_ERROR, math.inf
        self.nfe, self._rounds, self._settled = 0, 0, False

    def advance(self, rounds: int) -> Search[None]:
        """Go on until there were so many rounds in all, or another one is no use."""
        while self._rounds < rounds and not self._settled:
            yield from self._round()

    def _round(self) -> Search[None]:
        now, assumed = self.kernel, self.error
        seen = yield from walked(self._window, now, assumed)
        self.score = seen.unlikely
        self._rounds, self.nfe = self._rounds + 1, self.nfe + WALK.steps
        self.error = max(next_error(assumed, seen.left, self._noise), self._least)
        if self.error > STEADY * assumed:
            self._settled = True
            return
        wide = padded(now, min(now.shape[-1] + 2 * GROWTH, self._largest))
        doubt = (assumed / FIRST_ERROR) ** 2
        found = yield from fitted(grey_light(self._window, seen.x), self._y, wide, doubt)
        found = found * (found >= FLOOR * found.max())
        self.kernel = centred(trimmed(found))
        side = max(now.shape[-1], self.kernel.shape[-1])
        change = (padded(self.kernel, side) - padded(now, side)).norm() / self.kernel.norm()
        self._settled = float(change) < SETTLED


def _has_a_double(path: _Path, paths: Sequence[_Path]) -> bool:
    """Whether another path has led to the same kernel."""
    others = (other for other in paths if other is not path)
    return any(likeness(path.kernel, other.kernel) >= ALIKE for other in others)


def grey_light(window: Problem, x: Tensor) -> Tensor:
    """The values of a grey image `(1, 3, h, w)` that a kernel blurs, `(h, w)` in [0, 1]."""
    assert isinstance(window.degradation, Blur)
    return (window.degradation.light(x, window.sigma_y)[0][0].mean(0) + 1) / 2


def next_error(error: float, left: float, noise: float) -> float:
    """The error that the next round assumes beside the noise.

    Args:
        error: the one that this round has assumed.
        left: root mean square of what it has left unexplained, noise and all.
        noise: standard deviation of the noise, in the same units.
    """
    assumed = math.hypot(noise, error)
    beyond = UNEXPLAINED * math.sqrt(max(left**2 - noise**2, 0.0))
    # What a walk leaves goes with a power of what it assumes.
    least = assumed * (SHARE * noise / max(left, 1e-9)) ** RECOVERY
    following = max(min(assumed, math.hypot(noise, beyond)), least)
    following = max(math.sqrt(max(following**2 - noise**2, 0.0)), SLOWNESS * error)
    return min(FIRST_ERROR, following)


def grey_window(problem: Problem, side: int, kernel_size: int) -> Problem:
    """The part of a photo with the most edges, in grey: what a kernel gets wrong has no colour.

    Args:
        problem: a photo, a batch of one.
        side: its side in pixels, at least.
        kernel_size: side of the kernel; the part is at least `WINDOW_KERNELS` of them wide.
    """
    side = max(side, WINDOW_KERNELS * kernel_size)
    grey, seen = grey_values(problem)
    top, left = edge_windows(grey, side, 1, seen)[0].tolist()
    return grey_part(problem, top, left, side)


def grey_values(problem: Problem) -> tuple[Tensor, Tensor | None]:
    """A photo, a batch of one, as `(H, W)` in [0, 1], and 0 where a pixel is no part of it."""
    observed = problem.observed
    grey = (problem.y[0].mean(0).cpu() + 1) / 2
    return grey, None if observed is None else observed[0, 0].cpu()


def grey_part(problem: Problem, top: int, left: int, side: int) -> Problem:
    """A square part of a photo, a batch of one, in grey, as far as the photo reaches."""
    rows, columns = slice(top, top + side), slice(left, left + side)
    grey, observed = problem.y.mean(1, keepdim=True), problem.observed
    return replace(
        problem,
        y=grey.expand_as(problem.y)[..., rows, columns].contiguous(),
        sigma_y=grey_variance(problem.y, problem.sigma_y).sqrt().to(problem.sigma_y),
        observed=None if observed is None else observed[..., rows, columns],
        first=None,
    )

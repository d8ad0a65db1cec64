"""Random kernels of camera shakes, by generators that have been published.

Each draws the path of a point that the camera keeps in view while the shutter is open. The kernel
is the time that the point spends at each pixel, slightly out of focus, with its centroid in the
middle.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from d2ir_pl.operators.kernels import kernel_centroid

STEPS = 2000
"""Points of a path in time."""

PEN = 0.5
"""Standard deviation in pixels of the Gaussian that a point is drawn with."""


def _trajectory(g: Generator) -> Tensor:
    """A particle pulled back to its start and pushed at random, with rare sudden jerks.

    Source: Boracchi and Foi, Modeling the performance of image restoration from motion blur, 2012.
    """
    inertia = 0.7 * float(torch.rand((), generator=g, dtype=torch.float64))
    noise = 10 * float(torch.rand((), generator=g, dtype=torch.float64))
    jerks = 0.2 * float(torch.rand((), generator=g, dtype=torch.float64))
    steps, length = 500, 60.0
    angle = 2 * math.pi * float(torch.rand((), generator=g, dtype=torch.float64))
    step = length / (steps - 1)
    v = step * torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    x = torch.zeros(2, dtype=torch.float64)
    pushes = torch.randn(steps, 2, generator=g, dtype=torch.float64)
    chance = torch.rand(steps, 2, generator=g, dtype=torch.float64)
    points = []
    for push, (c, d) in zip(pushes, chance.tolist(), strict=True):
        if c < jerks * 0.2 * step:  # a jerk nearly turns the movement round
            turn = math.pi + (d - 0.5)
            cos, sin = math.cos(turn), math.sin(turn)
            v = 2 * torch.stack([cos * v[0] - sin * v[1], sin * v[0] + cos * v[1]])
        v = v + step * (0.1 * noise * push - inertia * 0.1 * x / length)
        v = step * v / v.norm().clamp_min(1e-12)
        x = x + v
        points.append(x)
    return torch.stack(points)


def _spline(g: Generator) -> Tensor:
    """A smooth curve through six random points of a square.

    Source: Chakrabarti, A neural approach to blind motion deblurring, 2016.
    """
    knots = torch.rand(6, 2, generator=g, dtype=torch.float64)
    return _through(knots, STEPS)


def _tremor(g: Generator) -> Tensor:
    """A Gaussian process in each coordinate with a Matern covariance of smoothness 3/2.

    Source: Schuler, Hirsch, Harmeling and Schoelkopf, Learning to deblur, 2016 (length scale 0.3).
    """
    t = torch.linspace(0, 1, 200, dtype=torch.float64)
    d = math.sqrt(3) * (t[:, None] - t[None]).abs() / 0.3
    covariance = (1 + d) * torch.exp(-d) + 1e-9 * torch.eye(len(t), dtype=torch.float64)
    white = torch.randn(len(t), 2, generator=g, dtype=torch.float64)
    path: Tensor = torch.linalg.cholesky(covariance) @ white
    return path


GENERATORS: dict[str, Callable[[Generator], Tensor]] = {
    "trajectory": _trajectory,
    "spline": _spline,
    "tremor": _tremor,
}
"""The generators by their names; each gives points `(T, 2)` at equal distances in time."""


def drawn_shake(generator: Generator, size: int, name: str) -> Tensor:
    """A random kernel `(size, size)` with sum 1, as a correlation, which fills most of its side.

    Args:
        generator: of random numbers.
        size: side in pixels, odd.
        name: of `GENERATORS`.
    """
    path = _dense(GENERATORS[name](generator))
    low, high = path.amin(0), path.amax(0)
    reach = size - 1 - 4 * PEN
    path = (path - (low + high) / 2) * (reach / float((high - low).max()))
    path = path - path.mean(0)
    # A path whose centroid is far from the middle of its box would leave the kernel.
    path = path * min(1.0, (size // 2 - 2 * PEN) / float(path.abs().max()))
    kernel = _drawn(path, size)
    assert float(kernel_centroid(kernel[None]).abs().max()) < 1
    return kernel


def walk(g: Generator, size: int, intensity: float) -> Tensor:
    """A random walk `(T, 2)` in pixels, about (0, 0), as the program MotionBlur draws it.

    With the diagonal d of the kernel and the intensity i, the whole is 0.75 d (u + i^2 u') long,
    and its steps (1.1 - i) d b, with b drawn from Beta(1, 30). They lead in directions between -m
    and m, m = pi i u'', which lie on one side of the first and change it with a probability that is
    drawn from Beta(2, 20).

    Args:
        g: generator of random numbers.
        size: side of the kernel in pixels.
        intensity: 0 for nearly straight and short walks, 1 for crooked and long ones.

    Source: L. Borodenko, MotionBlur, 2020, `motionblur.py`, which DPS and BlindDPS draw with.
    """

    def uniform(count: int = 1) -> Tensor:
        return torch.rand(count, generator=g, dtype=torch.float64)

    diagonal = size * math.sqrt(2)
    whole = 0.75 * diagonal * float(uniform() + intensity**2 * uniform())
    steps: list[float] = []
    while sum(steps) < whole:
        share = 1 - (1 - float(uniform())) ** (1 / 30)  # of Beta(1, 30), by its distribution
        if (step := share * (1.1 - intensity) * diagonal) < whole:
            steps.append(step)
    widest = math.pi * intensity * float(uniform())
    jitter = float(uniform(21).sort().values[1])  # the second of 21 is of Beta(2, 20)
    angles = [widest * float(2 * uniform() - 1)]
    while len(angles) < len(steps):
        size_of_angle = _triangular(float(uniform()), intensity * widest, widest + 0.1)
        side = -1.0 if float(uniform()) < jitter else 1.0
        angles.append(math.copysign(size_of_angle, side * angles[-1]))
    turn = math.pi * float(uniform())
    directions = torch.tensor(angles, dtype=torch.float64) + turn
    lengths = torch.tensor(steps, dtype=torch.float64)[:, None]
    path = (lengths * torch.stack([directions.cos(), directions.sin()], 1)).cumsum(0)
    return path - path.mean(0)


def _triangular(u: float, mode: float, high: float) -> float:
    """A value of the triangular distribution from 0 to `high`, by its distribution function."""
    if u * high < mode:
        return math.sqrt(u * mode * high)
    return high - math.sqrt((1 - u) * high * (high - mode))


def walked_kernel(generator: Generator, size: int, intensity: float = 0.5) -> Tensor:
    """The kernel `(size, size)` with sum 1 of a `walk`: a line of one brightness, cut by its side.

    Where the line crosses itself it is no brighter, as in the program.
    """
    path = walk(generator, size, intensity)
    if len(path) == 1:
        path = path.expand(2, -1)
    return _drawn(_dense(path), size, crossings=False)


def trajectory_kernel(generator: Generator, size: int) -> Tensor:
    """The kernel `(size, size)` with sum 1 of Boracchi and Foi, at its own length of 60 pixels."""
    path = _trajectory(generator)
    return _drawn(_dense(path - path.mean(0)), size)


def _drawn(path: Tensor, size: int, crossings: bool = True) -> Tensor:
    """A path `(T, 2)` in pixels about the middle, drawn by a pen and brought to sum 1.

    Args:
        path: the points.
        size: side of the kernel in pixels, odd.
        crossings: whether points that lie at the same place add up.
    """
    i = torch.arange(size, dtype=torch.float64) - size // 2
    pen = [torch.exp(-((i - path[:, axis, None]) ** 2) / (2 * PEN**2)) for axis in (0, 1)]
    if crossings:
        kernel = pen[1].T @ pen[0]
    else:
        parts = zip(pen[1].split(100), pen[0].split(100), strict=True)
        kernel = torch.stack([(a[:, :, None] * b[:, None]).amax(0) for a, b in parts]).amax(0)
    return (kernel / kernel.sum()).float()


def _dense(path: Tensor) -> Tensor:
    """A path of `STEPS` points, by straight lines."""
    t = torch.linspace(0, len(path) - 1, STEPS, dtype=torch.float64)
    i = t.floor().long().clamp(max=len(path) - 2)
    u = (t - i)[:, None]
    dense: Tensor = (1 - u) * path[i] + u * path[i + 1]
    return dense


def _through(knots: Tensor, count: int) -> Tensor:
    """The natural cubic spline `(count, 2)` through knots `(n, 2)` at equal distances."""
    n = len(knots)
    last = n - 2
    # Second derivatives m at the knots: m_{i-1} + 4 m_i + m_{i+1} = 6 (second difference).
    system = torch.eye(n, dtype=torch.float64)
    right = torch.zeros_like(knots)
    for i in range(1, n - 1):
        system[i, i - 1 : i + 2] = torch.tensor([1.0, 4.0, 1.0], dtype=torch.float64)
        right[i] = 6 * (knots[i - 1] - 2 * knots[i] + knots[i + 1])
    m = torch.linalg.solve(system, right)
    t = torch.linspace(0, n - 1, count, dtype=torch.float64)
    place = t.floor().long().clamp(max=last)
    u = (t - place)[:, None]
    w = 1 - u
    bend = ((w**3 - w) * m[place] + (u**3 - u) * m[place + 1]) / 6
    curve: Tensor = w * knots[place] + u * knots[place + 1] + bend
    return curve

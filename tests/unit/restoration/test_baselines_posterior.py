"""DDNM+, PiGDM, RED-diff and DAPS against their recursions, written out with dense matrices."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from gaussian_prior import GaussianPrior
from photos import photo, save
from torch import Tensor

from d2ir_pl.commands.predict import parse_options
from d2ir_pl.degradations import (
    Blur,
    Degradation,
    GaussianBlur,
    Identity,
    Jpeg,
    LinearDegradation,
    Mask,
)
from d2ir_pl.degradations.downsampling import Downsampling
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.operators.linear import size_of
from d2ir_pl.priors import load_prior
from d2ir_pl.restoration import Problem, Restoration, RestorationMethod, Step
from d2ir_pl.restoration.baselines import DAPS, DDNM, PiGDM, REDDiff
from d2ir_pl.restoration.baselines.daps import levels
from d2ir_pl.restoration.baselines.ddnm import travel

METHODS: dict[str, RestorationMethod] = {
    "DDNM": DDNM(6, travel_length=2, travel_repeat=2),
    "PiGDM": PiGDM(6),
    "REDDiff": REDDiff(6),
    "DAPS": DAPS(4, 3, 5),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
SIGMA = 0.2


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [image_generator(seed, str(i)) for i in range(count)]


def degraded(degradation: Degradation, count: int = 1, noise: float = 0.06) -> Tensor:
    """Smooth images, degraded, with noise."""
    clean = torch.randn(count, 3, 12, 10, generator=torch.Generator().manual_seed(5))
    clean = 0.06 * clean.cumsum(2).cumsum(3)
    clean = (clean - clean.mean((2, 3), keepdim=True)).clamp(-1, 1)
    y = degradation(degradation.frame.embed(clean), degradation.draw(generators(count, 3), clean))
    noisy: Tensor = y + noise * normal_like(y, generators(count, 7))
    return noisy


class Written:
    """A problem of one image in numpy: y, A, the noise that a method draws, and a Gaussian prior.

    Args:
        degradation: family of degradations.
        prior: the prior of the pixels.
        result: what a method has made, for phi.
        y: the degraded image.
    """

    def __init__(
        self, degradation: LinearDegradation, prior: GaussianPrior, result: Restoration, y: Tensor
    ) -> None:
        self.observed = size_of(y)
        self.size = degradation.frame.image_size(self.observed)
        self.phi = result.phi.to(torch.float64)
        self.prior, self.draws = prior, generators(1)
        self.y = y.double().flatten().numpy()
        self.A = self.dense(lambda x: degradation(x, self.phi) - degradation.offset(self.phi))
        offset = degradation.offset(self.phi)
        if isinstance(offset, Tensor):
            self.y = self.y - offset.expand_as(y).flatten().numpy()

    def dense(self, function: Callable[[Tensor], Tensor]) -> np.ndarray:
        """The matrix of a linear function of an image."""
        basis = torch.eye(3 * math.prod(self.size), dtype=torch.float64).view(-1, 1, 3, *self.size)
        return torch.stack([function(e).flatten() for e in basis], 1).numpy()

    def noise(self) -> np.ndarray:
        drawn = normal_like(torch.zeros(1, 3, *self.size), self.draws)
        return drawn.double().flatten().numpy()

    def x0(self, x_t: np.ndarray, ab: float) -> tuple[np.ndarray, float]:
        """E[x_0 | x_t], and its derivative."""
        variance = self.prior.std**2
        slope = math.sqrt(ab) * variance / (ab * variance + 1 - ab)
        return self.prior.mean + slope * (x_t - math.sqrt(ab) * self.prior.mean), slope

    def cropped(self, degradation: Degradation, x: np.ndarray) -> Tensor:
        return degradation.frame.crop(torch.from_numpy(x).view(1, 3, *self.size)).clamp(-1, 1)


def restored(
    method: RestorationMethod, degradation: LinearDegradation, prior: GaussianPrior
) -> tuple[Restoration, Written]:
    y = degraded(degradation)
    problem = Problem.of(y, degradation, generators(1), torch.tensor([SIGMA]))
    result = method.restore(problem, prior)
    return result, Written(degradation, prior, result, y)


# ---- DDNM+ ----


@pytest.mark.parametrize(
    "degradation",
    [GaussianBlur(5, width=0.9), Downsampling(2), Mask([3, 3, 5, 4]), Blur(5, "circular")],
    ids=["blur", "downsampling", "mask", "circular"],
)
@pytest.mark.parametrize(("length", "repeat"), [(1, 1), (2, 2)])
def test_ddnm_is_its_recursion_on_images(
    degradation: LinearDegradation, length: int, repeat: int
) -> None:
    """The publication's eqs. 17 to 19 for x_t itself, with A^+ and its Lambda as matrices."""
    steps, eta = 7, 0.85
    prior = GaussianPrior(0.1, 0.3)
    method = DDNM(steps, eta, 0.0, length, repeat)
    result, written = restored(method, degradation, prior)
    svd = degradation.svd(written.phi, written.size)
    V = written.dense(svd.vt).conj().T
    s = svd.s.expand(1, 3, *written.size).flatten().double().numpy()
    seen = s > 1e-5  # beyond which a pseudoinverse in single precision says nothing
    # What an inversion amplifies most is not compared: its noise is larger than a level's.
    inverse = np.where(seen, 1 / np.where(seen, s, 1), 0)
    pinv = ((V * inverse) @ (written.dense(svd.vt) * s[:, None])).real  # A^+ A
    d = svd.ut(torch.from_numpy(written.y).view(1, 3, *written.observed))
    of_y = ((V * inverse) @ d.flatten().numpy()).real  # A^+ y
    timesteps = prior.schedule.timesteps(steps)[::-1]
    ab = {i: prior.schedule.level(t) for i, t in enumerate(timesteps)} | {-1: 1.0}
    path = travel(steps, length, repeat)
    x = written.noise()
    for before, after in pairwise(path):
        now, then = ab[before], ab[after]
        n = written.noise()
        if after > before:
            x = math.sqrt(then / now) * x + math.sqrt(1 - then / now) * n
            continue
        x0, _ = written.x0(x, now)
        eps = (x - math.sqrt(now) * x0) / math.sqrt(1 - now)
        sigma, a = math.sqrt(1 - then), math.sqrt(then)
        noisy = seen & (sigma < a * SIGMA * inverse)
        scale = np.where(noisy, s * sigma * math.sqrt(1 - eta**2) / (a * SIGMA), 1.0)
        fresh = np.where(noisy | ~seen, eta * sigma, 0.0)
        lacking = np.clip(sigma**2 - (a * SIGMA * inverse) ** 2, 0, None)
        fresh = np.where(seen & ~noisy, np.sqrt(lacking), fresh)
        kept = np.where(seen, 0.0, math.sqrt(1 - eta**2) * sigma)

        def diagonal(weight: np.ndarray, x: np.ndarray) -> np.ndarray:
            return np.asarray(((V * weight) @ (V.conj().T @ x)).real)

        x0 = x0 - diagonal(scale, pinv @ x0 - of_y)
        x = a * x0 + diagonal(fresh, n) + diagonal(kept, eps)
    expected = written.cropped(degradation, x)
    assert torch.allclose(result.x0.double(), expected, atol=1e-4)
    assert result.nfe == [sum(after < before for before, after in pairwise(path))]


def test_ddnm_reproduces_what_is_observed_without_noise() -> None:
    degradation = Mask([3, 3, 5, 4])
    y = degraded(degradation, 2, 0.0)
    problem = Problem.of(y, degradation, generators(2), torch.full((2,), 1e-9))
    result = DDNM(10).restore(problem, GaussianPrior())
    # The library takes no photo to be cleaner than the rounding of 8 bits.
    assert float(result.residual.sqrt().max()) < 0.01


@pytest.mark.parametrize(("steps", "length", "repeat"), [(10, 1, 1), (10, 3, 2), (9, 1, 3)])
def test_a_walk_with_ways_back_goes_through_every_part_as_often_as_told(
    steps: int, length: int, repeat: int
) -> None:
    path = travel(steps, length, repeat)
    assert (path[0], path[-1]) == (steps - 1, -1)
    assert {after - before for before, after in pairwise(path)} <= {-1, length}
    visits = [sum(p == (i + 1, i) for p in pairwise(path)) for i in range(-1, steps - 1)]
    assert visits[0] == 1
    jumps = len(range(0, steps - length, length))
    assert sum(visits) == steps + jumps * length * (repeat - 1)
    assert set(visits) <= {1, repeat}


# ---- PiGDM ----


@pytest.mark.parametrize(
    "degradation",
    [GaussianBlur(5, width=0.9), Blur(3, "reflect"), Mask([3, 3, 5, 4])],
    ids=["closed form", "conjugate gradients", "mask"],
)
def test_pigdm_is_its_recursion_with_dense_matrices(degradation: LinearDegradation) -> None:
    steps, eta, scale = 8, 0.7, 0.9
    prior = GaussianPrior(0.1, 0.3)
    result, written = restored(PiGDM(steps, scale, eta, 80), degradation, prior)
    x, A = written.noise(), written.A
    for _, ab, ab_next in prior.schedule.walk(prior.schedule.timesteps(steps)):
        x0, slope = written.x0(x, ab)
        inner = A @ A.T + SIGMA**2 / (1 - ab) * np.eye(len(A))
        inside = np.abs(x0) < 1
        x0 = x0.clip(-1, 1)
        guidance = slope * inside * (A.T @ np.linalg.solve(inner, written.y - A @ x0))
        eps = (x - math.sqrt(ab) * x0) / math.sqrt(1 - ab)
        fresh = eta * math.sqrt((1 - ab_next) / (1 - ab) * (1 - ab / ab_next))
        x = math.sqrt(ab_next) * x0 + math.sqrt(1 - ab_next - fresh**2) * eps
        x = x + fresh * written.noise() + scale * math.sqrt(ab * ab_next) * guidance
    expected = written.cropped(degradation, x)
    assert torch.allclose(result.x0.double(), expected, atol=2e-4)


# ---- RED-diff ----


def test_red_diff_is_adam_written_out() -> None:
    steps, lr, weight = 9, 0.05, 0.4
    degradation, prior = Downsampling(2), GaussianPrior(0.1, 0.3)
    result, written = restored(REDDiff(steps, lr, weight), degradation, prior)
    A, schedule = written.A, prior.schedule
    y = torch.from_numpy(written.y).float().view(1, 3, *written.observed)
    x = degradation.lift(y, result.phi).double().flatten().numpy()
    first = second = np.zeros_like(x)
    for k, t in enumerate(schedule.timesteps(steps), 1):
        ab = schedule.level(t)
        n = written.noise()
        x_t = math.sqrt(ab) * x + math.sqrt(1 - ab) * n
        eps = (x_t - math.sqrt(ab) * written.x0(x_t, ab)[0]) / math.sqrt(1 - ab)
        gradient = A.T @ (A @ x - written.y) / len(written.y)
        gradient = gradient + weight * math.sqrt((1 - ab) / ab) * (eps - n) / len(x)
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        x = x - lr * (first / (1 - 0.9**k)) / (np.sqrt(second / (1 - 0.99**k)) + 1e-8)
    assert torch.allclose(result.x0.double(), written.cropped(degradation, x), atol=2e-3)


# ---- DAPS ----


def test_daps_is_its_recursion_with_dense_matrices() -> None:
    annealing, ode, langevin, share = 4, 3, 5, 0.8
    degradation, prior = GaussianBlur(5, width=0.9), GaussianPrior(0.1, 0.3)
    method = DAPS(annealing, ode, langevin, share, 50.0, 0.2)
    result, written = restored(method, degradation, prior)
    A, schedule = written.A, prior.schedule

    def spaced(highest: float, lowest: float, count: int) -> list[int]:
        roots = np.linspace(highest ** (1 / 7), lowest ** (1 / 7), count)
        return [schedule.nearest(float(root) ** 7) for root in roots]

    x = np.zeros(A.shape[1])
    for i, t in enumerate(spaced(50.0, 0.2, annealing)):
        ab, sigma = schedule.level(t), schedule.sigma(t)
        noisy = x + sigma * written.noise()  # x_t / sqrt(ab_t)
        flow = [schedule.sigma(s) for s in spaced(sigma, schedule.sigma(0), ode)]
        state = noisy
        for now, then in pairwise([*flow, 0.0]):
            level = 1 / (1 + now**2)
            x0, _ = written.x0(math.sqrt(level) * state, level)
            state = state + (then - now) * (state - x0) / now
        a = share * (1 - 0.99 * i / annealing) / (1 / sigma**2 + 1 / SIGMA**2)
        x = state
        for _ in range(langevin):
            descent = (x - state) / sigma**2 + A.T @ (A @ x - written.y) / SIGMA**2
            x = x - a * descent + math.sqrt(2 * a) * written.noise()
        assert ab < 1
    assert torch.allclose(result.x0.double(), written.cropped(degradation, x), atol=1e-4)
    assert result.nfe == [annealing * ode]


def test_langevin_dynamics_reach_the_product_of_the_two_gaussians() -> None:
    """All pixels are alike, so their mean and variance are those of a known Gaussian."""
    degradation, share, sigma = Identity(), 0.5, 0.3
    y, x0 = torch.full((1, 3, 64, 64), 0.4), torch.full((1, 3, 64, 64), -0.2)
    problem = Problem.of(y, degradation, generators(1), torch.tensor([SIGMA]))
    noise = float(problem.sigma_of(y)[0])  # the three channels of a grey photo say one thing
    x = DAPS(langevin_steps=60)._langevin(problem, x0, problem.init(), sigma, share)
    precision = 1 / sigma**2 + 1 / noise**2
    mean = (-0.2 / sigma**2 + 0.4 / noise**2) / precision
    assert float(x.mean()) == pytest.approx(mean, abs=0.006)
    # Steps of finite length leave that much more than the exact variance.
    assert float(x.var()) == pytest.approx(1 / precision / (1 - share / 2), rel=0.05)


def test_levels_fall_from_the_highest_to_the_lowest() -> None:
    schedule = GaussianPrior().schedule
    timesteps = levels(schedule, 1e9, 0.1, 200)
    assert timesteps[0] == schedule.T - 1
    assert schedule.sigma(timesteps[-1]) == pytest.approx(0.1, rel=0.05)
    assert all(after <= before for before, after in pairwise(timesteps))


# ---- What holds for all ----


@every_method
@pytest.mark.parametrize(
    "degradation", [GaussianBlur(5), Blur(5, "circular"), Downsampling(2), Mask([3, 3, 5, 4])]
)
def test_an_image_is_the_same_alone_and_in_a_batch_with_noise_of_its_own(
    method: RestorationMethod, degradation: Degradation
) -> None:
    y, prior = degraded(degradation, 3), GaussianPrior()
    sigma = torch.tensor([0.05, 0.1, 0.3])
    together = method.restore(Problem.of(y, degradation, generators(3), sigma), prior)
    for b in range(3):
        own = Problem.of(y[b : b + 1], degradation, generators(3)[b : b + 1], sigma[b : b + 1])
        alone = method.restore(own, prior)
        assert torch.allclose(alone.x0[0], together.x0[b], atol=1e-4)
        assert alone.nfe[0] == together.nfe[b]


@every_method
def test_every_step_is_reported_and_every_evaluation_counted(method: RestorationMethod) -> None:
    steps: list[Step] = []
    degradation, prior = GaussianBlur(5, width=1.0), GaussianPrior()
    y = degraded(degradation, 2)
    result = method.restore(Problem.of(y, degradation, generators(2)), prior, steps.append)
    assert result.nfe == [prior.nfe] * 2
    assert [step.index for step in steps] == list(range(steps[0].total))
    assert steps[0].x0().shape == result.x0.shape
    assert not any(step.x0().requires_grad for step in steps)
    assert result.losses["estimation"][1] == [float(step.loss[1]) for step in steps]


@pytest.mark.parametrize(
    "method", [DDNM(50), PiGDM(50), REDDiff(150, 0.05), DAPS(15, 2, 25)], ids=METHODS
)
def test_restorations_explain_the_photo(method: RestorationMethod) -> None:
    degradation = GaussianBlur(5, width=1.0)
    y = degraded(degradation, 2)
    problem = Problem.of(y, degradation, generators(2), torch.full((2,), 0.06))
    result = method.restore(problem, GaussianPrior(0.0, 0.5))
    assert bool((result.residual.sqrt() / result.sigma_y < 1.4).all())


@pytest.mark.parametrize("method", [PiGDM(3), REDDiff(3)])
def test_half_precision_changes_little(method: RestorationMethod) -> None:
    y = photo(1, 16, 16)[None]
    degradation, sigma = GaussianBlur(5, width=0.8, border="reflect"), torch.tensor([0.1])
    results = [
        method.restore(
            Problem.of(y, degradation, generators(1), sigma), load_prior().cast(dtype)
        ).x0
        for dtype in (torch.float32, torch.bfloat16)
    ]
    assert float((results[0] - results[1]).abs().mean()) < 0.05


@pytest.mark.parametrize(
    ("method", "degradation", "message"),
    [
        (DDNM(), Blur(7), "circular"),
        (DDNM(), Jpeg(), "singular values"),
        (PiGDM(), Jpeg(), "not linear"),
        (DDNM(1001), GaussianBlur(), "^steps: 1001"),
        (PiGDM(1001), GaussianBlur(), "^steps: 1001"),
        (REDDiff(1001), GaussianBlur(), "^steps: 1001"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(
    method: RestorationMethod, degradation: Degradation, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        method.check(degradation, GaussianPrior())


@pytest.mark.parametrize(
    ("build", "setting"),
    [
        (lambda: DDNM(steps=0), "steps"),
        (lambda: DDNM(eta=1.1), "eta"),
        (lambda: DDNM(travel_repeat=0), "travel_repeat"),
        (lambda: PiGDM(scale=-1), "scale"),
        (lambda: PiGDM(eta=2), "eta"),
        (lambda: REDDiff(lr=0), "lr"),
        (lambda: REDDiff(regularization=-1), "regularization"),
        (lambda: DAPS(step_size=0), "step_size"),
        (lambda: DAPS(sigma_max=0.05), "sigma_max"),
    ],
)
def test_settings_out_of_range_are_named(build: Callable[[], object], setting: str) -> None:
    with pytest.raises(ValueError, match=setting):
        build()


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_chosen_by_its_bare_name(name: str, tmp_path: Path) -> None:
    save(tmp_path / "photo.png")
    options = ["--data.inputs", str(tmp_path / "photo.png"), "--model.method", name]
    assert type(parse_options(options).model.method).__name__ == name

"""GDP, DPS and BIRD against their own recursions, written out with dense matrices."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest
import torch
from gaussian_prior import GaussianPrior, KnownImages
from photos import save
from torch import Tensor

from d2ir_pl.commands.predict import parse_options
from d2ir_pl.degradations import Blur, Degradation, Frame, GaussianBlur, LinearDegradation, Phi
from d2ir_pl.diffusion import Timestep
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.operators.linear import Jacobian, size_of
from d2ir_pl.restoration import D2IR, DegradationEstimation, Problem, RestorationMethod, Stage
from d2ir_pl.restoration.baselines import BIRD, DPS, GDP
from d2ir_pl.restoration.step import Step

Variant = Literal["x0", "xt"]
MEAN, STD = 0.1, 0.15
X, Y = (3, 4, 4), (3, 2, 2)
METHODS: dict[str, RestorationMethod] = {
    # Scales at which the images stay within [-1, 1]: clipping would hide what differs.
    "GDP x0": GDP(steps=6, scale=2e5),
    "GDP xt": GDP("xt", steps=6, scale=1e5),
    "DPS": DPS(0.5, steps=6),
    "BIRD": BIRD(4, lr=1e-2, ddim_steps=3),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def generators(count: int) -> list[torch.Generator]:
    return [image_generator(0, str(i)) for i in range(count)]


class Dense(LinearDegradation):
    """y = A x for one known matrix; y is half as high and wide as x."""

    estimated = False
    frame = Frame(2)

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        matrix = torch.randn(math.prod(Y), math.prod(X), generator=generator)
        self.matrix = matrix / math.sqrt(math.prod(X))

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:
        return Phi(none=y.new_zeros(len(y)))

    def draw(self, generators: Sequence[torch.Generator], like: Tensor) -> Phi:
        return Phi(none=like.new_zeros(len(generators)))

    def operator(self, phi: Phi, image_size: tuple[int, int]) -> Jacobian:
        raise NotImplementedError

    def forward(self, x: Tensor, phi: Phi) -> Tensor:
        return (x.flatten(1) @ self.matrix.T).view(-1, *Y)

    def describe(self, phi: Phi) -> list[dict[str, object]]:
        return [{} for _ in phi["none"]]


class Light(Degradation):
    """y = gain x on intensities, with an unknown gain: the light model of GDP without its mask."""

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:
        return Phi(gain=y.new_ones(len(y)))

    def draw(self, generators: Sequence[torch.Generator], like: Tensor) -> Phi:
        u = torch.cat([torch.rand(1, generator=g) for g in generators]).to(like)
        return Phi(gain=0.2 + 0.4 * u)

    def forward(self, x: Tensor, phi: Phi) -> Tensor:
        return phi["gain"][:, None, None, None] * (x + 1) - 1

    def describe(self, phi: Phi) -> list[dict[str, object]]:
        return [{"gain": float(g)} for g in phi["gain"]]


def images(count: int, size: int = 24) -> Tensor:
    """Smooth clean images inside [-1, 1]."""
    x = torch.randn(count, 3, size + 20, size + 20, generator=torch.Generator().manual_seed(5))
    blur = GaussianBlur(21, width=2.0)
    degraded: Tensor = blur(x, blur.init(x, x[:, 0, 0, 0]))
    return 2 * degraded


def observation(dense: Dense, count: int) -> Tensor:
    x = MEAN + STD * torch.randn(count, *X, generator=torch.Generator().manual_seed(4))
    y: Tensor = dense(x, Phi())
    return y


def ancestral(ab: float, ab_next: float) -> tuple[float, float, float]:
    """Weights of x_0 and x_t in DDPM's posterior mean, and its deviation (Ho et al., eq. 7)."""
    beta = 1 - ab / ab_next
    return (
        math.sqrt(ab_next) * beta / (1 - ab),
        math.sqrt(ab / ab_next) * (1 - ab_next) / (1 - ab),
        math.sqrt((1 - ab_next) / (1 - ab) * beta),
    )


def walk(steps: int) -> list[tuple[float, float]]:
    """Signal level of each step and of the next one."""
    schedule = GaussianPrior().schedule
    levels = [schedule.level(t) for t in (*schedule.timesteps(steps), -1)]
    return list(pairwise(levels))


def posterior(ab: float) -> tuple[float, float]:
    """a, b of E[x_0 | x_t] = a x_t + b for pixels of mean MEAN and deviation STD."""
    a = math.sqrt(ab) * STD**2 / (ab * STD**2 + 1 - ab)
    return a, MEAN * (1 - a * math.sqrt(ab))


def least_squares_scale(scale: float) -> float:
    """GDP's factor of A^T (A x - y), for the mean of ((A x - y) / 2)^2 over y."""
    return scale * 16 / 256**2 / (2 * math.prod(Y))


@pytest.mark.parametrize("name", ["x0", "xt", "DPS"])
def test_guided_samples_follow_the_recursion_on_dense_matrices(
    name: Literal["x0", "xt", "DPS"],
) -> None:
    steps, dense = 20, Dense()
    scale = 0.1 if name == "DPS" else 5e4
    method = DPS(scale, steps) if name == "DPS" else GDP(name, scale, steps)
    y = observation(dense, 2)
    found = method.restore(Problem.of(y, dense, generators(2)), GaussianPrior(MEAN, STD))

    A = dense.matrix.double().numpy()
    target = y.flatten(1).double().numpy()
    noises = generators(2)

    def noise() -> np.ndarray:
        return normal_like(torch.empty(2, *X), noises).flatten(1).double().numpy()

    x = noise()
    losses = []
    for ab, ab_next in walk(steps):
        a, b = posterior(ab)
        x0 = a * x + b
        residual = target - x0 @ A.T
        losses.append((residual**2).mean(1))
        if name == "DPS":
            norm = np.linalg.norm(residual, axis=1, keepdims=True)
            descent = -scale * a * (residual @ A) / norm
        else:
            seen = residual if name == "x0" else target - x @ A.T
            descent = -least_squares_scale(scale) * seen @ A
        of_x0, of_x, sigma = ancestral(ab, ab_next)
        x = of_x0 * x0 + of_x * x + sigma * noise() - descent
    np.testing.assert_allclose(found.x0.flatten(1), x, atol=2e-5)
    np.testing.assert_allclose(found.losses["estimation"], np.array(losses).T, rtol=1e-3)
    assert found.nfe == [steps] * 2


@pytest.mark.parametrize(("variant", "scale"), [("x0", 1e5), ("xt", 1e4)])
def test_samples_of_gdp_have_the_mean_and_covariance_of_its_recursion(
    variant: Variant, scale: float
) -> None:
    """A Gaussian stays Gaussian: mean and covariance follow without drawing anything."""
    steps, count, dense = 10, 3000, Dense()
    y = observation(dense, 1)
    drawn = GDP(variant, scale, steps).restore(
        Problem.of(y.expand(count, -1, -1, -1), dense, generators(count)), GaussianPrior(MEAN, STD)
    )
    A = dense.matrix.double().numpy()
    pull = least_squares_scale(scale)
    eye = np.eye(math.prod(X))
    mean, covariance = np.zeros(math.prod(X)), eye
    for ab, ab_next in walk(steps):
        a, b = posterior(ab)
        of_x0, of_x, sigma = ancestral(ab, ab_next)
        at, constant = (a, b) if variant == "x0" else (1.0, 0.0)
        M = (of_x0 * a + of_x) * eye - pull * at * A.T @ A
        mean = M @ mean + of_x0 * b + pull * A.T @ (y[0].flatten().numpy() - constant * A.sum(1))
        covariance = M @ covariance @ M.T + sigma**2 * eye
    x = drawn.x0.flatten(1).double().numpy()
    deviation = np.sqrt(np.diag(covariance))
    assert np.abs((x.mean(0) - mean) / deviation).max() < 4.5 / math.sqrt(count)
    assert np.abs((np.cov(x.T) - covariance) / np.outer(deviation, deviation)).max() < 0.12


def test_bird_follows_adam_on_the_sphere_written_out() -> None:
    iterations, lr, steps, dense = 12, 0.05, 5, Dense()
    y = observation(dense, 2)
    found = BIRD(iterations, lr=lr, ddim_steps=steps).restore(
        Problem.of(y, dense, generators(2)), GaussianPrior(MEAN, STD)
    )
    A, target = dense.matrix.double().numpy(), y.flatten(1).double().numpy()
    # x_0(x_T) = c x_T + d, but the gradient passes through the coefficients of DDIM alone.
    c, d = 1.0, 0.0
    for ab, ab_next in walk(steps):
        a, b = posterior(ab)
        ratio = math.sqrt((1 - ab_next) / (1 - ab))
        slope = math.sqrt(ab_next) - ratio * math.sqrt(ab)
        c, d = (slope * a + ratio) * c, (slope * a + ratio) * d + slope * b
    through = 1 / math.sqrt(walk(steps)[0][0])

    x = normal_like(torch.empty(2, *X), generators(2)).flatten(1).double().numpy()
    first = second = np.zeros_like(x)
    for k in range(1, iterations):
        gradient = -2 * through * (target - (c * x + d) @ A.T) @ A
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        x = x - lr * (first / (1 - 0.9**k)) / (np.sqrt(second / (1 - 0.999**k)) + 1e-4)
        x *= math.sqrt(math.prod(X)) / np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(found.x0.flatten(1), c * x + d, atol=1e-3)
    assert found.nfe == [iterations * steps] * 2


def test_dps_equals_the_guided_stage_of_d2ir_where_nothing_is_clipped() -> None:
    blur = GaussianBlur(7, width=1.5)
    y = 0.3 * images(2)
    seen: dict[str, list[Tensor]] = {"dps": [], "d2ir": []}
    stage = DegradationEstimation(
        steps=15, start=999, spacing="linear", temperature=1, consistency="guidance", phi_steps=0
    )
    prior = GaussianPrior(MEAN, STD)
    for name, method in (("dps", DPS(1.0, 15)), ("d2ir", D2IR(stage, stages="estimation"))):

        def observe(step: Step, name: str = name) -> None:
            seen[name].append(step.x0())

        method.restore(Problem.of(y, blur, generators(2)), prior, observe)
    for a, b in zip(seen["dps"], seen["d2ir"], strict=True):
        assert float(a.abs().max()) < 1
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("variant", ["x0", "xt"])
def test_the_guidance_of_gdp_is_published_at_256_and_the_same_per_pixel_elsewhere(
    variant: Variant,
) -> None:
    identity = GaussianBlur(3, width=0.01, border="reflect")
    prior, method = GaussianPrior(MEAN, STD), GDP(variant, scale=6000)
    y, x_t = (torch.randn(1, 3, 64, 64, generator=g) / 4 for g in generators(2))
    descents = []
    for repeat in (4, 1, 8):
        y_large, x_large = (image.repeat(1, 1, repeat, repeat) for image in (y, x_t))
        phi = identity.init(y_large, torch.ones(1))
        problem = Problem.of(y_large, identity, generators(1))
        guidance = method.guide(problem, prior, x_large, 300, phi)
        descents.append(guidance.descent[..., :64, :64])
    x = prior.x0(x_t, 300).clamp(-1, 1) if variant == "x0" else x_t
    # d/dx of the mean of ((y - x) / 2)^2 over 3 x 256 x 256 values, times 6000.
    assert torch.allclose(descents[0], 6000 * (x - y) / (2 * 3 * 256**2), atol=1e-6)
    assert torch.allclose(descents[1], descents[0], atol=1e-6)
    assert torch.allclose(descents[2], descents[0], atol=1e-6)


@every_method
@pytest.mark.parametrize(
    "degradation", [GaussianBlur(11), Blur(11), GaussianBlur(7, width=1.2), Light()]
)
def test_an_image_is_the_same_alone_and_in_a_batch(
    method: RestorationMethod, degradation: Degradation
) -> None:
    y, prior = images(3) + 0.1 * normal_like(images(3), generators(3)), GaussianPrior()
    together = method.restore(Problem.of(y, degradation, generators(3)), prior)
    for b in range(3):
        alone = method.restore(
            Problem.of(y[b : b + 1], degradation, generators(3)[b : b + 1]), prior
        )
        assert torch.allclose(alone.x0[0], together.x0[b], atol=1e-4)
        for name, value in alone.phi.items():
            assert torch.allclose(value[0], together.phi[name][b], atol=1e-4)


@pytest.mark.parametrize(
    "method",
    [GDP(steps=60, scale=1e5), GDP("xt", steps=60, scale=1e5), DPS(1.0, 200), BIRD(60, lr=0.1)],
    ids=METHODS,
)
def test_the_residual_falls_to_a_small_part(method: RestorationMethod) -> None:
    blur = GaussianBlur(9, width=1.5)
    x = images(2, 32)
    y = blur(x, blur.init(x, x[:, 0, 0, 0]))
    result = method.restore(Problem.of(y, blur, generators(2)), GaussianPrior(0.0, float(x.std())))
    (losses,) = result.losses.values()
    for b in range(2):
        assert float(result.residual[b]) < 0.25 * losses[b][0]
    assert torch.equal(result.phi["log_width"], blur.init(y, y[:, 0, 0, 0])["log_width"])


@pytest.mark.parametrize("method", [GDP(steps=40), BIRD(200, ddim_steps=1)], ids=["GDP", "BIRD"])
def test_the_gain_is_found_where_the_image_is_known(method: RestorationMethod) -> None:
    light, clean = Light(), images(3)
    truth = light.draw(generators(3), clean)
    result = method.restore(
        Problem.of(light(clean, truth), light, generators(3)), KnownImages(clean)
    )
    assert torch.allclose(result.phi["gain"], truth["gain"], atol=1e-3)


def test_gdp_moves_the_gain_toward_the_truth_as_it_restores() -> None:
    light, clean = Light(), images(3)
    truth = light.draw(generators(3), clean)["gain"]
    y = light(clean, Phi(gain=truth))
    prior = GaussianPrior(float(clean.mean()), float(clean.std()))
    found = (
        GDP(scale=80000, steps=200).restore(Problem.of(y, light, generators(3)), prior).phi["gain"]
    )
    assert bool(((found - truth).abs() < 0.1 * (1 - truth)).all())
    kept = GDP(scale=80000, steps=5, phi_lr=0).restore(Problem.of(y, light, generators(3)), prior)
    assert torch.equal(kept.phi["gain"], torch.ones(3))


def test_bird_finds_the_kernel_where_the_image_is_known() -> None:
    blur = Blur(7)
    x = torch.randn(2, 3, 30, 30, generator=torch.Generator().manual_seed(1)) / 3
    truth = blur.draw(generators(2), x)
    method = BIRD(150, kernel_lr=1e-3, ddim_steps=1)
    kernels = []
    result = method.restore(
        Problem.of(blur(x, truth), blur, generators(2)),
        KnownImages(x),
        lambda step: kernels.append(blur.kernel(step.phi)),
    )
    # A softmax of small outputs: the kernel starts almost flat.
    assert float(kernels[0].amax()) < 3 / 49
    assert torch.allclose(blur.kernel(result.phi), blur.kernel(truth), atol=0.005)


def test_a_kernel_network_is_two_layers_of_the_drawn_weights() -> None:
    blur, y = Blur(5), images(1)
    first: list[Phi] = []
    BIRD(1, ddim_steps=1).restore(
        Problem.of(y, blur, generators(1)), GaussianPrior(), lambda step: first.append(step.phi)
    )
    generator = generators(1)[0]
    torch.randn(3, *blur.frame.image_size(size_of(y)), generator=generator)  # x_T
    z = 0.1 * torch.rand(200, 1, generator=generator)
    hidden, output = torch.nn.Linear(200, 1000), torch.nn.Linear(1000, 25)
    for layer in (hidden, output):
        bound = layer.in_features**-0.5
        for parameter in (layer.weight, layer.bias):
            drawn = bound * (2 * torch.rand(parameter.shape, generator=generator) - 1)
            parameter.data = drawn.view_as(parameter)
    expected = output(torch.nn.functional.relu6(hidden(z[:, 0])))
    assert torch.allclose(first[0]["logits"].flatten(), expected, atol=1e-5)


@every_method
def test_latents_and_steps_are_reported_and_only_dps_goes_back_through_the_network(
    method: RestorationMethod,
) -> None:
    class Watched(GaussianPrior):
        def predict_eps(self, x_t: Tensor, t: Timestep) -> Tensor:
            tracked.append(torch.is_grad_enabled() and x_t.requires_grad)
            return super().predict_eps(x_t, t)

    tracked: list[bool] = []
    steps: list[Step] = []
    y, blur, prior = images(2), GaussianBlur(7, width=1.5), Watched()
    result = method.restore(Problem.of(y, blur, generators(2)), prior, steps.append)
    assert set(tracked) == {isinstance(method, DPS)}
    assert result.nfe == [prior.nfe] * 2 == [len(tracked)] * 2
    assert [step.index for step in steps] == list(range(steps[0].total))
    stage: Stage = "latent" if isinstance(method, BIRD) else "estimation"
    assert {step.stage for step in steps} == set(result.losses) == {stage}
    assert not any(step.x0().requires_grad for step in steps)
    assert steps[0].x0().shape == y.shape
    for b, losses in enumerate(result.losses[stage]):
        assert losses == pytest.approx([float(step.loss[b]) for step in steps])
    if stage == "latent":
        norms = torch.stack([n for step in steps[1:] if (n := step.latent_norm) is not None])
        assert len(norms) == len(steps) - 1
        assert torch.allclose(norms, torch.ones_like(norms), atol=1e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: GDP(cast(Any, "x1")), "variant"),
        (lambda: GDP(scale=-1), "scale"),
        (lambda: GDP(steps=0), "steps"),
        (lambda: GDP(phi_lr=-1), "phi_lr"),
        (lambda: DPS(scale=math.nan), "scale"),
        (lambda: BIRD(iterations=0), "iterations"),
        (lambda: BIRD(kernel_lr=-1), "kernel_lr"),
    ],
)
def test_impossible_settings_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("method", [GDP(steps=1001), DPS(steps=1001), BIRD(ddim_steps=1001)])
def test_more_steps_than_the_schedule_has_are_refused_before_any_work(
    method: RestorationMethod,
) -> None:
    prior = GaussianPrior()
    with pytest.raises(ValueError, match=r"^(ddim_)?steps: 1001 steps do not fit"):
        method.restore(Problem.of(torch.zeros(1, 3, 8, 8), GaussianBlur(3), generators(1)), prior)
    assert prior.nfe == 0


@pytest.mark.parametrize("name", ["GDP", "DPS", "BIRD"])
def test_a_baseline_is_chosen_by_its_bare_name(name: str, tmp_path: Path) -> None:
    save(tmp_path / "photo.png")
    options = ["--data.inputs", str(tmp_path / "photo.png"), "--model.method", name]
    assert type(parse_options(options).model.method).__name__ == name

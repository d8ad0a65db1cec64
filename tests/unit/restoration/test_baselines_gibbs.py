"""GibbsDDRM: its Langevin dynamics against a dense posterior, its walk, and what it finds."""

import math
from collections.abc import Callable

import pytest
import torch
from gaussian_prior import GaussianPrior, KnownImages
from torch import Tensor

from d2ir_pl.degradations import Blur, Degradation, GaussianBlur, Phi
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.restoration import Problem, Step
from d2ir_pl.restoration.baselines import DDRM, GibbsDDRM
from d2ir_pl.restoration.baselines.gibbs_ddrm import _Torus, start
from d2ir_pl.restoration.baselines.kernel_langevin import KernelLangevin, _Normal


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [image_generator(seed, str(i)) for i in range(count)]


def drawn(
    blur: Blur, count: int, size: int = 24, noise: float = 0.05
) -> tuple[Tensor, Phi, Tensor]:
    """Sharp images of the size that is worked on, kernels, and noisy blurred images."""
    x = torch.randn(count, 3, *blur.frame.image_size((size, size)), generator=generators(1)[0])
    x = 0.3 * x
    phi = blur.draw(generators(count, 4), x)
    y = blur(x, phi)
    return x, phi, y + noise * normal_like(y, generators(count, 7))


@pytest.mark.parametrize("size", [24, 6])
def test_the_quadratic_of_a_kernel_is_that_of_the_blur(size: int) -> None:
    """Its gradient, against automatic differentiation through the blur; also on a small torus."""
    blur = Blur(9, "circular")
    x, phi, y = drawn(blur, 2, size)
    x, y = x.double(), y.double()
    # The sum is 1 to double precision, so that the blur does not scale the kernel.
    kernel = blur.kernel(Phi(logits=phi["logits"].double())).requires_grad_()
    blurred = blur.operator(Phi(logits=kernel.log()), (size, size)).forward(x)
    (expected,) = torch.autograd.grad((y - blurred).square().sum() / 2, kernel)
    found = _Normal(y, x, 9).gradient(kernel.detach())
    # The mean of x is taken out, which changes nothing for kernels of one sum.
    expected, found = (g - g.mean((1, 2), keepdim=True) for g in (expected, found))
    assert torch.allclose(found, expected, atol=1e-8)


def test_langevin_dynamics_sample_the_posterior_of_a_kernel() -> None:
    """Without the Laplace prior it is a Gaussian on the kernels of sum 1, by dense matrices."""
    count, side, noise, share = 400, 3, 0.3, 0.2
    blur = Blur(side, "circular")
    x, _, y = drawn(blur, 1, 16, noise)
    x, y = x.double(), y.double()
    flat = torch.full((count, side, side), 1 / side**2, dtype=torch.float64)
    sigma = torch.full((count,), noise, dtype=torch.float64)
    found = KernelLangevin(150, share, 0.0)(
        y.expand(count, -1, -1, -1), x.expand(count, -1, -1, -1), flat, sigma, generators(count)
    ).flatten(1)
    n = side**2
    basis = torch.eye(n, dtype=torch.float64).view(n, side, side)
    normal = _Normal(y, x, side)
    H = torch.stack([normal.curvature(e[None]).flatten() for e in basis], 1) / noise**2
    g = normal.gradient(flat[:1]).flatten() / noise**2
    P = torch.eye(n, dtype=torch.float64) - 1 / n
    covariance = torch.linalg.pinv(P @ H @ P, atol=1e-9)
    mean = flat[0].flatten() - covariance @ g
    # Steps of finite length widen the directions of large curvature a little.
    a = 2 * share / torch.linalg.eigvalsh(P @ H @ P).amax()
    wider = covariance @ torch.linalg.inv(torch.eye(n) - a / 4 * P @ H @ P)
    deviation = wider.diagonal().sqrt()
    assert torch.allclose(found.sum(1), torch.ones(count).double(), atol=1e-6)
    assert float(((found.mean(0) - mean) / deviation).abs().max()) < 4 / math.sqrt(count)
    assert torch.allclose(found.std(0), deviation, rtol=0.15)


@pytest.mark.parametrize("border", ["extend", "circular"])
def test_it_finds_the_kernel_where_the_image_is_known(border: str) -> None:
    blur = Blur(5, "extend" if border == "extend" else "circular")
    x, truth, y = drawn(blur, 2, 32, 0.02)
    problem = Problem.of(y, blur, generators(2), torch.full((2,), 0.02))
    result = GibbsDDRM(8, 2, kernel_iterations=100).restore(problem, KnownImages(x))
    assert torch.allclose(blur.kernel(result.phi), blur.kernel(truth), atol=0.01)
    began = start(problem, blur)
    assert float((began - blur.kernel(truth)).abs().amax()) > 0.03


def test_the_torus_shows_the_photo_and_draws_the_rest() -> None:
    blur = Blur(5)
    x, phi, y = drawn(blur, 1, 24, 0.0)
    problem = Problem.of(y, blur, generators(1), torch.tensor([0.1]))
    kernel = blur.kernel(phi)
    shown = _Torus(problem, blur).shown(kernel, x)
    assert torch.equal(blur.frame.crop(shown), y)
    whole = Blur(5, "circular").operator(phi, (28, 28)).forward(x)
    outside = torch.ones_like(shown, dtype=torch.bool)
    outside[..., 2:-2, 2:-2] = False
    assert torch.allclose(whole[~outside], shown[~outside], atol=1e-5)
    assert float((shown - whole)[outside].std()) == pytest.approx(0.1, rel=0.15)


def test_a_known_kernel_leaves_ddrm() -> None:
    free = Blur(5, "circular")
    _, phi, y = drawn(free, 1)
    problem = Problem.of(y, free.told(phi), generators(1), torch.tensor([0.1]))
    found = GibbsDDRM(6, eta=0.7, eta_b=0.9, threshold=0.02).restore(problem, GaussianPrior())
    problem = Problem.of(y, free.told(phi), generators(1), torch.tensor([0.1]))
    expected = DDRM(6, 0.7, 0.9, 0.02).restore(problem, GaussianPrior())
    assert torch.allclose(found.x0, expected.x0, atol=1e-4)
    assert found.nfe == [6]


@pytest.mark.parametrize("border", ["extend", "circular"])
def test_an_image_is_the_same_alone_and_in_a_batch_with_noise_of_its_own(border: str) -> None:
    blur = Blur(5, "extend" if border == "extend" else "circular")
    _, _, y = drawn(blur, 3)
    method, sigma = GibbsDDRM(5, 2, kernel_iterations=10), torch.tensor([0.05, 0.1, 0.3])
    together = method.restore(Problem.of(y, blur, generators(3), sigma), GaussianPrior())
    for b in range(3):
        rows = slice(b, b + 1)
        own = Problem.of(y[rows], blur, generators(3)[rows], sigma[rows])
        alone = method.restore(own, GaussianPrior())
        assert torch.allclose(alone.x0[0], together.x0[b], atol=1e-3)
        assert torch.allclose(blur.kernel(alone.phi)[0], blur.kernel(together.phi)[b], atol=1e-4)


def test_every_step_is_reported_and_every_evaluation_counted() -> None:
    blur, prior, steps = Blur(5), GaussianPrior(), list[Step]()
    _, _, y = drawn(blur, 2)
    result = GibbsDDRM(10, 3, 0.5, 5).restore(
        Problem.of(y, blur, generators(2)), prior, steps.append
    )
    # The kernel is sampled at the last five timesteps but one, after which nothing comes.
    assert result.nfe == [prior.nfe] * 2 == [10 + 3 * 4] * 2
    assert [step.index for step in steps] == list(range(10))
    assert result.losses["estimation"][1] == [float(step.loss[1]) for step in steps]
    assert torch.allclose(blur.kernel(result.phi).sum((1, 2)), torch.ones(2), atol=1e-4)


@pytest.mark.parametrize(
    ("degradation", "message"), [(GaussianBlur(), "GaussianBlur"), (Blur(5, "reflect"), "'extend'")]
)
def test_what_does_not_fit_is_refused_with_the_reason(
    degradation: Degradation, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        GibbsDDRM().check(degradation, GaussianPrior())


@pytest.mark.parametrize(
    ("build", "setting"),
    [
        (lambda: GibbsDDRM(steps=0), "steps"),
        (lambda: GibbsDDRM(rounds=0), "rounds"),
        (lambda: GibbsDDRM(kernel_start=1.5), "kernel_start"),
        (lambda: GibbsDDRM(kernel_iterations=0), "kernel_iterations"),
        (lambda: GibbsDDRM(step_size=0), "step_size"),
        (lambda: GibbsDDRM(sparsity=-1), "sparsity"),
        (lambda: GibbsDDRM(eta_b=2), "eta_b"),
    ],
)
def test_settings_out_of_range_are_named(build: Callable[[], object], setting: str) -> None:
    with pytest.raises(ValueError, match=setting):
        build()

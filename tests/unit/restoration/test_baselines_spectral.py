"""DDRM, DiffPIR and Fast Diffusion EM, and the decompositions that DDRM needs."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from gaussian_prior import GaussianPrior
from torch import Tensor

from d2ir_pl.degradations import (
    Blur,
    Degradation,
    GaussianBlur,
    Grayscale,
    Identity,
    LinearDegradation,
    Mask,
    Phi,
)
from d2ir_pl.degradations.downsampling import Downsampling
from d2ir_pl.degradations.parametric_blur import MotionBlur
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.operators.convolution import Border
from d2ir_pl.operators.linear import size_of
from d2ir_pl.operators.svd import correlation_matrix
from d2ir_pl.restoration import Problem, RestorationMethod, Step, mean_square
from d2ir_pl.restoration.baselines import DDRM, DiffPIR, FastDiffusionEM
from d2ir_pl.restoration.baselines.ddrm import Spectrum, require_svd
from d2ir_pl.restoration.baselines.kernel_step import KernelStep

DECOMPOSED: dict[str, LinearDegradation] = {
    "Identity": Identity(),
    "Mask": Mask("zeros", missing=0.4),
    "Grayscale": Grayscale([0.5, 0.3, 0.2]),
    "Downsampling, extend": Downsampling(2),
    "Downsampling, reflect": Downsampling(2, "gaussian", "reflect"),
    "GaussianBlur, extend": GaussianBlur(5),
    "GaussianBlur, reflect": GaussianBlur(5, border="reflect"),
    "GaussianBlur, replicate": GaussianBlur(5, border="replicate"),
    "GaussianBlur along the axes": GaussianBlur(5, isotropic=False, width=[2.0, 0.8]),
    "GaussianBlur anisotropic, circular": GaussianBlur(5, isotropic=False, border="circular"),
    "Blur, circular": Blur(5, "circular"),
    "Blur, circular, larger than the image": Blur(9, "circular"),
}
every_decomposition = pytest.mark.parametrize("name", DECOMPOSED)
OBSERVED = (6, 4)


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [image_generator(seed, str(i)) for i in range(count)]


def setting(degradation: LinearDegradation, count: int = 1) -> tuple[Phi, tuple[int, int], Any]:
    """phi, the size of x, and the decomposition, in double precision."""
    shape = OBSERVED if not isinstance(degradation, Downsampling) else (3, 2)
    size = degradation.frame.image_size(shape)
    output = degradation.frame.output_size(shape)
    phi = degradation.draw(generators(count), torch.zeros(count, 3, *output, dtype=torch.float64))
    phi = phi.to(torch.float64)
    return phi, size, degradation.svd(phi, size)


def dense(function: Callable[[Tensor], Tensor], shape: tuple[int, int]) -> torch.Tensor:
    """The matrix of a linear function of one image `(1, 3, *shape)`."""
    basis = torch.eye(3 * math.prod(shape), dtype=torch.float64).view(-1, 1, 3, *shape)
    return torch.stack([function(e).flatten() for e in basis], 1)


# ---- Decompositions ----


@every_decomposition
def test_the_decomposition_is_that_of_the_operator(name: str) -> None:
    degradation = DECOMPOSED[name]
    phi, size, svd = setting(degradation)
    operator = degradation.operator(phi, size)
    observed = operator.forward(torch.zeros(1, 3, *size, dtype=torch.float64)).shape[-2:]
    a, vt = dense(operator.forward, size), dense(svd.vt, size)
    ut = dense(svd.ut, (observed[0], observed[1]))
    s = svd.s.expand(1, 3, *size).flatten()
    eye = torch.eye(len(s), dtype=vt.dtype)
    assert torch.allclose(vt @ vt.mH, eye, atol=1e-10)
    assert torch.allclose(dense(svd.v, size).to(vt) @ torch.eye(len(s)).to(vt), vt.mH.real.to(vt))
    assert torch.allclose(ut @ a.to(ut), (s[:, None] * vt).to(ut), atol=1e-10)
    seen = s > 1e-9
    # Three equal channels hold one number and one noise: their mean has a third of the length.
    length = 1 / 3 if isinstance(degradation, Grayscale) else 1
    gram = ut[seen] @ ut[seen].mH
    assert torch.allclose(gram, length * torch.eye(int(seen.sum()), dtype=gram.dtype), atol=1e-6)
    assert bool((s >= 0).all())
    if not isinstance(degradation, Grayscale):
        exact = torch.linalg.svdvals(a)
        mine = s.sort(descending=True).values[: len(exact)]
        assert torch.allclose(mine, exact[: len(mine)], atol=1e-10)


@every_decomposition
def test_every_image_has_its_own_decomposition(name: str) -> None:
    degradation = DECOMPOSED[name]
    phi, size, svd = setting(degradation, 3)
    x = torch.randn(3, 3, *size, dtype=torch.float64)
    y = degradation.operator(phi, size).forward(x)
    assert torch.allclose(svd.ut(y), (svd.s * svd.vt(x)).to(svd.ut(y)), atol=1e-10)
    assert torch.allclose(svd.v(svd.vt(x)), x, atol=1e-10)
    alone = degradation.svd(phi.select([1]), size)
    assert torch.allclose(alone.s, svd.s[-2:-1] if len(svd.s) > 1 else svd.s, atol=1e-12)


def test_the_coefficients_of_white_noise_are_white_and_real_images_come_back() -> None:
    _, size, svd = setting(DECOMPOSED["Blur, circular"])
    noise = torch.randn(4000, 3, *size, dtype=torch.float64)
    power = svd.vt(noise).abs().square().mean((0, 1))
    assert torch.allclose(power, torch.ones_like(power), atol=0.1)
    weighted = torch.fft.ifft2(svd.s * svd.vt(noise[:1]), norm="ortho")
    assert float(weighted.imag.abs().max()) < 1e-12


@pytest.mark.parametrize("border", ["extend", "reflect", "replicate", "circular"])
def test_the_matrix_of_a_blur_is_the_blur(border: Border) -> None:
    blur = GaussianBlur(7, width=1.3, border=border)
    phi = blur.draw(generators(1), torch.zeros(1, dtype=torch.float64))
    size = blur.frame.image_size((9, 8))
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    kernel = blur.kernel(phi)
    rows, columns = (
        correlation_matrix(kernel.sum(d), n, border) for d, n in ((2, size[0]), (1, size[1]))
    )
    assert torch.allclose(rows @ x @ columns.mT, blur(x, phi), atol=1e-12)


@pytest.mark.parametrize(
    ("degradation", "remedy"),
    [
        (Blur(7), "circular"),
        (GaussianBlur(7, isotropic=False), "circular"),
        (GaussianBlur(7, isotropic=False, width=[2.0, 1.0], angle=0.4), "circular"),
        (MotionBlur(7), "circular"),
        (MotionBlur(21), "circular"),
    ],
)
def test_a_kernel_without_decomposition_is_refused_with_the_remedy(
    degradation: Degradation, remedy: str
) -> None:
    with pytest.raises(ValueError, match=remedy):
        DDRM().check(degradation, GaussianPrior())


@every_decomposition
def test_ddrm_accepts_what_has_a_decomposition(name: str) -> None:
    require_svd(DECOMPOSED[name])
    DDRM().check(DECOMPOSED[name], GaussianPrior())


# ---- DDRM ----


def scene(degradation: Degradation, count: int = 2, noise: float = 0.06) -> tuple[Tensor, Tensor]:
    """Smooth images and their degraded versions."""
    clean = torch.randn(count, 3, 12, 10, generator=torch.Generator().manual_seed(5))
    clean = 0.25 * clean.cumsum(2).cumsum(3) / 4
    clean = (clean - clean.mean((2, 3), keepdim=True)).clamp(-1, 1)
    phi = degradation.draw(generators(count, 3), clean)
    y = degradation(degradation.frame.embed(clean), phi)
    return clean, y + noise * normal_like(y, generators(count, 7))


@pytest.mark.parametrize("name", ["GaussianBlur, extend", "Downsampling, extend", "Blur, circular"])
def test_ddrm_is_its_recursion_with_dense_matrices(name: str) -> None:
    """Written anew: numpy, full SVD by LAPACK where that leaves no freedom of sign or rotation."""
    degradation, prior = DECOMPOSED[name], GaussianPrior(0.1, 0.3)
    _, y = scene(degradation, 1)
    sigma_y, eta, steps = 0.3, 0.85, 6
    seen = []
    result = DDRM(steps, eta, threshold=0.0).restore(
        Problem.of(y, degradation, generators(1), torch.tensor([sigma_y])),
        prior,
        lambda step: seen.append(step.x0()),
    )
    size = degradation.frame.image_size(size_of(y))
    phi = result.phi.to(torch.float64)
    svd = degradation.svd(phi, size)
    # The basis is tested above; here it serves as one of the many that a degenerate SVD allows.
    vt = dense(svd.vt, size).numpy()
    s = svd.s.expand(1, 3, *size).flatten().numpy()
    d = svd.ut(y.double()).flatten().numpy()
    draws = generators(1)

    def noise() -> np.ndarray:
        z = normal_like(torch.zeros(1, 3, *size), draws).double().flatten().numpy()
        return np.asarray(vt @ z)

    timesteps = prior.schedule.timesteps(steps)
    ab = [prior.schedule.level(t) for t in timesteps] + [1.0]
    sigma = [math.sqrt(1 / a - 1) for a in ab]
    z, c = noise(), np.zeros(len(s), vt.dtype)
    for i in range(len(s)):
        if s[i] * sigma[0] >= sigma_y:
            c[i] = d[i] / s[i] + math.sqrt(sigma[0] ** 2 - (sigma_y / s[i]) ** 2) * z[i]
        else:
            c[i] = sigma[0] * z[i]
    for k in range(steps):
        x_t = math.sqrt(ab[k]) * (vt.conj().T @ c).real
        variance = ab[k] * prior.std**2 + 1 - ab[k]
        x0 = prior.mean + math.sqrt(ab[k]) * prior.std**2 / variance * (
            x_t - math.sqrt(ab[k]) * prior.mean
        )
        c0, z, new = vt @ x0, noise(), np.zeros_like(c)
        for i in range(len(s)):
            after = sigma[k + 1]
            if s[i] == 0:
                new[i] = c0[i] + math.sqrt(1 - eta**2) * after * (c[i] - c0[i]) / sigma[k]
                new[i] += eta * after * z[i]
            elif after < sigma_y / s[i]:
                new[i] = c0[i] + math.sqrt(1 - eta**2) * after * (d[i] / s[i] - c0[i]) * (
                    s[i] / sigma_y
                )
                new[i] += eta * after * z[i]
            else:
                new[i] = d[i] / s[i] + math.sqrt(after**2 - (sigma_y / s[i]) ** 2) * z[i]
        c = new
    expected = torch.from_numpy((vt.conj().T @ c).real).view(1, 3, *size)
    expected = degradation.frame.crop(expected)
    assert torch.allclose(seen[-1].double(), expected, atol=2e-5)
    assert torch.allclose(result.x0.double(), expected.clamp(-1, 1), atol=2e-5)


def walk(
    s: torch.Tensor,
    d: torch.Tensor,
    sigma_y: float,
    prior: GaussianPrior,
    steps: int,
    eta: float = 0.85,
) -> torch.Tensor:
    """The coefficients of DDRM for a diagonal operator, without an image around them."""
    generator = torch.Generator().manual_seed(0)
    spectrum = Spectrum(d, s, torch.tensor(sigma_y, dtype=d.dtype), eta, eta_b=1.0)
    timesteps = prior.schedule.timesteps(steps)
    sigmas = [prior.schedule.sigma(t) for t in (*timesteps, -1)]

    def draw() -> torch.Tensor:
        return torch.randn(d.shape, dtype=d.dtype, generator=generator)

    c = spectrum.start(sigmas[0], draw())
    for i, t in enumerate(timesteps):
        c0 = prior.x0(math.sqrt(prior.schedule.level(t)) * c, t)
        c = spectrum.step(c0, c, sigmas[i], sigmas[i + 1], draw())
    return c


def test_what_is_observed_without_noise_is_reproduced_exactly() -> None:
    s = torch.tensor([0.05, 0.7, 2.0], dtype=torch.float64).view(1, 3, 1, 1)
    truth = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    assert torch.allclose(walk(s, s * truth, 0.0, GaussianPrior(), 5), truth, atol=1e-12)


def test_what_is_not_observed_follows_the_prior() -> None:
    """All of it with eta = 0 and many steps; its mean always.

    A share eta^2 of the noise is drawn afresh at every step however short, which in many steps
    leaves less variance than the prior has.
    """
    prior = GaussianPrior(0.3, 0.5)
    s, d = torch.zeros(1, 3, 1, 1, dtype=torch.float64), torch.zeros(1, 3, 40, 40).double()
    ddim = walk(s, d, 0.1, prior, 300, eta=0.0)
    assert float(ddim.mean()) == pytest.approx(prior.mean, abs=0.03)
    assert float(ddim.std()) == pytest.approx(prior.std, rel=0.05)
    published = walk(s, d, 0.1, prior, 20)
    assert float(published.mean()) == pytest.approx(prior.mean, abs=0.03)
    assert 0.5 * prior.std < float(published.std()) < prior.std


def test_an_observation_that_says_next_to_nothing_leaves_the_mean_of_the_prior() -> None:
    prior = GaussianPrior(0.3, 0.5)
    generator = torch.Generator().manual_seed(1)
    s = torch.full((1, 3, 1, 1), 1e-4, dtype=torch.float64)
    d = 0.1 * torch.randn(1, 3, 40, 40, dtype=torch.float64, generator=generator)
    assert float(walk(s, d, 0.1, prior, 20).mean()) == pytest.approx(prior.mean, abs=0.03)


@pytest.mark.parametrize("name", ["Mask", "Grayscale"])
def test_ddrm_keeps_what_is_observed(name: str) -> None:
    degradation = Mask([3, 3, 5, 4]) if name == "Mask" else DECOMPOSED[name]
    _, y = scene(degradation, noise=0.0)
    result = DDRM(10).restore(
        Problem.of(y, degradation, generators(2), torch.full((2,), 1e-9)), GaussianPrior()
    )
    # The library takes no photo to be cleaner than the rounding of 8 bits.
    assert float(result.residual.sqrt().max()) < 0.01


# ---- DiffPIR ----


@pytest.mark.parametrize(
    ("blur", "sigma_y"), [(GaussianBlur(5, width=0.9), 0.1), (Blur(3, "reflect"), 1.0)]
)
def test_diffpir_is_its_recursion_with_dense_matrices(
    blur: LinearDegradation, sigma_y: float
) -> None:
    """One data step has a closed form; the other needs conjugate gradients, and a condition."""
    prior = GaussianPrior(0.1, 0.2)
    _, y = scene(blur, 1)
    steps, zeta, weight = 7, 0.3, 7.0
    result = DiffPIR(steps, weight, zeta, cg_iterations=60).restore(
        Problem.of(y, blur, generators(1), torch.tensor([sigma_y])), prior
    )
    size = blur.frame.image_size(size_of(y))
    phi = result.phi.to(torch.float64)
    a = dense(lambda x: blur(x, phi), size).numpy()
    draws = generators(1)

    def noise() -> np.ndarray:
        return normal_like(torch.zeros(1, 3, *size), draws).double().flatten().numpy()

    timesteps = [round(999 * (1 - math.sqrt(i / (steps - 1)))) for i in range(steps)]
    ab = [prior.schedule.level(t) for t in timesteps] + [1.0]
    x = noise()
    for k in range(steps):
        variance = ab[k] * prior.std**2 + 1 - ab[k]
        z = prior.mean + math.sqrt(ab[k]) * prior.std**2 / variance * (
            x - math.sqrt(ab[k]) * prior.mean
        )
        z = z.clip(-1, 1)
        rho = weight * (sigma_y / 2) ** 2 * ab[k] / (1 - ab[k])
        normal = a.T @ a + rho * np.eye(len(z))
        x0 = np.linalg.solve(normal, a.T @ y.double().flatten().numpy() + rho * z)
        eps = (x - math.sqrt(ab[k]) * x0) / math.sqrt(1 - ab[k])
        mixed = math.sqrt(1 - zeta) * eps + math.sqrt(zeta) * noise()
        x = math.sqrt(ab[k + 1]) * x0 + math.sqrt(1 - ab[k + 1]) * mixed
    expected = blur.frame.crop(torch.from_numpy(x).view(1, 3, *size))
    assert torch.allclose(result.x0.double(), expected.clamp(-1, 1), atol=2e-4)


def test_quadratic_spacing_is_dense_near_the_clean_image() -> None:
    schedule = GaussianPrior().schedule
    timesteps = DiffPIR(100).timesteps(schedule)
    assert timesteps[0] == schedule.T - 1
    assert timesteps[-1] == 0
    strides = -np.diff(timesteps)
    assert strides.min() >= 1
    assert (np.diff(strides) <= 1).all()
    with pytest.raises(ValueError, match="uniform"):
        DiffPIR(900).timesteps(schedule)
    assert len(DiffPIR(900, spacing="uniform").timesteps(schedule)) == 900


# ---- Fast Diffusion EM ----


def test_given_the_sharp_image_the_kernel_step_finds_the_kernel() -> None:
    generator = torch.Generator().manual_seed(2)
    blur = Blur(9)
    x = torch.randn(2, 3, 56, 56, generator=generator)
    phi = blur.draw(generators(2, 4), x)
    y = blur(x, phi) + 0.02 * normal_like(blur(x, phi), generators(2))
    start = Phi(logits=torch.zeros(2, 9, 9))
    step = KernelStep(100.0, 1e4, 1e5, 60)
    problem = Problem(y, torch.full((2,), 0.02), blur, generators(2))
    kernel = step(problem, x[:, None], start)
    truth = blur.kernel(phi)
    similarity = (kernel * truth).sum((1, 2)) / kernel.flatten(1).norm(dim=1)
    similarity = similarity / truth.flatten(1).norm(dim=1)
    assert float(similarity.min()) > 0.99
    assert torch.allclose(kernel.sum((1, 2)), torch.ones(2), atol=1e-5)
    assert float(kernel.min()) >= 0


@pytest.mark.parametrize("border", ["extend", "reflect", "circular"])
def test_the_true_kernel_of_noiseless_data_is_a_fixed_point_at_any_border(border: Border) -> None:
    blur = Blur(5, border)
    x = torch.randn(1, 2, 3, 20, 24, dtype=torch.float64)
    x = x[:, :1].expand(-1, 2, -1, -1, -1)
    phi = blur.draw(generators(1), x)
    y = blur(x[:, 0], phi)
    problem = Problem(y, torch.full((1,), 0.02).double(), blur, generators(1))
    kernel = KernelStep(0.0, 0.0, 1e5, 5)(problem, x, phi)
    assert torch.allclose(kernel, blur.kernel(phi), atol=1e-10)


def test_em_refuses_what_has_no_kernel_of_free_entries() -> None:
    with pytest.raises(ValueError, match="GaussianBlur"):
        FastDiffusionEM().check(GaussianBlur(), GaussianPrior())


def test_em_counts_the_evaluations_of_all_samples_and_returns_their_mean() -> None:
    _, y = scene(Blur(5), 1)
    result = FastDiffusionEM(steps=4, samples=3).restore(
        Problem.of(y, Blur(5), generators(1)), GaussianPrior()
    )
    assert result.nfe == [12]
    assert len(result.losses["estimation"][0]) == 4


# ---- What holds for all three ----

METHODS: dict[str, tuple[RestorationMethod, Degradation]] = {
    "DDRM": (DDRM(5), GaussianBlur(5)),
    "DDRM, circular": (DDRM(5), Blur(5, "circular")),
    "DDRM, downsampling": (DDRM(5), Downsampling(2, "gaussian")),
    "DiffPIR": (DiffPIR(5), GaussianBlur(5)),
    "DiffPIR, free kernel": (DiffPIR(5), Blur(5)),
    "FastDiffusionEM": (FastDiffusionEM(5, samples=2), Blur(5)),
    "FastDiffusionEM, reflect": (FastDiffusionEM(5), Blur(5, "reflect")),
}


@pytest.mark.parametrize("name", METHODS)
def test_an_image_is_the_same_alone_and_in_a_batch(name: str) -> None:
    method, degradation = METHODS[name]
    prior = GaussianPrior()
    _, y = scene(degradation, 3)
    together = method.restore(Problem.of(y, degradation, generators(3)), prior)
    for b in range(3):
        alone = method.restore(
            Problem.of(y[b : b + 1], degradation, generators(3)[b : b + 1]), prior
        )
        assert torch.allclose(alone.x0[0], together.x0[b], atol=1e-4)
        assert alone.nfe[0] == together.nfe[b]


@pytest.mark.parametrize("name", METHODS)
def test_every_step_is_reported_and_counted(name: str) -> None:
    method, degradation = METHODS[name]
    clean, y = scene(degradation, 2)
    steps: list[Step] = []
    result = method.restore(
        Problem.of(y, degradation, generators(2), torch.full((2,), 0.06)),
        GaussianPrior(),
        steps.append,
    )
    assert [step.index for step in steps] == list(range(5))
    assert {step.total for step in steps} == {5}
    assert steps[0].x0().shape == result.x0.shape == clean.shape
    assert result.losses["estimation"][1] == [float(step.loss[1]) for step in steps]
    assert result.nfe == [5 * getattr(method, "samples", 1)] * 2


@pytest.mark.parametrize("method", [DDRM(50), DiffPIR(50), FastDiffusionEM(50, scale=1.0)])
def test_restorations_explain_the_photo(method: RestorationMethod, tmp_path: Path) -> None:
    np.save(tmp_path / "kernel.npy", np.outer([0.2, 0.6, 0.2], [0.25, 0.5, 0.25]))
    blur = Blur(kernel=str(tmp_path / "kernel.npy"))
    _, y = scene(blur, 2)
    sigma_y = torch.full((2,), 0.06)
    result = method.restore(Problem.of(y, blur, generators(2), sigma_y), GaussianPrior(0.0, 0.5))
    assert bool((result.residual.sqrt() / result.sigma_y < 1.3).all())
    assert bool((result.residual < 0.5 * mean_square(y)).all())


@pytest.mark.parametrize(
    ("build", "setting"),
    [
        (lambda: DDRM(eta=1.2), "eta"),
        (lambda: DDRM(threshold=1.0), "threshold"),
        (lambda: DDRM(steps=0), "steps"),
        (lambda: DiffPIR(zeta=-0.1), "zeta"),
        (lambda: DiffPIR(data_weight=0.0), "data_weight"),
        (lambda: DiffPIR(spacing=cast(Any, "cubic")), "spacing"),
        (lambda: FastDiffusionEM(samples=0), "samples"),
        (lambda: FastDiffusionEM(coupling=0.0), "coupling"),
    ],
)
def test_settings_out_of_range_are_named(build: Callable[[], object], setting: str) -> None:
    with pytest.raises(ValueError, match=setting):
        build()

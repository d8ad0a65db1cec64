import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from gaussian_prior import CurvedPrior, GaussianPrior
from torch import Tensor

from d2ir_pl.degradations import Blur, Degradation, GaussianBlur, Identity, Phi
from d2ir_pl.diffusion import Timestep, ddim_chain
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.restoration import (
    D2IR,
    DegradationEstimation,
    LatentOptimization,
    Problem,
    Step,
    mean_square,
)


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [image_generator(seed, str(i)) for i in range(count)]


def scene(
    count: int = 2, size: int = 24, noise: float = 0.04
) -> tuple[Tensor, Tensor, GaussianBlur]:
    """Smooth images, blurred and noisy, with the degradation that made them."""
    x = torch.randn(count, 3, size + 60, size + 60, generator=torch.Generator().manual_seed(5))
    x = GaussianBlur(21, width=2.0)(x, Phi(log_width=torch.full((count, 1), math.log(2.0))))
    x = 2.5 * x[..., : size + 20, : size + 20]
    blur = GaussianBlur(21, width=1.5)
    y = blur(x, blur.init(x, x[:, 0, 0, 0]))
    return x[..., 10:-10, 10:-10], y + noise * normal_like(y, generators(count, 7)), blur


QUICK = DegradationEstimation(steps=4, phi_steps=2)
QUICK_LATENT = LatentOptimization(iterations=3, ddim_steps=3, discrepancy=0.0)
METHODS = {
    "both": D2IR(QUICK, QUICK_LATENT),
    "estimation": D2IR(QUICK, stages="estimation"),
    "own starts": D2IR(replace(QUICK, start="auto"), stages="estimation"),
    "latent": D2IR(latent=QUICK_LATENT, stages="latent"),
    "guidance": D2IR(replace(QUICK, consistency="guidance", start=999), stages="estimation"),
    "full gradient from noise": D2IR(
        latent=replace(QUICK_LATENT, gradient="full", start="noise", level=-1), stages="latent"
    ),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("degradation", [GaussianBlur(11, False), Blur(11)])
def test_an_image_is_the_same_alone_in_a_batch_and_in_another_order(
    name: str, degradation: Degradation
) -> None:
    _, y, _ = scene(3, noise=0.15)
    # From pure noise a curved prior ends at images of -1 and 1, where rounding decides which.
    method, prior = METHODS[name], GaussianPrior()
    together = method.restore(Problem.of(y, degradation, generators(3)), prior)
    order = [2, 0, 1]
    shuffled = method.restore(
        Problem.of(y[order], degradation, [generators(3)[i] for i in order]), prior
    )
    assert torch.allclose(shuffled.x0, together.x0[order], atol=1e-4)
    for b in range(3):
        alone = method.restore(
            Problem.of(y[b : b + 1], degradation, generators(3)[b : b + 1]), prior
        )
        assert torch.allclose(alone.x0[0], together.x0[b], atol=1e-4)
        assert alone.nfe[0] == together.nfe[b]
        for key, value in alone.phi.items():
            assert torch.allclose(value[0], together.phi[key][b], atol=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_a_seed_fixes_the_result_and_another_changes_it(name: str) -> None:
    _, y, _ = scene(1)
    results = [
        METHODS[name]
        .restore(Problem.of(y, GaussianBlur(11), generators(1, seed)), GaussianPrior())
        .x0
        for seed in (0, 0, 1)
    ]
    assert torch.equal(results[0], results[1])
    # A latent that starts from an inversion draws nothing.
    assert torch.equal(results[0], results[2]) == (name == "latent")


def test_stage_1_explains_the_image_to_its_noise_and_no_further() -> None:
    clean, y, blur = scene(2, size=48)
    prior = GaussianPrior(0.0, float(clean.std()))
    result = D2IR(stages="estimation").restore(Problem.of(y, blur, generators(2)), prior)
    assert torch.allclose(result.residual.sqrt() / result.sigma_y, torch.ones(2), atol=0.15)


def test_an_error_of_the_model_counts_as_noise_in_both_stages() -> None:
    _, y, blur = scene()
    sigma = torch.tensor([0.04, 0.1])
    latent = replace(QUICK_LATENT, discrepancy=1.05)
    methods = [D2IR(QUICK, latent, model_error=0.03), D2IR(QUICK, latent)]
    noise = [sigma, (sigma**2 + 0.06**2).sqrt()]
    error, noisier = (
        method.restore(Problem.of(y, blur, generators(2), s), CurvedPrior())
        for method, s in zip(methods, noise, strict=True)
    )
    assert torch.allclose(error.x0, noisier.x0, atol=1e-4)
    assert error.nfe == noisier.nfe
    assert torch.equal(error.sigma_y, sigma)
    exact = D2IR(QUICK, latent).restore(Problem.of(y, blur, generators(2), sigma), CurvedPrior())
    assert bool((error.residual > exact.residual).all())


def test_a_known_phi_is_not_touched() -> None:
    _, y, blur = scene(1)
    before = blur.init(y, torch.ones(1))
    result = D2IR(QUICK, QUICK_LATENT).restore(Problem.of(y, blur, generators(1)), GaussianPrior())
    assert torch.equal(result.phi["log_width"], before["log_width"])


def test_phi_is_left_alone_above_its_noise_level() -> None:
    _, y, _ = scene(1)
    seen = {}
    walk = replace(QUICK, steps=9, start=400, spacing="linear", phi_start=150)
    method = D2IR(walk, stages="estimation")
    method.restore(
        Problem.of(y, GaussianBlur(11), generators(1)),
        GaussianPrior(),
        lambda step: seen.update({step.index: step.phi["log_width"].item()}),
    )
    # Timesteps are 400, 350, ... 0: the sixth is 150.
    assert len({seen[i] for i in range(5)}) == 1
    assert seen[5] != seen[4]


def test_guidance_descends_the_residual() -> None:
    """With the sign turned it would climb; without guidance it would not fall as far."""
    _, y, blur = scene(1, size=32)
    prior = GaussianPrior(0.0, 0.5)
    base = DegradationEstimation(
        steps=100,
        start=999,
        spacing="linear",
        temperature=1,
        consistency="guidance",
        phi_steps=0,
        guidance_scale=0.0,
    )
    residual = [
        float(
            D2IR(replace(base, guidance_scale=scale), stages="estimation")
            .restore(Problem.of(y, blur, generators(1)), prior)
            .residual
        )
        for scale in (0.0, 0.3, 0.6)
    ]
    assert residual[2] < 0.8 * residual[1] < 0.64 * residual[0]


def test_less_noise_ends_nearer_the_posterior_mean() -> None:
    """Of a Gaussian prior and noise alone: y weighed by the prior's variance and the noise's."""
    generator = torch.Generator().manual_seed(0)
    deviation, sigma = 0.5, 0.2
    y = deviation * torch.randn(1, 3, 32, 32, generator=generator)
    y = y + sigma * torch.randn(y.shape, generator=generator)
    mean = y * deviation**2 / (deviation**2 + sigma**2)
    walk = DegradationEstimation(steps=40, start=400, temperature=1, data_weight=1, phi_steps=0)

    def restored(temperature: float, seed: int = 0) -> torch.Tensor:
        method = D2IR(replace(walk, temperature=temperature), stages="estimation")
        gens = [torch.Generator().manual_seed(seed)]
        noise = torch.tensor([sigma])
        return method.restore(
            Problem.of(y, Identity(), gens, noise), GaussianPrior(0.0, deviation)
        ).x0

    error = [float((restored(t) - mean.clamp(-1, 1)).square().mean()) for t in (0.0, 0.3, 1.0)]
    assert error[0] < error[1] < error[2] / 2
    assert error[0] < 0.1 * sigma**2
    assert torch.equal(restored(0.0, seed=0), restored(0.0, seed=1))


def test_fitting_phi_moves_the_width_toward_the_truth() -> None:
    """Given the clean image, Adam on the residual finds the blur."""
    x = scene(2, size=64)[0]
    blur = GaussianBlur(15, border="reflect")
    truth = Phi(log_width=torch.tensor([[0.2], [0.8]]))
    start = Phi(log_width=torch.tensor([[0.5], [0.5]]))
    stage = DegradationEstimation(phi_steps=200, phi_anchor=0.0)
    problem = Problem.of(blur(x, truth), blur, generators(2), torch.full((2,), 0.01))
    found = stage._fit_phi(problem, x, start, start)
    assert torch.allclose(found["log_width"], truth["log_width"], atol=0.02)


class TestLatentOptimization:
    def run(
        self,
        y: Tensor,
        blur: GaussianBlur,
        prior: GaussianPrior,
        x: Tensor | None = None,
        sigma: float = 0.04,
        **settings: Any,
    ) -> tuple[Any, list[Step]]:
        steps: list[Step] = []
        stage = LatentOptimization(**{"ddim_steps": 3, "discrepancy": 0.0, **settings})
        problem = Problem.of(y, blur, generators(len(y)), torch.full((len(y),), sigma))
        x = blur.frame.embed(y) if x is None else x
        result = stage(problem, x, problem.init(), prior, steps.append)
        return result, steps

    @pytest.mark.parametrize("gradient", ["full", "detached"])
    @pytest.mark.parametrize("start", ["inversion", "noise"])
    def test_the_residual_falls_and_the_best_iterate_is_kept(
        self, gradient: Any, start: Any
    ) -> None:
        _, y, blur = scene(2)
        result, steps = self.run(
            y, blur, GaussianPrior(0, 0.5), gradient=gradient, start=start, lr=0.05
        )
        for b in range(2):
            assert min(result.losses["latent"][b]) < result.losses["latent"][b][0]
            kept = mean_square(y - blur(result.x, blur.init(y, y[:, 0, 0, 0])))[b]
            assert float(kept) == pytest.approx(min(result.losses["latent"][b]), rel=1e-4)
        assert len(steps) == 31

    def test_the_result_is_made_by_the_chain_that_was_optimised(self) -> None:
        _, y, blur = scene(1)
        result, steps = self.run(y, blur, GaussianPrior(0, 0.5), start="noise", iterations=5)
        last = min(steps, key=lambda step: float(step.loss))
        assert torch.equal(last.x0(), blur.frame.crop(result.x))

    def test_an_image_stops_at_the_noise_and_the_others_go_on(self) -> None:
        _, y, blur = scene(3)
        y[1] = y[1] + 0.5 * torch.randn(y[1].shape, generator=torch.Generator().manual_seed(1))
        result, steps = self.run(
            y, blur, GaussianPrior(0, 0.5), discrepancy=1.5, lr=0.02, iterations=6
        )
        assert result.stopped_by[1] == "iterations"
        stopped = [b for b in range(3) if result.stopped_by[b] == "discrepancy"]
        assert stopped
        for b in stopped:
            assert result.losses["latent"][b][-1] <= (1.5 * 0.04) ** 2
            assert all(loss > (1.5 * 0.04) ** 2 for loss in result.losses["latent"][b][:-1])
            assert result.nfe[b] < result.nfe[1]
        assert steps[-1].images == [1]

    def test_an_explained_image_is_returned_untouched_at_no_cost(self) -> None:
        _, y, blur = scene(1)
        prior = GaussianPrior(0, 0.5)
        x = blur.frame.embed(y)
        result, steps = self.run(y, blur, prior, x, sigma=10.0, discrepancy=1.0)
        assert torch.equal(result.x, x)
        assert prior.nfe == 0
        assert steps == []
        assert result.stopped_by == ["discrepancy"]

    def test_a_latent_at_the_last_level_stays_on_the_sphere(self) -> None:
        _, y, blur = scene(1)
        _, steps = self.run(
            y, blur, GaussianPrior(0, 0.5), start="noise", level=-1, lr=0.3, iterations=4
        )
        norms = [float(step.latent_norm) for step in steps if step.latent_norm is not None]
        assert len(norms) == len(steps)
        assert norms[1:] == pytest.approx([1.0] * 4, abs=1e-4)

    @pytest.mark.parametrize("gradient", ["full", "detached"])
    def test_memory_of_the_graph_does_not_grow_with_the_chain(self, gradient: Any) -> None:
        """Saved activations per step would; a checkpoint keeps one latent a step."""
        prior = CurvedPrior()
        kept = []
        for steps in (4, 16):
            x = torch.randn(1, 3, 32, 32, requires_grad=True)
            saved: list[int] = []

            def keep(tensor: Tensor, saved: list[int] = saved) -> Tensor:
                saved.append(tensor.numel())
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
                ddim_chain(prior, x, prior.schedule.timesteps(steps, 300), gradient)
            kept.append(sum(saved) / steps)
        assert kept[1] <= kept[0] * 1.1
        assert kept[0] <= 2 * 3 * 32 * 32


@pytest.mark.parametrize("gradient", ["full", "detached"])
def test_the_gradient_of_stage_2_in_x_T_agrees_with_finite_differences(gradient: Any) -> None:
    """Through chain and blur; detached is exact where eps does not depend on x."""

    class Constant(GaussianPrior):
        def predict_eps(self, x_t: Tensor, t: Timestep) -> Tensor:
            return torch.full_like(x_t, 0.1 * math.sin(float(t)))

    prior = CurvedPrior() if gradient == "full" else Constant()
    blur = Blur(3)
    phi = blur.draw(generators(1), torch.zeros(1, dtype=torch.float64))
    y = torch.randn(1, 3, 3, 2, dtype=torch.float64)
    x_T = torch.randn(1, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: (y - blur(ddim_chain(prior, x, [500, 200, 0], gradient), phi)).square().sum(),
        x_T,
    )


def test_phi_and_x_gradients_of_the_estimation_loss_agree_with_finite_differences() -> None:
    blur = GaussianBlur(5, isotropic=False)
    start = blur.draw(generators(1), torch.zeros(1, dtype=torch.float64))
    phi = start.leaves(start)
    x0 = torch.randn(1, 3, 8, 7, dtype=torch.float64, requires_grad=True)
    y = torch.randn(1, 3, 4, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x, w, a: mean_square(y - blur(x, Phi(log_width=w, angle=a))),
        (x0, phi["log_width"], phi["angle"]),
    )


class Gamma(Degradation):
    """A non-linear degradation with nothing to estimate."""

    estimated = False

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:
        return Phi(gamma=torch.full((len(y),), 1.5))

    def draw(self, generators: Sequence[torch.Generator], like: Tensor) -> Phi:
        return Phi(gamma=torch.full((len(generators),), 1.5))

    def forward(self, x: Tensor | None, phi: Phi) -> Tensor:
        assert x is not None
        unit = ((x + 1) / 2).clamp(1e-3, 1)
        return 2 * unit ** phi["gamma"][:, None, None, None] - 1

    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        return [{"gamma": float(g)} for g in phi["gamma"]]


def test_the_proximal_step_explains_a_nonlinear_degradation() -> None:
    clean = 0.5 * torch.rand(1, 3, 16, 16) - 0.2
    gamma = Gamma()
    y = gamma(clean, gamma.init(clean, clean))
    result = D2IR(QUICK, stages="estimation").restore(
        Problem.of(y, gamma, generators(1), torch.full((1,), 0.01)), GaussianPrior()
    )
    assert float(result.residual) < 0.02**2
    assert float((result.x0 - clean).square().mean()) < 0.02**2


def test_guidance_descends_the_residual_of_a_nonlinear_degradation() -> None:
    _, y, _ = scene(1)
    residual = []
    for scale in (0.0, 1.0):
        stage = DegradationEstimation(
            steps=60,
            start=999,
            spacing="linear",
            temperature=1,
            consistency="guidance",
            guidance_scale=scale,
        )
        method = D2IR(stage, QUICK_LATENT)
        result = method.restore(Problem.of(y, Gamma(), generators(1)), GaussianPrior())
        residual.append(float(result.residual))
    assert residual[1] < 0.6 * residual[0]


def test_losses_are_per_pixel_means_and_counts_add_up() -> None:
    _, y, _ = scene(2)
    prior = GaussianPrior()
    result = D2IR(QUICK, QUICK_LATENT).restore(
        Problem.of(y, GaussianBlur(11), generators(2)), prior
    )
    assert [len(losses) for losses in result.losses["estimation"]] == [4, 4]
    # The latent stage reports its starting image and then each of its iterates.
    assert [len(losses) for losses in result.losses["latent"]] == [5, 5]
    inversion, chains = 3 * 5, 4 * 3
    assert result.nfe == [4 + inversion + chains] * 2
    assert result.reblurred is not None
    assert torch.allclose(result.residual, mean_square(y - result.reblurred))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DegradationEstimation(steps=0), "steps"),
        (lambda: DegradationEstimation(start=-1), "start"),
        (lambda: DegradationEstimation(start=cast(Any, "first")), "start"),
        (lambda: DegradationEstimation(renoise=1.5), "renoise"),
        (lambda: DegradationEstimation(temperature=2), "temperature"),
        (lambda: DegradationEstimation(data_weight=0), "data_weight"),
        (lambda: LatentOptimization(ddim_steps=0), "ddim_steps"),
        (lambda: LatentOptimization(lr=-1), "lr"),
        (lambda: D2IR(stages=cast(Any, "first")), "stages"),
        (lambda: D2IR(model_error=-0.1), "model_error"),
    ],
)
def test_impossible_settings_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("y", "count", "message"),
    [
        (torch.zeros(3, 8, 8), 1, r"\(B, 3, H, W\)"),
        (torch.zeros(2, 3, 8, 8), 1, "generators"),
        (torch.full((1, 3, 8, 8), math.nan), 1, "NaN"),
    ],
)
def test_unusable_tensors_are_refused(y: Tensor, count: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        D2IR().restore(Problem.of(y, GaussianBlur(), generators(count)), GaussianPrior())


@pytest.mark.parametrize(
    "method",
    [
        D2IR(DegradationEstimation(steps=900)),
        D2IR(latent=LatentOptimization(ddim_steps=300)),
        D2IR(latent=LatentOptimization(level=5000)),
    ],
)
def test_settings_that_do_not_fit_the_schedule_are_refused_before_any_work(method: Any) -> None:
    prior = GaussianPrior()
    with pytest.raises(ValueError, match=r"^(estimation|latent): "):
        method.restore(Problem.of(torch.zeros(1, 3, 8, 8), GaussianBlur(), generators(1)), prior)
    assert prior.nfe == 0

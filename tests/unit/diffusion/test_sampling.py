import math

import pytest
import torch
from gaussian_prior import CurvedPrior, GaussianPrior

from d2ir_pl.diffusion import (
    Schedule,
    ancestral_sigma,
    ddim_chain,
    ddim_inversion,
    ddim_step,
    eps_from_x0,
    x0_from_eps,
)
from d2ir_pl.diffusion.sampling import root
from d2ir_pl.priors.memory import AllocationCounter
from d2ir_pl.priors.network import NetworkPrior


def test_eps_from_x0_inverts_the_forward_process() -> None:
    x0, eps = torch.randn(2, 1, 3, 4, 4, dtype=torch.float64)
    x_t = math.sqrt(0.3) * x0 + math.sqrt(0.7) * eps
    assert torch.allclose(eps_from_x0(x_t, x0, 0.3), eps)
    assert torch.allclose(x0_from_eps(x_t, eps, 0.3), x0)


def test_a_ddim_step_keeps_the_noise_level_whatever_share_is_fresh() -> None:
    g = torch.Generator().manual_seed(0)
    x0 = torch.zeros(1, 1, 300, 300)
    eps, noise = (torch.randn(x0.shape, generator=g) for _ in range(2))
    for sigma in (0.0, 0.3, math.sqrt(0.6)):
        x = ddim_step(x0, eps, 0.4, noise, sigma)
        assert float(x.std()) == pytest.approx(math.sqrt(0.6), rel=0.01)


def test_an_ancestral_step_is_the_posterior_of_ddpm() -> None:
    """Against the mean and variance of q(x_s | x_t, x_0), Ho et al. 2020, eqs. 6 and 7."""
    ab_t, ab_s = 0.35, 0.5
    alpha = ab_t / ab_s
    x0, x_t = torch.randn(2, 1, 3, 4, 4, dtype=torch.float64)
    mean = (
        math.sqrt(ab_s) * (1 - alpha) / (1 - ab_t) * x0
        + math.sqrt(alpha) * (1 - ab_s) / (1 - ab_t) * x_t
    )
    variance = (1 - ab_s) / (1 - ab_t) * (1 - alpha)
    sigma = ancestral_sigma(ab_t, ab_s)
    zero = torch.zeros_like(x0)
    ours = ddim_step(x0, eps_from_x0(x_t, x0, ab_t), ab_s, zero, sigma)
    assert sigma**2 == pytest.approx(variance)
    assert torch.allclose(ours, mean)


def test_the_chain_follows_its_formula_for_a_gaussian_prior() -> None:
    """Every step is linear there: x_s = a x_t + b with scalars worked out by hand."""
    prior = GaussianPrior(mean=0.1, std=0.5)
    timesteps = [800, 500, 200, 0]
    x = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    expected = x
    for t, s in zip(timesteps, [*timesteps[1:], -1], strict=True):
        ab_t, ab_s = prior.schedule.level(t), prior.schedule.level(s)
        gain = ab_t * 0.25 / (ab_t * 0.25 + 1 - ab_t)
        x0 = 0.1 + gain / math.sqrt(ab_t) * (expected - math.sqrt(ab_t) * 0.1)
        eps = (expected - math.sqrt(ab_t) * x0) / math.sqrt(1 - ab_t)
        expected = math.sqrt(ab_s) * x0 + math.sqrt(1 - ab_s) * eps
    assert torch.allclose(ddim_chain(prior, x, timesteps), expected, atol=1e-12)


def test_a_fine_chain_carries_white_noise_to_the_prior() -> None:
    prior = GaussianPrior(mean=0.1, std=0.5)
    x_T = torch.randn(1, 3, 200, 200, generator=torch.Generator().manual_seed(0))
    x0 = ddim_chain(prior, x_T, prior.schedule.timesteps(500))
    assert float(x0.mean()) == pytest.approx(0.1, abs=0.02)
    assert float(x0.std()) == pytest.approx(0.5, rel=0.02)


def test_the_full_gradient_agrees_with_finite_differences() -> None:
    prior = CurvedPrior()
    x = torch.randn(1, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: ddim_chain(prior, x, [600, 300, 0], "full"), x)


def test_the_detached_gradient_is_the_product_of_the_coefficients() -> None:
    prior = CurvedPrior()
    timesteps = [600, 300, 0]
    x = torch.randn(1, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    ddim_chain(prior, x, timesteps, "detached").sum().backward()
    # With eps constant each step multiplies x_t by sqrt(ab_s / ab_t); together by 1 / sqrt(ab_T).
    expected = 1 / math.sqrt(prior.schedule.level(600))
    assert x.grad is not None
    assert torch.allclose(x.grad, torch.full_like(x, expected))


def test_both_gradients_belong_to_the_same_chain() -> None:
    prior = CurvedPrior()
    x = torch.randn(1, 3, 8, 8)
    full, detached = (ddim_chain(prior, x, [600, 300, 0], g) for g in ("full", "detached"))
    assert torch.equal(full, detached)


@pytest.mark.parametrize(("iterations", "error"), [(5, 2e-2), (40, 1e-6)])
def test_the_chain_undoes_the_inversion(iterations: int, error: float) -> None:
    prior = CurvedPrior()
    timesteps = prior.schedule.timesteps(5, 300)
    x0 = 0.5 * torch.randn(1, 3, 8, 8, dtype=torch.float64).clamp(-2, 2)
    x_t = ddim_inversion(prior, x0, timesteps, iterations)
    assert float((ddim_chain(prior, x_t, timesteps) - x0).abs().max()) < error


def test_the_inversion_costs_what_it_says() -> None:
    prior = GaussianPrior()
    ddim_inversion(prior, torch.zeros(1, 3, 8, 8), [200, 100, 0], 5)
    assert prior.nfe == 15


def test_memory_of_the_full_gradient_does_not_grow_with_the_steps(
    natural_small: NetworkPrior,
) -> None:
    prior = natural_small
    peaks = []
    for steps in (3, 12):
        x_T = torch.randn(1, 3, 32, 32, requires_grad=True)
        with AllocationCounter() as counter:
            x0 = ddim_chain(prior, x_T, prior.schedule.timesteps(steps, None), "full")
            x0.square().sum().backward()
        peaks.append(counter.peak)
    # The states themselves are kept: 12 kB each, against 7 MB of one evaluation.
    assert peaks[1] < 1.1 * peaks[0]


def test_recomputation_in_the_backward_pass_is_not_counted() -> None:
    prior = CurvedPrior()
    x = torch.randn(1, 3, 4, 4, requires_grad=True)
    ddim_chain(prior, x, [200, 100, 0], "full").sum().backward()
    assert prior.nfe == 3
    assert len(prior.calls) == 6


def test_images_at_levels_of_their_own_are_those_of_each_level_by_itself() -> None:
    x, y, noise = torch.randn(3, 3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    schedule = Schedule.linear()
    steps, nexts = torch.tensor([0, 300, 999]), torch.tensor([0, 20, 700])
    ab, ab_next = schedule.level(steps), schedule.level(nexts)
    sigma = root(0.5 * (1 - ab_next))
    together = (
        x0_from_eps(x, y, ab),
        eps_from_x0(x, y, ab),
        ddim_step(x, y, ab_next, noise, sigma),
        ddim_step(x, y, ab_next, noise, root(1 - ab_next)),
        ddim_step(x, y, ab, noise, 0.001),
        ddim_step(x, y, 0.5, noise, torch.as_tensor(sigma).clamp(max=0.5)),
        torch.as_tensor(ancestral_sigma(ab[1:], ab_next[1:])),
    )
    assert all(found.dtype == torch.float32 for found in together[:-1])
    for b, (t, s) in enumerate(zip(steps.tolist(), nexts.tolist(), strict=True)):
        own, after = schedule.level(t), schedule.level(s)
        at = slice(b, b + 1)
        spread = math.sqrt(0.5 * (1 - after))
        alone = (
            x0_from_eps(x[at], y[at], own),
            eps_from_x0(x[at], y[at], own),
            ddim_step(x[at], y[at], after, noise[at], spread),
            ddim_step(x[at], y[at], after, noise[at], math.sqrt(1 - after)),
            ddim_step(x[at], y[at], own, noise[at], 0.001),
            ddim_step(x[at], y[at], 0.5, noise[at], min(spread, 0.5)),
        )
        for found, expected in zip(together, alone, strict=False):
            assert torch.allclose(found[at], expected, rtol=1e-5, atol=1e-5)
        if b:
            assert float(together[-1][b - 1]) == pytest.approx(ancestral_sigma(own, after))

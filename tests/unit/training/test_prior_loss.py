"""The loss of a prior in training, its learning rate and its average."""

import math

import pytest
import torch
from training_runs import unet_flags

from d2ir_pl.diffusion import Schedule
from d2ir_pl.priors.guided_diffusion import VarianceBound
from d2ir_pl.training.module import PriorTrainingModule
from d2ir_pl.training.timesteps import importance_timesteps


def test_importance_sampling_leaves_the_expected_loss_as_it_is() -> None:
    u = (torch.arange(20_000) + 0.5) / 20_000
    t, weight = importance_timesteps(u, 100, torch.linspace(0.1, 3, 10).square())
    count = torch.bincount(t * 10 // 100, minlength=10)
    assert int(count[9]) > 5 * int(count[0])
    assert set(t.tolist()) == set(range(100))
    loss = (t.float() / 100) ** 2
    assert float((weight * loss).mean()) == pytest.approx(
        float(((torch.arange(100) / 100) ** 2).mean()), rel=0.01
    )


def test_the_variance_bound_is_that_of_two_gaussians() -> None:
    """KL(q(x_t-1 | x_t, x_0) || p(x_t-1 | x_t)), written out in double precision."""
    schedule = Schedule.linear(100, 1e-3, 0.2)
    x0, noise, eps, v = torch.randn(4, 5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    x0, v = x0.clamp(-1, 1), v.tanh()
    t = torch.tensor([1, 7, 40, 80, 99])
    found = VarianceBound(schedule)(eps, v, x0, noise, t)
    ab = schedule.alpha_bar[t][:, None, None, None]
    ab_next = schedule.alpha_bar[t - 1][:, None, None, None]
    beta = 1 - ab / ab_next
    variance = beta * (1 - ab_next) / (1 - ab)
    x_t: torch.Tensor = ab.sqrt() * x0 + (1 - ab).sqrt() * noise

    def mean(clean: torch.Tensor) -> torch.Tensor:
        a = ab_next.sqrt() * beta / (1 - ab)
        b = (ab / ab_next).sqrt() * (1 - ab_next) / (1 - ab)
        return a * clean + b * x_t

    predicted = (x_t - (1 - ab).sqrt() * eps) / ab.sqrt()
    share = (v.double() + 1) / 2
    log_p = share * beta.log() + (1 - share) * variance.log()
    gap = (mean(x0) - mean(predicted)) ** 2
    kl = 0.5 * (log_p - variance.log() + (variance + gap) / log_p.exp() - 1)
    expected = kl.mean((1, 2, 3)) / math.log(2) * 100 / 1000
    assert torch.allclose(found.double(), expected, rtol=1e-3)


def test_the_bound_trains_the_variance_and_not_the_mean() -> None:
    module = PriorTrainingModule(unet_flags(learn_sigma=True))
    x0, noise = torch.randn(2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0)).clamp(
        -1, 1
    )
    _, bound = module.losses(x0, noise, torch.tensor([10, 60]))
    bound.sum().backward()
    last = module.unet.get_parameter("out.2.weight").grad
    assert last is not None
    assert float(last[:3].abs().max()) == 0
    assert float(last[3:].abs().max()) > 0


def test_the_rate_rises_stays_and_falls_to_nothing() -> None:
    module = PriorTrainingModule(unet_flags(), warmup_steps=4, decay_steps=5)

    class Limited:
        max_steps, max_epochs, datamodule = 20, None, None

    module._trainer = Limited()  # type: ignore[assignment]
    factors = [module.lr_factor(step) for step in range(21)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5:15] == [1.0] * 10
    assert factors[15:] == pytest.approx([5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0.0])


def test_the_average_forgets_the_first_weights_soon() -> None:
    module = PriorTrainingModule(unet_flags(), ema_decay=0.99)
    weight = module.unet.get_parameter("out.2.bias")
    expected, value = None, 0.0
    for step in range(30):
        value += 1.0
        with torch.no_grad():
            weight.fill_(value)
        module.average.update_parameters(module.unet)
        decay = min(0.99, (1 + step) / (10 + step))
        expected = value if expected is None else decay * expected + (1 - decay) * value
    assert module.average.module.get_parameter("out.2.bias").tolist() == pytest.approx(
        [expected] * 3, rel=1e-5
    )

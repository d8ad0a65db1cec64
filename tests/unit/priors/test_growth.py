"""A deeper U-Net computes what the one it was made of computes."""

import torch
from training_runs import unet_flags

from d2ir_pl.priors import UNetPrior, load_prior
from d2ir_pl.priors.growth import deepen
from d2ir_pl.training.module import PriorTrainingModule


def test_a_deepened_prior_is_the_same_function() -> None:
    prior = load_prior()
    assert isinstance(prior, UNetPrior)
    deeper = deepen(deepen(prior))
    x = torch.randn(1, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    for t in (20, 500):
        assert torch.allclose(deeper.eps(x, t), prior.eps(x, t), atol=1e-5)
    count, more = (sum(p.numel() for p in p_.unet.parameters()) for p_ in (prior, deeper))
    assert more > 1.5 * count


def test_deepening_works_with_attention_and_residual_resampling() -> None:
    flags = unet_flags(
        channel_mult="1,2,2", attention_resolutions="8", resblock_updown=True, num_head_channels=32
    )
    prior = PriorTrainingModule(flags).prior
    with torch.no_grad():
        for name, weight in prior.unet.named_parameters():
            weight.normal_(std=0.05) if weight.ndim > 1 else None
            assert name
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(deepen(prior).eps(x, 30), prior.eps(x, 30), atol=1e-4)

"""The parts of the U-Net compute what those of guided-diffusion compute."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from guided_diffusion.nn import GroupNorm32
from guided_diffusion.nn import timestep_embedding as their_embedding
from guided_diffusion.unet import UNetModel
from torch import Tensor, nn

from benchmarks.pretended_device import can_pretend, pretended_gpu
from d2ir_pl.priors import NetworkPrior, UNetFlags, load_prior
from d2ir_pl.priors.norm import Norm, group_norm, normalised
from d2ir_pl.priors.unet import Enlarging, timestep_embedding

SMALL = UNetFlags(
    image_size=64,
    num_channels=32,
    num_res_blocks=1,
    channel_mult="1,2",
    attention_resolutions="32",
    num_head_channels=16,
)
KINDS = {
    "resampling in residual blocks": SMALL,
    "resampling between them": replace(SMALL, resblock_updown=False),
    "timestep added": replace(SMALL, use_scale_shift_norm=False),
    "other order of attention": replace(SMALL, use_new_attention_order=True),
    "classes": replace(SMALL, class_cond=True),
}


def pair(flags: UNetFlags) -> tuple[nn.Module, nn.Module]:
    """The network of guided-diffusion and the one here, with the same weights."""
    theirs, ours = UNetModel(**flags.config()), flags.build()
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: 0.1 * torch.randn(value.shape, generator=generator) + (value.ndim == 1)
        for name, value in theirs.state_dict().items()
    }
    theirs.load_state_dict(weights)
    ours.load_state_dict(weights)
    return theirs.eval(), ours.eval()


@pytest.mark.parametrize("flags", KINDS.values(), ids=KINDS)
def test_values_and_gradients_are_those_of_guided_diffusion(flags: UNetFlags) -> None:
    x = torch.randn(2, 3, 12, 20, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([7, 930])
    y = (torch.tensor([3, 999]),) if flags.class_cond else ()
    results = []
    for unet in pair(flags):
        own = x.clone().requires_grad_()
        out = unet(own, t, *y)
        weight = unet.get_parameter("input_blocks.1.0.in_layers.2.weight")
        found = torch.autograd.grad(out.square().sum(), [own, weight])
        results.append((out.detach(), *found))
    for theirs, ours in zip(*results, strict=True):
        assert float((theirs - ours).abs().max()) < 1e-4 * float(theirs.abs().max())


@pytest.mark.parametrize("flags", KINDS.values(), ids=KINDS)
def test_one_timestep_for_all_images_is_that_timestep_for_each(flags: UNetFlags) -> None:
    _, unet = pair(flags)
    x, t = torch.randn(3, 3, 8, 8), torch.tensor([400])
    y = (torch.tensor([5]),) if flags.class_cond else ()
    with torch.no_grad():
        each = unet(x, t.expand(3), *(label.expand(3) for label in y))
        assert torch.allclose(unet(x, t, *y), each, atol=1e-5 * float(each.abs().max()))


@pytest.mark.parametrize("size", [(1, 1), (4, 7)])
def test_convolving_what_is_enlarged_needs_no_enlarging(size: tuple[int, int]) -> None:
    conv = nn.Conv2d(5, 4, 3, padding=1).requires_grad_(False)
    x = torch.randn(2, 5, *size)
    expected = conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert float((Enlarging(conv)(x) - expected).abs().max()) < 1e-5


def test_a_kernel_that_is_kept_follows_its_weights() -> None:
    layer = Enlarging(nn.Conv2d(5, 4, 3, padding=1)).requires_grad_(False)
    x = torch.randn(1, 5, 4, 4)
    before = layer(x)
    assert layer.kernel() is layer.kernel()
    layer.load_state_dict({name: 2 * value for name, value in layer.state_dict().items()})
    assert torch.allclose(layer(x), 2 * before, atol=1e-5)
    with torch.inference_mode():
        layer.to(torch.bfloat16)
        assert layer.kernel().dtype == torch.bfloat16
    half = layer.to(torch.float32)(x.requires_grad_())
    half.sum().backward()  # through a kernel that was made in inference mode
    assert torch.allclose(half, 2 * before, rtol=0.05, atol=0.05)


def test_the_timestep_is_embedded_as_by_guided_diffusion() -> None:
    t = torch.tensor([0, 1, 517, 999])
    for channels in (32, 33):
        assert torch.allclose(timestep_embedding(t, channels), their_embedding(t, channels))


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_a_norm_in_half_precision_adds_up_in_float32(order: torch.memory_format) -> None:
    """Its error is that of rounding what goes in and comes out, also far from zero."""
    norm = GroupNorm32(32, 64)
    with torch.no_grad():
        norm.weight.normal_(generator=torch.Generator().manual_seed(0))
    x = torch.randn(1, 64, 40, 50, generator=torch.Generator().manual_seed(1)) + 3
    half = x.bfloat16().contiguous(memory_format=order)
    found = Norm(norm)(half).detach()
    assert found.dtype == torch.bfloat16
    assert found.is_contiguous(memory_format=order)
    exact = norm(half.float()).detach()
    assert float((found.float() - exact).abs().max()) <= 2**-8 * float(exact.abs().max())


@pytest.mark.parametrize("offset", [0, 3])
def test_a_norm_of_sums_is_that_of_pytorch(offset: float) -> None:
    """What a GPU computes in half precision, on the CPU: values and gradients."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 64, 12, 10, generator=generator) + offset
    weight, bias = torch.randn(2, 64, generator=generator)
    expected = nn.functional.group_norm(x, 32, weight, bias, 1e-5)
    assert torch.allclose(normalised(x, 32, weight, bias, 1e-5)[0], expected, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_of_a_norm_that_is_channels_last_are_those_of_the_other_order(
    dtype: torch.dtype,
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(2, 64, 12, 10, generator=generator) + 1).to(dtype)
    weight, bias = torch.randn(2, 64, generator=generator)
    target = torch.randn(x.shape, generator=generator)

    def gradients(values: Tensor) -> list[Tensor]:
        given = [v.detach().requires_grad_() for v in (values, weight, bias)]
        y = group_norm(given[0], 32, given[1], given[2], 1e-5)
        return list(torch.autograd.grad((y * target).sum(), given))

    exact = gradients(x.float())
    found = gradients(x.contiguous(memory_format=torch.channels_last))
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    for one, other in zip(exact, found, strict=True):
        tolerance = 1e-5 if dtype == torch.float32 else 1e-2
        assert float((one - other).abs().max()) < tolerance * float(one.abs().max())


def dtypes(prior: NetworkPrior, x: Tensor) -> set[torch.dtype]:
    """The dtypes of all features between the first convolution and the last."""
    seen: set[torch.dtype] = set()
    for module in prior.unet.modules():
        if isinstance(module, nn.Conv2d | Norm):
            module.register_forward_hook(lambda _, __, out: seen.add(out.dtype))
    prior.predict_eps(x, 300)
    return seen


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_no_feature_is_converted_on_its_way(dtype: torch.dtype) -> None:
    assert dtypes(load_prior().cast(dtype), torch.randn(1, 3, 16, 16)) == {dtype}


@pytest.mark.skipif(not can_pretend(), reason="PyTorch's inner parts have moved")
def test_on_a_gpu_features_stay_in_half_precision_and_channels_last() -> None:
    """Nothing is waited for: the timestep is embedded on the device."""
    x = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        expected = load_prior().predict_eps(x, 300)
    with pretended_gpu() as account, torch.no_grad():
        prior = load_prior().to("cuda").cast(torch.bfloat16)
        prior.prepare(gradient=False)
        orders: set[bool] = set()
        for module in prior.unet.modules():
            if isinstance(module, nn.Conv2d) and module.in_channels > 3:
                module.register_forward_hook(
                    lambda _, given, __: orders.add(
                        given[0].is_contiguous(memory_format=torch.channels_last)
                    )
                )
        there, before = x.to("cuda"), account.count
        assert dtypes(prior, there) == {torch.bfloat16}
        assert orders == {True}
        assert (account.count - before).waits == 0
        found = prior.predict_eps(there, 300).cpu()
    assert float((found - expected).abs().mean()) < 0.01

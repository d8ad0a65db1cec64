import itertools
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gaussian_prior import CurvedPrior, GaussianPrior
from guided_diffusion.unet import AttentionBlock, QKVAttention, QKVAttentionLegacy
from photos import photo
from repository import DOCS
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from d2ir_pl.priors import NetworkPrior, Prior, PriorError, UNetFlags, load_prior
from d2ir_pl.priors.memory import AllocationCounter
from d2ir_pl.priors.registry import EMBEDDED, prior_file, prior_files
from d2ir_pl.priors.state_dict import read_state_dict
from d2ir_pl.priors.unet import Attention, FusedAttention

TINY = UNetFlags(
    image_size=64,
    num_channels=32,
    num_res_blocks=1,
    channel_mult="1,1",
    attention_resolutions="32",
    num_head_channels=16,
)


def noisy(prior: Prior, x0: Tensor, t: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    ab = prior.schedule.level(t)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed))
    return math.sqrt(ab) * x0 + math.sqrt(1 - ab) * noise, noise


def test_the_embedded_prior_removes_noise(natural_small: NetworkPrior) -> None:
    i = torch.linspace(0, 5, 64)
    x0 = (0.7 * torch.sin(i[None] + 0.7 * i[:, None])).expand(1, 3, 64, 64)
    for t in (100, 300):
        x_t, noise = noisy(natural_small, x0, t)
        assert float((natural_small.eps(x_t, t) - noise).square().mean()) < 0.1
        assert float((natural_small.x0(x_t, t) - x0).square().mean()) < 0.1 * float(
            (x_t / math.sqrt(natural_small.schedule.level(t)) - x0).square().mean()
        )


def test_x0_is_tweedies_formula() -> None:
    prior = GaussianPrior()
    x = torch.randn(1, 3, 8, 8)
    ab = prior.schedule.level(300)
    expected = torch.sub(x, prior.eps(x, 300), alpha=math.sqrt(1 - ab)) / math.sqrt(ab)
    assert torch.equal(prior.x0(x, 300), expected)
    assert prior.nfe == 2


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (33, 40), (40, 47)])
def test_any_size_is_predicted_as_if_mirrored_to_the_multiple(
    natural_small: NetworkPrior, size: tuple[int, int]
) -> None:
    x = torch.randn(1, 3, *size)
    eps = natural_small.eps(x, 200)
    assert eps.shape == x.shape
    assert bool(eps.isfinite().all())


def test_tiles_agree_with_the_whole_image_and_leave_no_gaps() -> None:
    x = torch.randn(1, 3, 75, 50)
    whole, tiled = CurvedPrior(), CurvedPrior(tile=32, overlap=8)
    a, b = whole.eps(x, 300), tiled.eps(x, 300)
    assert len(tiled.calls) == 3 * 2
    assert all(max(shape[-2:]) <= 32 for shape in tiled.calls)
    assert tiled.nfe == 1
    # Tiles see a wrapped border of one pixel, which the blending outweighs.
    assert float((a - b).abs().mean()) < 0.02


@pytest.mark.parametrize("n", [33, 63, 64, 75, 100, 512, 1999])
def test_tiles_cover_a_side_overlap_enough_and_are_no_longer_than_needed(n: int) -> None:
    prior = GaussianPrior(multiple=4, tile=64, overlap=8)
    spans = prior._spans(n)
    if n <= 64:
        assert spans == [(0, n)]
        return
    assert spans[0][0] == 0
    assert sum(spans[-1]) == n
    lengths = {length for _, length in spans}
    assert len(lengths) == 1
    length = lengths.pop()
    assert length <= 64
    assert length % 4 == 0
    for (a, _), (b, _) in itertools.pairwise(spans):
        assert a + length - b >= 8 - 1  # rounding may take a pixel of an overlap
    assert len(spans) * length < n + (len(spans) - 1) * 8 + 4 * len(spans)


def test_gradients_through_tiles_are_those_of_their_sum() -> None:
    x = torch.randn(1, 3, 40, 50, requires_grad=True)
    prior = CurvedPrior(tile=32, overlap=8)
    weights = torch.randn(1, 3, 40, 50)
    (gradient,) = torch.autograd.grad((weights * prior.eps(x, 300)).sum(), x)
    step, at = 1e-2, (0, 1, 20, 27)  # a pixel that four tiles share
    moved = torch.zeros_like(x)
    moved[at] = step
    with torch.no_grad():
        up, down = (weights * prior.eps(x + moved, 300)), (weights * prior.eps(x - moved, 300))
    assert float((up - down).sum()) / (2 * step) == pytest.approx(float(gradient[at]), rel=1e-2)


def test_gradients_through_tiles_keep_one_tile_in_memory() -> None:
    prior = load_prior(tile=64)

    def kept(height: int, width: int) -> int:
        sizes = []

        def pack(value: Tensor) -> Tensor:
            sizes.append(value.untyped_storage().nbytes())
            return value

        x = torch.randn(1, 3, height, width, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            prior.eps(x, 100)
        return sum(sizes)

    assert kept(64, 64) > 10 * kept(64, 192)


def test_tiles_leave_no_seams(natural_small: NetworkPrior) -> None:
    whole, tiled = natural_small, load_prior(tile=64)
    image = torch.nn.functional.interpolate(photo(3, 40, 60)[None], (160, 240), mode="bicubic")
    x_t, _ = noisy(whole, image, 40)
    with torch.no_grad():
        difference = tiled.x0(x_t, 40) - whole.x0(x_t, 40)
    steps = (difference[..., 1:] - difference[..., :-1]).abs().mean((0, 1, 2))
    spans = tiled._spans(240)
    edges = {start for start, _ in spans[1:]} | {start + n for start, n in spans[:-1]}
    across = torch.stack([steps[column - 1] for column in edges])
    inside = torch.stack([v for i, v in enumerate(steps) if i + 1 not in edges])
    assert float(across.max()) <= float(inside.max())
    assert float(across.mean()) <= 1.2 * float(inside.mean())


def test_an_automatic_tile_is_what_the_network_knows_and_memory_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prior = load_prior()
    prior.prepare(gradient=False)
    assert prior.tile == 320
    weights = sum(p.nbytes for p in prior.parameters())
    plain, graph = (prior.bytes_per_pixel(gradient) for gradient in (False, True))
    assert graph > 3 * plain
    room = int(weights + 4 * 128 * 128 * graph) + 100
    monkeypatch.setattr("d2ir_pl.priors.network.total_memory", lambda device: room)
    prior.prepare(gradient=True)
    assert prior.tile == 128
    prior.prepare(gradient=False)
    assert prior.tile > 200
    monkeypatch.setattr("d2ir_pl.priors.network.total_memory", lambda device: 1000)
    prior.prepare(gradient=False)
    assert prior.tile == prior.smallest_tile
    chosen = load_prior(tile=64)
    chosen.prepare(gradient=False)
    assert chosen.tile == 64


def test_memory_counted_in_a_small_image_is_that_of_a_large_one(
    natural_small: NetworkPrior,
) -> None:
    with torch.no_grad(), AllocationCounter() as counter:
        natural_small.eps(torch.zeros(1, 3, 128, 128), 0)
    large = counter.peak / 128**2
    assert natural_small.bytes_per_pixel(gradient=False) == pytest.approx(large, rel=0.1)


def test_the_order_of_the_weights_changes_nothing_but_rounding() -> None:
    prior, x = load_prior(), torch.randn(1, 3, 32, 40)

    def found() -> tuple[Tensor, Tensor]:
        own = x.clone().requires_grad_()
        eps = prior.eps(own, 100)
        return eps.detach(), torch.autograd.grad(eps.square().sum(), own)[0]

    before = found()
    prior.prepare(gradient=False)
    assert not next(p for p in prior.unet.parameters() if p.ndim == 4).is_contiguous()
    for one, other in zip(before, found(), strict=True):
        assert torch.allclose(one, other, atol=1e-4 * float(one.abs().max()))


def test_a_batch_is_predicted_in_parts_where_memory_asks_for_it(
    natural_small: NetworkPrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(3, 3, 24, 32, requires_grad=True)
    whole = natural_small.eps(x, 100)
    (before,) = torch.autograd.grad(whole.square().sum(), x)
    shapes, network = [], NetworkPrior.predict_eps

    def watched(self: NetworkPrior, x_t: Tensor, t: int) -> Tensor:
        shapes.append(len(x_t))
        return network(self, x_t, t)

    monkeypatch.setattr(NetworkPrior, "predict_eps", watched)
    monkeypatch.setattr(natural_small, "pixels", 2 * 24 * 32)
    parts = natural_small.eps(x, 100)
    assert shapes == [2, 1]
    assert torch.allclose(parts, whole, atol=1e-5)
    (after,) = torch.autograd.grad(parts.square().sum(), x)
    assert torch.allclose(after, before, atol=1e-4)


def test_float32_is_left_as_it_was_found() -> None:
    prior = load_prior().cast(torch.bfloat16)
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    with prior.in_float32():
        assert {p.dtype for p in prior.parameters()} == {torch.float32}
        assert bool(prior.eps(torch.randn(1, 3, 16, 16), 100).isfinite().all())
    after = prior.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(before[name].dtype == after[name].dtype for name in before)


def test_tiles_of_a_pixelwise_prior_are_exact() -> None:
    x = torch.randn(1, 3, 75, 50)
    exact = torch.allclose(
        GaussianPrior().eps(x, 300), GaussianPrior(tile=32, overlap=8).eps(x, 300), atol=1e-6
    )
    assert exact


def test_gradients_flow_to_the_input_and_not_to_the_weights(natural_small: NetworkPrior) -> None:
    x = torch.randn(1, 3, 16, 16, requires_grad=True)
    natural_small.x0(x, 100).square().sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().sum()) > 0
    assert all(p.grad is None and not p.requires_grad for p in natural_small.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("new_order", [False, True])
def test_attention_is_that_of_guided_diffusion(new_order: bool, dtype: torch.dtype) -> None:
    """Its modules stay the reference: same values, same gradient, nothing in the state dict."""
    reference = (QKVAttention if new_order else QKVAttentionLegacy)(4)
    fused = FusedAttention(4, heads_first=not new_order)
    qkv = torch.randn(2, 3 * 4 * 8, 50, generator=torch.Generator().manual_seed(0)).to(dtype)
    results = []
    for attention in (reference, lambda x: fused(x.mT).mT):  # which has the pixels first
        x = qkv.clone().requires_grad_()
        out = attention(x)
        (gradient,) = torch.autograd.grad(out.square().sum(), x)
        results.append((out.detach().float(), gradient.float()))
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    for expected, found in zip(*results, strict=True):
        assert float((expected - found).abs().max()) < tolerance * float(expected.abs().max())
    assert not fused.state_dict()


@pytest.mark.parametrize("heads_first", [False, True])
def test_attention_needs_no_matrix_of_all_pairs(heads_first: bool) -> None:
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # raises where it cannot be used
        assert FusedAttention(2, heads_first)(torch.randn(1, 70, 3 * 2 * 16)).shape == (1, 70, 32)


@pytest.mark.parametrize("new_order", [False, True])
def test_every_attention_of_a_unet_is_the_fused_one(new_order: bool) -> None:
    unet = replace(TINY, use_new_attention_order=new_order).build()
    blocks = [block for block in unet.modules() if isinstance(block, Attention)]
    assert blocks
    assert {block.attention.heads_first for block in blocks} == {not new_order}
    assert not any(isinstance(block, AttentionBlock) for block in unet.modules())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_and_leaves_everything_outside_in_float32(
    dtype: torch.dtype,
) -> None:
    exact, half = load_prior(), load_prior().cast(dtype)
    x = torch.randn(1, 3, 16, 16)
    assert half.eps(x, 300).dtype == torch.float32
    assert half.schedule.alpha_bar.dtype == torch.float64
    assert float((half.eps(x, 300) - exact.eps(x, 300)).abs().mean()) < 0.02


def test_other_precisions_are_refused(natural_small: NetworkPrior) -> None:
    with pytest.raises(ValueError, match="float64"):
        natural_small.cast(torch.float64)


def tiny_weights() -> dict[str, Tensor]:
    unet = TINY.build()
    generator = torch.Generator().manual_seed(0)
    return {
        k: 0.05 * torch.randn(v.shape, generator=generator) for k, v in unet.state_dict().items()
    }


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_state_dict_with_flags_loads_and_its_variance_channels_are_left_out(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"model{suffix}"
    weights = tiny_weights()
    torch.save(weights, path) if suffix == ".pt" else save_file(weights, path)
    prior = load_prior(str(path), TINY)
    x = torch.randn(2, 3, 17, 20)
    unet = TINY.build().eval()
    unet.load_state_dict(weights)
    steps = torch.full((2,), 77)
    assert prior.eps(x, 77).shape == x.shape
    even = torch.randn(2, 3, 16, 20)
    assert torch.allclose(prior.eps(even, 77), unet(even, steps)[:, :3], atol=1e-5)


def test_a_file_with_metadata_needs_no_flags(tmp_path: Path) -> None:
    unet = TINY.build()
    config = {
        "image_size": 64,
        "in_channels": 3,
        "model_channels": 32,
        "out_channels": 6,
        "num_res_blocks": 1,
        "attention_resolutions": [2],
        "channel_mult": [1, 1],
        "num_heads": 4,
        "num_head_channels": 16,
        "use_scale_shift_norm": True,
        "resblock_updown": True,
    }
    schedule = {"name": "cosine", "steps": 500}
    save_file(
        unet.state_dict(),
        tmp_path / "own.safetensors",
        {"config": json.dumps(config), "schedule": json.dumps(schedule), "prediction": "eps"},
    )
    prior = load_prior(str(tmp_path / "own.safetensors"))
    assert prior.schedule.T == 500
    assert prior.eps(torch.randn(1, 3, 16, 16), 499).shape == (1, 3, 16, 16)


def test_wrong_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(PriorError, match="natural-small"):
        load_prior("no-such-prior")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(PriorError, match="safetensors"):
        load_prior(str(tmp_path / "text.safetensors"))
    (tmp_path / "text.pt").write_text("hello")
    for flags in (TINY, None):  # what is wrong with the file comes before what is missing beside it
        with pytest.raises(PriorError, match="state dict"):
            load_prior(str(tmp_path / "text.pt"), flags)

    weights = tiny_weights()
    torch.save(weights, tmp_path / "bare.pt")
    with pytest.raises(PriorError, match="prior_flags"):
        load_prior(str(tmp_path / "bare.pt"))
    missing = dict(weights)
    name = next(iter(missing))
    del missing[name]
    torch.save(missing, tmp_path / "missing.pt")
    with pytest.raises(PriorError, match=f"lacks {name}"):
        load_prior(str(tmp_path / "missing.pt"), TINY)
    torch.save({**weights, "extra.weight": torch.zeros(1)}, tmp_path / "extra.pt")
    with pytest.raises(PriorError, match=r"unexpected extra\.weight"):
        load_prior(str(tmp_path / "extra.pt"), TINY)
    torch.save({**missing, "extra.weight": torch.zeros(1)}, tmp_path / "both.pt")
    both = rf"lacks {name} \(1 such\) and has an unexpected extra\.weight \(1 such\)"
    with pytest.raises(PriorError, match=both):
        load_prior(str(tmp_path / "both.pt"), TINY)
    torch.save({**weights, name: weights[name] * torch.nan}, tmp_path / "nan.pt")
    with pytest.raises(PriorError, match="NaN"):
        load_prior(str(tmp_path / "nan.pt"), TINY)


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this must not run",))


def test_a_pickle_with_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weights": _Code()}, tmp_path / "code.pt")
    with pytest.raises(PriorError, match="plain tensors"):
        load_prior(str(tmp_path / "code.pt"), TINY)
    assert "must not run" not in capsys.readouterr().out


def test_a_published_prior_that_is_missing_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("D2IR_CACHE", str(tmp_path))
    with pytest.raises(PriorError, match=r"download imagenet-256.*2\.2 GB"):
        load_prior("imagenet-256")
    assert not list(tmp_path.iterdir())
    assert all(prior_file(name).stat().st_size < 12e6 for name in EMBEDDED)
    assert prior_files("natural-small") == [prior_file("natural-small")]


def test_a_loaded_prior_does_not_depend_on_its_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(tiny_weights(), path)
    prior = load_prior(str(path), TINY)
    x = torch.randn(1, 3, 8, 8)
    expected = prior.eps(x, 5)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert torch.equal(prior.eps(x, 5), expected)


def test_the_prior_of_the_documentation_predicts_and_restores() -> None:
    """Its prediction is that of the closed form in GaussianPrior."""
    text = (DOCS / "priors.md").read_text(encoding="utf-8").partition("## One of your own")[2]
    code = text.partition("```python\n")[2].partition("```")[0]
    found: dict[str, Any] = {}
    exec(code, found)  # it is our own documentation
    x_t = torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    expected = GaussianPrior(mean=0.0, std=0.5).eps(x_t, 300)
    assert torch.allclose(found["GreyPrior"]().eps(x_t, 300), expected, atol=1e-6)
    assert found["result"].x0.shape == (1, 3, 48, 64)
    assert found["result"].nfe[0] > 0


def test_loading_a_prior_again_and_again_keeps_nothing() -> None:
    path = prior_file("natural-small")
    read_state_dict(path)
    before = sys.getallocatedblocks()
    for _ in range(10):
        read_state_dict(path)
    assert sys.getallocatedblocks() - before < 500


@pytest.mark.parametrize("tile", [64, 320])
def test_images_at_timesteps_of_their_own_are_predicted_as_each_by_itself(tile: int) -> None:
    """At once, in parts of the batch, and on tiles."""
    prior, x = load_prior(tile=tile), torch.randn(3, 3, 72, 40)
    steps = [0, 40, 700]
    with torch.no_grad():
        alone = torch.cat([prior.x0(x[b : b + 1], t) for b, t in enumerate(steps)])
        for prior.pixels in (None, 2 * 72 * 40):
            found = prior.x0(x, torch.tensor(steps))
            assert torch.allclose(found, alone, atol=1e-4 * float(alone.abs().max()))

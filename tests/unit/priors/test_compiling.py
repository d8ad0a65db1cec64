"""Networks that torch.compile makes: that it does, and what happens where it cannot."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2ir_pl.priors import UNetFlags
from d2ir_pl.priors.compiling import Compiled, obstacle
from d2ir_pl.priors.download import cache_dir
from d2ir_pl.priors.guided_diffusion import UNetPrior

SMALL = UNetFlags(
    image_size=16,
    num_channels=32,
    num_res_blocks=1,
    channel_mult="1,2",
    attention_resolutions="8",
    num_head_channels=16,
)
"""Of a network that has all kinds of layers, and few of them: each is looked at by itself."""


def made() -> UNetPrior:
    """A prior of such a network, always with the same weights."""
    network = SMALL.build()
    generator = torch.Generator().manual_seed(0)
    for value in network.parameters():
        value.data = 0.1 * torch.randn(value.shape, generator=generator) + (value.ndim == 1)
    return UNetPrior(network, SMALL.config(), SMALL.schedule_config())


@pytest.fixture(autouse=True)
def forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled before, and the cache is another one."""
    torch.compiler.reset()
    monkeypatch.setenv("D2IR_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))


class Counting:
    """A backend of torch.compile that runs a graph as it is, and counts."""

    def __init__(self) -> None:
        self.graphs: list[Any] = []

    def __call__(self, graph: Any, inputs: Any) -> Callable[..., Any]:
        del inputs
        self.graphs.append(graph)
        return graph.forward  # type: ignore[no-any-return]


def test_a_network_is_one_graph_a_size_also_when_its_memory_was_counted() -> None:
    """In half precision, too."""
    plain, prior = made().cast(torch.bfloat16), made().cast(torch.bfloat16)
    backend = Counting()
    prior.compile_network(backend)
    for one in (plain, prior):
        one.prepare(gradient=False)
    assert not backend.graphs
    for side in (16, 24):
        x = torch.randn(1, 3, side, 16)
        with torch.no_grad():
            for t in (100, 300):
                assert torch.allclose(prior.eps(x, t), plain.eps(x, t), atol=1e-4)
    assert len(backend.graphs) == 2


def test_gradients_pass_through_what_is_compiled() -> None:
    plain, prior = made(), made()
    prior.compile_network(Counting())
    x = torch.randn(1, 3, 16, 16)

    def gradient(one: Any) -> Tensor:
        own = x.clone().requires_grad_()
        return torch.autograd.grad(one.eps(own, 100).square().sum(), own)[0]

    assert torch.allclose(gradient(prior), gradient(plain), atol=1e-4)


def test_where_compiling_fails_the_network_is_called_as_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no such compiler")

    network = nn.Linear(3, 2)
    compiled, x = Compiled(network, broken), torch.randn(1, 3)
    for _ in range(2):
        assert torch.equal(compiled(x), network(x))
    assert "no such compiler" in compiled.failure
    assert len([r for r in caplog.records if r.name == "d2ir_pl.priors.compiling"]) == 1


@pytest.mark.parametrize("before", [None, "/tmp/torchinductor_root", "/somewhere/mine"])
def test_what_was_compiled_is_kept(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own folder does not outlast the machine's restart; that of a user is kept."""
    name = "TORCHINDUCTOR_CACHE_DIR"
    if before is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, before)
    Compiled(nn.Linear(3, 2), Counting())
    own = before is not None and "mine" in before
    assert os.environ[name] == (before if own else str(cache_dir() / "compiled"))


def test_errors_of_the_network_itself_stay_what_they_are() -> None:
    compiled = Compiled(nn.Linear(3, 2), Counting())
    with pytest.raises(RuntimeError):
        compiled(torch.randn(1, 4))


def test_what_is_missing_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert obstacle("cpu") == (
        "the network is not compiled, as no C++ compiler is installed: install g++"
    )
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert obstacle("cpu") is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "install triton" in str(obstacle("cuda:0"))

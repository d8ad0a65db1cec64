"""Tensors that are brought to the CPU together."""

import pytest
import torch

from benchmarks.pretended_device import can_pretend, pretended_gpu
from d2ir_pl.degradations import Phi
from d2ir_pl.operators.fetching import fetched, on_cpu


def test_what_is_on_the_cpu_stays_as_it_is() -> None:
    tensors = [torch.ones(2), torch.zeros(3, dtype=torch.long)]
    assert all(a is b for a, b in zip(fetched(tensors), tensors, strict=True))
    assert fetched([]) == []


@pytest.mark.skipif(not can_pretend(), reason="no GPU can be pretended with this PyTorch")
def test_a_device_is_waited_for_once_for_each_dtype() -> None:
    here = [torch.randn(2, 3), torch.arange(4), torch.randn(()), torch.empty(1, 0)]
    with pretended_gpu() as gpu:
        there = [tensor.to("cuda") for tensor in here]
        part = there[0][1]
        before = gpu.count
        found = fetched([*there, there[0], part])
        assert (gpu.count - before).waits == 2
    for a, b in zip(found, [*here, here[0], here[0][1]], strict=True):
        assert a.device.type == "cpu"
        assert torch.equal(a, b)
        assert a.untyped_storage().nbytes() == a.nbytes  # nothing is kept but what it shows


@pytest.mark.skipif(not can_pretend(), reason="no GPU can be pretended with this PyTorch")
def test_parameters_of_several_photos_come_together() -> None:
    photos = [Phi(width=torch.full((1, 1), float(b)), none=torch.empty(1, 0)) for b in range(3)]
    with pretended_gpu() as gpu:
        there = [phi.to("cuda") for phi in photos]
        before = gpu.count
        found = on_cpu(there)
        assert (gpu.count - before).waits == 1
    for phi, own in zip(found, photos, strict=True):
        assert {name: value.tolist() for name, value in phi.items()} == {
            name: value.tolist() for name, value in own.items()
        }


@pytest.mark.skipif(not can_pretend(), reason="no GPU can be pretended with this PyTorch")
def test_what_a_device_cannot_hold_twice_comes_one_by_one() -> None:
    with pretended_gpu(memory=1200) as gpu:
        there = [torch.full((100,), float(b), device="cuda") for b in range(2)]
        assert gpu.live == 800
        assert [float(t.mean()) for t in fetched(there)] == [0, 1]

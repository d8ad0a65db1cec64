"""The bound on the plans of Fourier transforms that a GPU keeps."""

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from photos import save_all

from benchmarks.pretended_device import can_pretend, pretended_gpu
from d2ir_pl.cli import main
from d2ir_pl.operators.fft_plans import MOST_PLANS, bound_fft_plans


def test_each_gpu_keeps_few_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    caches: defaultdict[torch.device, SimpleNamespace] = defaultdict(SimpleNamespace)
    monkeypatch.setattr(torch.backends.cuda, "cufft_plan_cache", caches)
    for name in ("cpu", "cuda:0", "cuda:1"):
        bound_fft_plans(torch.device(name))
    assert {str(device): cache.max_size for device, cache in caches.items()} == {
        "cuda:0": MOST_PLANS,
        "cuda:1": MOST_PLANS,
    }


@pytest.mark.skipif(not can_pretend(), reason="no GPU can be pretended with this PyTorch")
def test_a_run_bounds_the_plans_of_its_gpu(tmp_path: Path) -> None:
    folder = save_all(tmp_path / "in", ["a.png"], 24, 24)
    options = ["--config", "denoising", "--data.inputs", str(folder), "--trainer.precision=32-true"]
    with pretended_gpu():
        output = ["--output", str(tmp_path / "out"), "--trainer.accelerator=gpu"]
        assert main(["predict", *options, *output]) == 0
        assert torch.backends.cuda.cufft_plan_cache[torch.device("cuda", 0)].max_size == MOST_PLANS

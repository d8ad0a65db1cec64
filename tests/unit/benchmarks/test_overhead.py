"""What predicting and training ask of a pretended GPU."""

from pathlib import Path

import pytest
import torch
from photos import save_all
from training_runs import averaged, fit

from benchmarks import overhead
from benchmarks.pretended_device import can_pretend, pretended_gpu

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_pretend(), reason="no GPU can be pretended with this PyTorch"),
]


def test_the_overhead_of_a_config_is_counted_and_timed(capsys: pytest.CaptureFixture[str]) -> None:
    overhead.main(["--configs", "inpainting", "--photos", "1", "--batch", "2", "--size", "32"])
    line = capsys.readouterr().out.splitlines()[-1]
    name, kernels, waits, _, seconds, outside, _, share = line.strip("| ").split(" | ")
    assert name == "inpainting"
    # Reading, restoring, scoring and writing two photos, with curves and pictures of each step.
    assert 100 < int(kernels) <= 2100
    assert 0 < int(waits) <= 50
    assert 0 < float(outside) <= float(seconds)
    assert 0 < float(share.rstrip("%")) < 100


def test_training_on_a_gpu_is_that_on_a_cpu_and_waits_little(tmp_path: Path) -> None:
    photographs = save_all(tmp_path / "photographs", [f"{i}.png" for i in range(40)], 32, 32)
    options = ["--trainer.max_steps=3", "--trainer.val_check_interval=3"]
    assert fit(photographs, tmp_path / "cpu", *options) == 0
    with pretended_gpu() as gpu:
        assert fit(photographs, tmp_path / "gpu", *options, "--trainer.accelerator=gpu") == 0
        followed = [n for line, n in gpu.waits.items() if "training/average.py" in line]
    assert sum(followed) <= 3  # one a step, however many tensors there are
    here, there = averaged(tmp_path / "cpu"), averaged(tmp_path / "gpu")
    for name, value in here.items():
        assert torch.allclose(there[name], value, atol=1e-4)

"""Freed memory that is given back, and large photos whose parts are computed one by one."""

import platform
import subprocess
import sys

import pytest
import torch
from photos import photo

from d2ir_pl.degradations import GaussianBlur
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.estimators.noise_level import estimate_sigma, sigma_without_texture
from d2ir_pl.operators import freed_memory
from d2ir_pl.restoration import Problem
from d2ir_pl.restoration.provenance import provenance

GAPS = """
import torch
from d2ir_pl.operators.freed_memory import LARGE, give_back
from d2ir_pl.priors.memory import keep_freed_memory

def megabytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 // 2**20

assert keep_freed_memory()
blocks = [torch.ones(2**22) for _ in range(60)]
blocks = blocks[1::2]
before = megabytes()
give_back(torch.empty(LARGE // 2))
small = megabytes()
give_back(torch.empty(LARGE + 1))
print(before - small, before - megabytes())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_gaps_are_given_back_where_a_photo_is_large() -> None:
    run = subprocess.run([sys.executable, "-c", GAPS], capture_output=True, text=True, check=True)
    small, large = map(int, run.stdout.split())
    assert abs(small) < 50
    assert large > 400  # of 480 MB


def test_the_noise_of_channels_is_found_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    y = photo(0, 70, 90)[None]
    y = y + 0.1 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    together = [f(y) for f in (estimate_sigma, sigma_without_texture)]
    monkeypatch.setattr(freed_memory, "LARGE", 100)
    apart = [f(y) for f in (estimate_sigma, sigma_without_texture)]
    assert torch.allclose(torch.cat(apart), torch.cat(together), rtol=1e-5)


def test_what_is_filled_in_is_found_one_colour_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    y, blur = photo(0, 48, 64)[None], GaussianBlur(9, width=1.5)
    problem = Problem.of(y, blur, [image_generator(0, "a")], torch.tensor([0.05]))
    phi = problem.init()
    result = problem.result(problem.guess(phi), phi, nfe=1, stopped_by="steps", losses={})
    # So many that those of one colour and those of three are done.
    monkeypatch.setattr(sys.modules[provenance.__module__], "ITERATIONS", 40)
    together = provenance(problem, result)
    monkeypatch.setattr(freed_memory, "LARGE", 100)
    apart = provenance(problem, result)
    assert torch.allclose(apart.filled_in, together.filled_in, atol=1e-5)

"""The table of priors as removers of noise."""

import math
from pathlib import Path

import pytest
import torch
from photos import save_all

from benchmarks import denoising


def test_noise_belongs_to_an_image_and_a_level() -> None:
    clean = torch.zeros(1, 3, 8, 8)
    assert torch.equal(denoising.noisy(clean, 0.1, "a"), denoising.noisy(clean, 0.1, "a"))
    assert not torch.equal(denoising.noisy(clean, 0.1, "a"), denoising.noisy(clean, 0.1, "b"))
    wide = denoising.noisy(torch.zeros(1, 3, 200, 200), 0.1, "a")
    assert float(wide.std()) == pytest.approx(0.1, rel=0.02)


def test_a_table_has_a_row_for_each_prior_and_the_published_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_all(tmp_path, ("a.png", "b.png"), 40, 40)
    denoising.main(["--images", str(tmp_path), "--sigmas", "15,50", "--size", "32"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if " | " in line]
    (own, error) = (row for row in rows if row[0] == "| natural-small")
    fine, coarse = (float(cell.strip(" |")) for cell in own[1:])
    assert fine > coarse > 20 * math.log10(255 / 50)  # better than the noisy images
    assert all(0 < float(cell.strip(" |")) < 1 for cell in error[1:])
    assert sum("published for CBSD68" in row[0] for row in rows) == len(denoising.PUBLISHED)

"""The table of what restorations say of their origin."""

import pytest
import torch

from benchmarks import provenance


def test_ranks_are_compared() -> None:
    a = torch.tensor([1.0, 5.0, 2.0, 9.0])
    assert provenance.rank_correlation(a, a.exp()) == pytest.approx(1)
    assert provenance.rank_correlation(a, -a) == pytest.approx(-1)


def test_what_is_filled_in_and_what_is_wrong_stand_side_by_side(
    capsys: pytest.CaptureFixture[str],
) -> None:
    provenance.main(["--tasks", "denoising", "--limit", "1", "--size", "64"])
    row = capsys.readouterr().out.splitlines()[-1].split(" | ")
    assert row[0] == "| denoising"
    fine, *_, coarse = (tuple(map(float, cell.split(", "))) for cell in row[1:-1])
    assert fine[0] > coarse[0]
    assert fine[1] > coarse[1]

"""The curves of a table are those of its numbers."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import coverage_curves, held
from benchmarks.held import Pixels


def photographs(first: int) -> list[Pixels]:
    rng = np.random.default_rng(first)
    contrast = np.exp(rng.uniform(-6, -1, (4, 900))).astype(np.float32)
    error = np.abs(rng.laplace(0, 0.02, (4, 900, 3))).astype(np.float32)
    spread = np.full(900, 0.01, np.float32)
    return [Pixels(e, spread, c, 0.02, {}) for e, c in zip(error, contrast, strict=True)]


def test_what_a_table_says_is_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    told = {name: held.halves(photographs(n), 8) for n, name in enumerate(("one", "two"))}
    held.show(told)
    table = capsys.readouterr().out
    other, empty = "| a |\n|---|\n| 1 |", f"| empty | 0 {'| ' * 8}|"
    text = f"# Title\n\n{other}\n\n{table}{empty}\n\nend\n"
    found = coverage_curves.curves(text)
    assert [curve.task for curve in found] == ["one", "two"]
    for curve, halves in zip(found, told.values(), strict=True):
        for level, shares in curve.held.items():
            own = [
                100 * np.mean([(p.error <= p.half_width[level][:, None]).mean() for p in half])
                for half in halves
            ]
            assert shares == pytest.approx(own, abs=0.051)
        low, high = curve.tenths
        assert low <= min(curve.held[0.9]) <= max(curve.held[0.9]) <= high
    (tmp_path / "table.md").write_text(text)
    coverage_curves.main([str(tmp_path / "table.md"), str(tmp_path / "curves.png")])
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > 2 * picture.height


def test_a_text_without_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no table of benchmarks\.coverage"):
        coverage_curves.curves("| a |\n|---|\n| 1 |\n")

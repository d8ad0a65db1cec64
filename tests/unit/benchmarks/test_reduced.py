"""Photographs made smaller with and without anti-aliasing."""

import pytest
import torch

from benchmarks import reduced


def test_photographs_are_restored_at_their_size(capsys: pytest.CaptureFixture[str]) -> None:
    reduced.main(["--limit", "1", "--size", "66"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    assert [row[0] for row in cells] == list(reduced.WAYS)
    for row in cells:
        taken, (bicubic, aliased, chosen) = row[2] == "1", row[-3:]
        assert chosen == (aliased if taken else bicubic)


def test_small_photos_are_of_eight_bits_and_alias_as_their_names_say() -> None:
    # Stripes of a pixel: anti-aliasing makes them grey, and without it every second one is left.
    stripes = (torch.arange(64) % 2 * 2.0 - 1).expand(3, 64, 64)
    small = {way: reduced.reduced(stripes, 4, way, 0, "stripes") for way in reduced.WAYS}
    for way, y in small.items():
        assert y.shape == (3, 16, 16)
        levels = (y + 1) * 127.5
        torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
        if "aliased" not in way:
            assert y[:, 2:-2, 2:-2].abs().max() < 0.1

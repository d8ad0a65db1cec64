"""Patches for the training of priors: what is drawn, and from which photographs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photos import save, save_all
from training_runs import batches, data

from d2ir_pl.errors import InputError
from d2ir_pl.training.data import PriorDataModule


def test_a_sample_depends_on_the_seed_and_its_number_alone(photographs: Path) -> None:
    first = batches(data(photographs, batch_size=6), 2)
    second = batches(data(photographs, batch_size=4, num_workers=2, cache_gb=0.0), 3)
    for name in ("x0", "noise", "u"):
        a, b = (torch.cat([getattr(batch, name) for batch in run]) for run in (first, second))
        assert torch.equal(a, b)
    other = batches(data(photographs, batch_size=6, seed=1), 2)
    assert not torch.equal(first[0].x0, other[0].x0)
    assert not torch.equal(first[0].u, other[0].u)


def test_levels_are_spread_evenly_over_any_stretch_of_samples(photographs: Path) -> None:
    u = torch.cat([b.u for b in batches(data(photographs, batch_size=50), 4)])
    for stretch in (u[:50], u[73:173]):
        gaps = torch.cat([stretch.sort().values, torch.ones(1)]).diff()
        assert float(gaps.max()) < 3 / len(stretch)


def test_patches_show_the_photographs_at_all_scales_and_in_all_directions(tmp_path: Path) -> None:
    """A ramp tells the scale by its slope, and the direction by its sign and axis."""
    ramp = np.linspace(0, 255, 200).astype(np.uint8)
    from PIL import Image

    for name in ("a.png", "b.png"):
        Image.fromarray(np.broadcast_to(ramp, (200, 200)).copy()).save(tmp_path / name)
    (batch,) = batches(data(tmp_path, batch_size=200, min_scale=0.25), 1)
    down = (batch.x0[:, 0, 1:] - batch.x0[:, 0, :-1]).mean((1, 2))
    right = (batch.x0[:, 0, :, 1:] - batch.x0[:, 0, :, :-1]).mean((1, 2))
    slope = torch.stack([down, right])
    per_pixel = 2 / 199
    steep = slope.abs().amax(0) / per_pixel
    assert 0.9 < float(steep.min()) < 1.2
    assert 3.5 < float(steep.max()) < 4.3
    # Log-uniform between 1 and 4: the median lies at 2.
    assert 1.7 < float(steep.median()) < 2.35
    for axis in range(2):
        for sign in (1, -1):
            assert int((sign * slope[axis] > per_pixel / 2).sum()) > 25
    (upright,) = batches(data(tmp_path, batch_size=50, flips=False), 1)
    assert bool((upright.x0[:, 0, :, 1:] >= upright.x0[:, 0, :, :-1] - 0.02).all())


def test_validation_photographs_are_not_trained_on(photographs: Path) -> None:
    module = data(photographs, val_fraction=0.4)
    assert len(module.val_paths) == 2
    assert not set(module.val_paths) & set(module.train_paths)
    assert len(module.val_paths) + len(module.train_paths) == 6
    assert [x.shape for x in module.val_dataloader()] == [(3, 16, 16)] * 2
    own = data(photographs, val_inputs=str(photographs / "3.png"))
    assert [p.name for p in own.val_paths] == ["3.png"]


def test_what_cannot_be_trained_on_is_left_out_and_named(tmp_path: Path) -> None:
    save_all(tmp_path, ["a.png", "b.png"], 40, 40)
    save(tmp_path / "small.png", 0, 8, 40)
    (tmp_path / "broken.png").write_text("no image")
    broken = bytearray((tmp_path / "a.png").read_bytes())
    broken[len(broken) // 2 :] = b""
    (tmp_path / "cut.png").write_bytes(broken)
    module = data(tmp_path, val_inputs=str(tmp_path / "a.png"))
    assert len(module.skipped) == 2
    assert any("small.png is smaller than a patch of 16" in reason for reason in module.skipped)
    assert any("broken.png" in reason for reason in module.skipped)
    # A truncated file shows only when it is decoded: another one takes its place.
    assert all(bool(b.x0.isfinite().all()) for b in batches(module, 4))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch_size": 64}, "is smaller than a patch of 64"),
        ({"inputs": "nowhere"}, "nowhere does not exist"),
        ({"inputs": None}, "inputs: nothing to train on"),
    ],
)
def test_unusable_data_is_one_sentence(
    photographs: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        PriorDataModule(**{"inputs": str(photographs), **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch_size": 7}, "^patch_size 7 must be at least 8$"),
        ({"min_scale": 0.0}, "^min_scale 0.0 must be above 0 and at most 1$"),
        ({"batch_size": 0}, "^batch_size 0 must be at least 1$"),
        ({"val_fraction": 1.0}, "^val_fraction 1.0 must be above 0 and below 1$"),
    ],
)
def test_a_setting_out_of_range_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PriorDataModule("anywhere", **settings)

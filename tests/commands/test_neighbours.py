"""An image does not depend on its neighbours, and noise only on the seed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from photos import save, save_all
from program import NAMES, pixels, predict, state_of

from d2ir_pl.image_io import read_image
from d2ir_pl.inputs.items import Item
from d2ir_pl.inputs.samples import Sample
from d2ir_pl.prediction.data import Batch, RestorationDataModule
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.restoration import D2IR, DegradationEstimation, LatentOptimization


def batch_of(items: list[Item]) -> Batch:
    photos = [read_image(item.path) for item in items]
    samples = [
        Sample(i, photo, photo.pixels, None, "") for i, photo in zip(items, photos, strict=True)
    ]
    return Batch(samples, [], torch.stack([s.y for s in samples]))


@pytest.fixture(scope="module")
def both_stages() -> RestorationModule:
    """In single precision, with a second stage that never stops early."""
    latent = LatentOptimization(
        iterations=2, ddim_steps=2, fixed_point_iterations=2, discrepancy=0.0
    )
    return RestorationModule(method=D2IR(DegradationEstimation(steps=4), latent))


@pytest.mark.slow
@pytest.mark.parametrize("stages", ["estimation", "both"])
def test_alone_in_a_batch_and_in_another_order_the_result_is_the_same(
    tmp_path: Path,
    both_stages: RestorationModule,
    monkeypatch: pytest.MonkeyPatch,
    stages: str,
) -> None:
    monkeypatch.setattr(both_stages.method, "stages", stages)
    save_all(tmp_path, ["a.png", "b.png", "c.png"])
    items = RestorationDataModule(str(tmp_path)).items
    together = both_stages.predict_step(batch_of(items)).results
    reverse = both_stages.predict_step(batch_of(items[::-1])).results[::-1]
    for b, item in enumerate(items):
        (single,) = both_stages.predict_step(batch_of([item])).results
        alone = single.restoration
        assert len(single.phi_change) == 3
        for result in (together[b], reverse[b]):
            other = result.restoration
            assert result.sample.item == item
            assert result.phi_change == pytest.approx(single.phi_change, abs=1e-4)
            np.testing.assert_allclose(other.x0, alone.x0, atol=1e-4)
            np.testing.assert_allclose(other.sigma_y, alone.sigma_y, rtol=1e-5)
            for name, value in alone.phi.items():
                np.testing.assert_allclose(other.phi[name], value, atol=1e-4)
            assert other.nfe == alone.nfe
            assert other.stopped_by == alone.stopped_by
            for stage, losses in alone.losses.items():
                np.testing.assert_allclose(other.losses[stage], losses, rtol=1e-2, atol=1e-5)
    assert (together[0].x0 - together[1].x0).abs().max() > 0.1


def test_neighbours_in_a_batch_change_nothing_at_all(
    tmp_path: Path, both_stages: RestorationModule
) -> None:
    save_all(tmp_path, ["a.png", "b.png", "c.png"])
    save(tmp_path / "c.png", 9, grey=True)
    a, b, c = RestorationDataModule(str(tmp_path)).items
    with_b, with_c = (both_stages.predict_step(batch_of([a, x])).results for x in (b, c))
    assert torch.equal(with_b[0].x0, with_c[0].x0)
    assert with_b[0].restoration.losses["latent"] == with_c[0].restoration.losses["latent"]
    assert not torch.equal(with_b[1].x0, with_c[1].x0)


@pytest.mark.parametrize(("precision", "bits"), [("32-true", 16), ("bf16-mixed", 8)])
def test_files_do_not_depend_on_the_batch(tmp_path: Path, precision: str, bits: int) -> None:
    for i in range(3):
        save(tmp_path / "in" / f"{i}.png", i, 16, 16, bit_depth=bits)
    options = ["--trainer.precision", precision, "--tensorboard", "false"]
    options += ["--model.degradation.kernel_size", "5"]
    for size in (1, 3):
        batch = ["--data.batch_size", str(size)]
        assert predict(tmp_path / "in", tmp_path / f"out{size}", *options, *batch) == 0
    assert predict(tmp_path / "in" / "2.png", tmp_path / "alone", *options) == 0
    together = read_image(tmp_path / "out3" / "restored" / "2.png").pixels
    for other in ("out1", "alone"):
        single = read_image(tmp_path / other / "restored" / "2.png").pixels
        difference = float((single - together).abs().max())
        assert difference <= (1e-4 if precision == "32-true" else 2.01 / 255)
    alone = (tmp_path / "alone" / "restored" / "2.png").read_bytes()
    assert (tmp_path / "out1" / "restored" / "2.png").read_bytes() == alone


def test_same_seed_same_bytes_other_seed_other_bytes(finished: Path, tmp_path: Path) -> None:
    expected = state_of(finished / "out" / "restored")
    for seed in ("0", "1"):
        out = tmp_path / seed
        assert predict(finished / "in", out, "--seed", seed, "--tensorboard", "false") == 0
        for name, (content, _) in state_of(out / "restored").items():
            assert (content == expected[name][0]) == (seed == "0"), name
    for name in NAMES:
        first, again = (
            json.loads((root / "degradation" / f"{name}.json").read_text(encoding="utf-8"))
            for root in (finished / "out", tmp_path / "0")
        )
        del first["seconds"], again["seconds"]
        assert first == again


def test_images_of_one_run_draw_different_noise(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save(tmp_path / "in" / name, 1)
    assert predict(tmp_path / "in", tmp_path / "out", "--data.batch_size", "2") == 0
    a, b = (pixels(tmp_path / "out" / "restored" / name) for name in ("a.png", "b.png"))
    assert (a != b).any()

"""What becomes of a batch: results image by image, and nothing of it in the module."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from photos import photo, save, save_all

from d2ir_pl.degradations import Blur, GaussianBlur, Identity
from d2ir_pl.errors import UsageError
from d2ir_pl.image_io import write_png
from d2ir_pl.inputs.items import Item
from d2ir_pl.inputs.samples import Sample, read_sample
from d2ir_pl.prediction.callbacks import RestorationCallback
from d2ir_pl.prediction.data import Batch, RestorationDataModule
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.prediction.outcome import BatchResult
from d2ir_pl.prediction.trainer import restoration_trainer
from d2ir_pl.restoration import D2IR, DegradationEstimation, Step


def quick(**options: object) -> RestorationModule:
    method = D2IR(DegradationEstimation(steps=2), stages="estimation")
    return RestorationModule(**{"method": method, **options})  # type: ignore[arg-type]


def batch_of(*paths: Path, references: dict[str, Path] | None = None) -> Batch:
    items = [Item(p, p.name, p.stem, (references or {}).get(p.stem)) for p in paths]
    samples = [sample for item in items if isinstance(sample := read_sample(item), Sample)]
    return Batch(samples, [], torch.stack([sample.y for sample in samples]))


class Watch(RestorationCallback):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.begun: list[list[str]] = []
        self.steps: list[tuple[list[str], int]] = []
        self.results: list[BatchResult] = []
        self.closed = 0

    def begin(self) -> None:
        self.begun.append([item.name for item in self.items])

    def observe(self, step: Step) -> None:
        self.steps.append((self.names(step), step.index))

    def finish(self, result: BatchResult) -> None:
        self.results.append(result)

    def close(self) -> None:
        self.closed += 1


def test_an_image_that_lacks_something_is_left_out_and_the_others_keep_their_names(
    tmp_path: Path,
) -> None:
    paths = [save(tmp_path / f"{name}.png", seed) for seed, name in enumerate("abc")]
    clean = {"a": save(tmp_path / "small.png", 0, 10, 10), "c": save(tmp_path / "clean.png", 2)}
    module, steps = quick(), []
    module.observers.append(lambda step: steps.append(step.images))
    outcome = module.predict_step(batch_of(*paths, references=clean))
    (failure,) = outcome.failures
    assert failure.item.name == "a"
    assert failure.reason == f"its reference {clean['a']} is 10x10, not 24x32"
    assert failure.digest
    assert [result.name for result in outcome.results] == ["b", "c"]
    assert steps == [[1, 2], [1, 2]]
    b, c = outcome.results
    assert "psnr" not in b.scores
    assert c.scores["input_psnr"] == float("inf")
    assert c.record().input_psnr is None, "JSON has no infinity"
    assert c.record().reference_sha256 == read_sample(Item(clean["c"], "", "")).digest
    assert b.x0.shape == b.y.shape == b.shown.shape == (3, 24, 32)
    assert torch.equal(b.y, b.sample.photo.pixels)


@pytest.mark.parametrize(
    "wrong",
    [{"degradation": "blur"}, {"degradation": GaussianBlur}, {"method": "D2IR"}, {"method": 3}],
)
def test_what_is_no_degradation_or_method_is_refused_with_an_example(
    wrong: dict[str, object],
) -> None:
    (name,) = wrong
    with pytest.raises(
        UsageError, match=rf"^{name} must be auto or an object such as \w+\(\), not"
    ):
        RestorationModule(**wrong)  # type: ignore[arg-type]


def test_an_empty_batch_has_no_results() -> None:
    outcome = quick().predict_step(Batch([], [], torch.empty(0, 3, 1, 1)))
    assert (outcome.results, outcome.failures) == ([], [])


def test_what_auto_has_chosen_stays_with_the_image(tmp_path: Path) -> None:
    write_png(tmp_path / "sharp.png", photo(0, 96, 96))
    blurred = GaussianBlur(width=2.0, border="reflect")
    x = photo(1, 96, 96)[None]
    y = blurred(x, blurred.init(x, torch.zeros(1)))
    noise = 0.03 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    write_png(tmp_path / "soft.png", (y + noise)[0])
    module = quick(degradation="auto", second_opinion=False)  # a few steps give no good result
    before = module.degradation, module.method
    chosen = []
    for name in ("sharp", "soft"):
        (result,) = module.predict_step(batch_of(tmp_path / f"{name}.png")).results
        assert result.reasons[0].startswith("taken for: ")
        chosen.append(type(result.degradation))
    assert chosen[0] is Identity
    assert chosen[1] in (Blur, GaussianBlur)
    assert (module.degradation, module.method) == before
    together = module.predict_step(batch_of(tmp_path / "sharp.png", tmp_path / "soft.png"))
    assert [type(result.degradation) for result in together] == chosen


def test_a_photo_whose_damage_cannot_be_measured_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("svd did not converge")

    monkeypatch.setattr("d2ir_pl.batches.plan.propose", broken)
    outcome = quick(degradation="auto").predict_step(batch_of(save(tmp_path / "a.png")))
    (failure,) = outcome.failures
    assert "its damage could not be measured" in failure.reason
    assert "name a degradation" in failure.reason


def test_every_prediction_has_observers_of_its_own(tmp_path: Path) -> None:
    save_all(tmp_path, ["a.png", "b.png", "c.png"])
    module, seen = quick(), []
    for _ in range(2):
        watch = Watch()
        data = RestorationDataModule(str(tmp_path), batch_size=2)
        trainer = restoration_trainer(accelerator="cpu", callbacks=[watch])
        trainer.predict(module, data, return_predictions=False)
        assert module.observers == []
        seen.append(watch)
    for watch in seen:
        assert watch.begun == [["a", "b"], ["c"]]
        assert watch.steps == [(["a", "b"], 0), (["a", "b"], 1), (["c"], 0), (["c"], 1)]
        names = [[image.name for image in result.results] for result in watch.results]
        assert names == watch.begun
        assert watch.closed == 1


def test_a_prediction_that_breaks_off_leaves_no_observers(tmp_path: Path) -> None:
    class Stops(Watch):
        def observe(self, step: Step) -> None:
            raise KeyError("stopped")

    save(tmp_path / "a.png")
    module, watch = quick(), Stops()
    trainer = restoration_trainer(accelerator="cpu", callbacks=[watch])
    with pytest.raises(KeyError):
        trainer.predict(module, RestorationDataModule(str(tmp_path)), return_predictions=False)
    assert module.observers == []
    assert watch.closed == 1


def test_what_a_degraded_image_was_made_of_is_its_reference(tmp_path: Path) -> None:
    module = quick(degradation=GaussianBlur(width=1.5, border="reflect"))
    batch = batch_of(save(tmp_path / "a.png", 3, grey=True))
    (result,) = module.predict_step(replace(batch, degrade_noise=0.05)).results
    assert result.true_phi is not None
    assert result.reference is not None
    assert torch.equal(result.reference, result.sample.photo.pixels)
    assert torch.equal(result.y[0], result.y[1]), "the noise of a grey photo is grey"
    assert (result.y - result.reference).std() > 0.05
    record = result.record("settings")
    assert record.reference_sha256 == record.input_sha256 == result.sample.digest
    assert record.true_phi == record.phi
    assert replace(record, fingerprint="") == result.record()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "^num_samples 0 must be at least 1$"),
        ({"seed": -1}, "^seed -1 must be at least 0, as the same seed gives the same noise"),
        ({"sigma_y": 1.0}, "^sigma_y 1.0 must be at least 0 and below 1, which is grey levels"),
        ({"method": "auto"}, "^method auto chooses what suits .* name a method$"),
    ],
)
def test_mistakes_name_the_parameter(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RestorationModule(**options)  # type: ignore[arg-type]

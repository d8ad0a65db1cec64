"""What a user of Lightning types first: a plain Trainer, with all that it does by default."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from photos import photo, save_all
from pytorch_lightning.callbacks import BasePredictionWriter
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from d2ir_pl.degradations import GaussianBlur, Mask
from d2ir_pl.errors import UsageError
from d2ir_pl.image_io import read_image
from d2ir_pl.inputs.items import Failure
from d2ir_pl.prediction import (
    BatchResult,
    ImageResult,
    RestorationCallback,
    RestorationDataModule,
    RestorationModule,
)
from d2ir_pl.restoration import D2IR, DegradationEstimation, Step

pytestmark = pytest.mark.filterwarnings("ignore:.*predict_dataloader.*", "ignore:.*infer the batch")


def quick(**options: Any) -> RestorationModule:
    method = D2IR(DegradationEstimation(steps=2), stages="estimation")
    return RestorationModule(**{"method": method, **options})


def trainer(folder: Path, **options: Any) -> pl.Trainer:
    """A trainer with Lightning's defaults, but for the bar and the device."""
    options = {"enable_progress_bar": False, **options}
    return pl.Trainer(accelerator="cpu", default_root_dir=folder, **options)


def predicted(module: RestorationModule, data: Any, folder: Path, **options: Any) -> Any:
    return trainer(folder, **options).predict(module, data)


def images(predictions: list[BatchResult]) -> dict[str, Tensor]:
    return {image.name: image.image for batch in predictions for image in batch}


def load(photos: Any, **options: Any) -> DataLoader[Any]:
    return DataLoader(photos, **options)


class Named(Dataset[dict[str, Any]]):
    """The photos of a folder, as a user might read them."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.folder, self.names = folder, names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, Any]:
        name = self.names[index]
        return {"image": (read_image(self.folder / name).pixels + 1) / 2, "name": name}


class Writer(BasePredictionWriter):
    """Saves all predictions at the end."""

    def __init__(self, path: Path) -> None:
        super().__init__("epoch")
        self.path = path

    def write_on_epoch_end(self, trainer: Any, pl_module: Any, predictions: Any, *_: Any) -> None:
        del trainer, pl_module
        torch.save(predictions, self.path)


NAMES = ["a.png", "b.png", "c.png"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_all(tmp_path / "photos", NAMES)


def test_the_first_thing_that_is_typed_works(folder: Path, tmp_path: Path) -> None:
    writer, logger = Writer(tmp_path / "all.pt"), CSVLogger(tmp_path, name="csv")
    data = RestorationDataModule(folder, batch_size=2)
    options = {"callbacks": [writer], "logger": logger, "enable_progress_bar": True}
    predictions = predicted(quick(), data, tmp_path, **options)
    assert [[image.name for image in batch] for batch in predictions] == [["a", "b"], ["c"]]
    for image in (image for batch in predictions for image in batch):
        assert isinstance(image, ImageResult)
        assert image.image.shape == (3, 24, 32)
        assert 0 <= image.image.min() < image.image.max() <= 1
        assert torch.equal(image.image, (image.x0 + 1) / 2)
        assert image.record().phi == image.parameters
        assert image.to("cpu").record() == image.record()
    for copy in (
        torch.load(writer.path, weights_only=False),
        pickle.loads(pickle.dumps(predictions)),
    ):
        assert images(copy).keys() == images(predictions).keys()
        assert all(torch.equal(images(copy)[n], image) for n, image in images(predictions).items())
    written = (tmp_path / "csv" / "version_0" / "hparams.yaml").read_text()
    assert "class_path: d2ir_pl.restoration.D2IR" in written
    assert "batch_size: 2" in written


def test_a_photo_is_restored_alike_from_a_folder_and_from_a_loader(
    folder: Path, tmp_path: Path
) -> None:
    module = quick()
    theirs = images(predicted(module, RestorationDataModule(folder, batch_size=3), tmp_path))
    loader = load(Named(folder, NAMES[::-1]), batch_size=3)
    again = images(predicted(module, loader, tmp_path))
    for name in NAMES:
        assert (again[name] - theirs[name[0]]).abs().max() < 1e-4


class Counts(RestorationCallback):
    """Counts what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def observe(self, step: Step) -> None:
        self.told += [(name, step.index) for name in self.names(step)]


def test_a_second_prediction_reports_once_and_changes_nothing(tmp_path: Path) -> None:
    x = ((torch.stack([photo(0), photo(1)]) + 1) / 2)[:, :1]
    module, results = quick(), []
    same = trainer(tmp_path, callbacks=[counts := Counts()])
    for _ in range(2):
        counts.told.clear()
        again: Any = same.predict(module, load(x, batch_size=2))
        results.append(images(again))
        assert counts.told == [("0", 0), ("1", 0), ("0", 1), ("1", 1)]
    results.append(images(predicted(module, load(x, batch_size=2), tmp_path)))
    for other in results[1:]:
        assert all(torch.equal(other[name], image) for name, image in results[0].items())
    assert results[0]["0"].shape == (1, 24, 32), "grey in, grey out"


def test_float32_after_half_precision_computes_with_the_weights_of_the_file(tmp_path: Path) -> None:
    module, fresh = quick(), quick()
    loader = load([(photo(0) + 1) / 2])
    predicted(module, loader, tmp_path, precision="bf16-mixed")
    again = images(predicted(module, loader, tmp_path, precision="32-true"))
    expected = images(predicted(fresh, loader, tmp_path, precision="32-true"))
    assert torch.equal(again["0"], expected["0"])
    theirs = fresh.prior.state_dict()
    assert all(torch.equal(weight, theirs[n]) for n, weight in module.prior.state_dict().items())


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"limit_predict_batches": 1}, ["0", "1"]), ({"fast_dev_run": True}, ["0", "1"])],
)
def test_a_prediction_may_be_cut_short(
    tmp_path: Path, options: dict[str, Any], expected: list[str]
) -> None:
    x = (torch.stack([photo(i) for i in range(3)]) + 1) / 2
    predictions = predicted(quick(), load(x, batch_size=2), tmp_path, **options)
    assert list(images(predictions)) == expected


class Stream(IterableDataset[Tensor]):
    def __iter__(self) -> Any:
        return iter([(photo(i) + 1) / 2 for i in range(3)])


def test_photos_without_names_are_numbered(tmp_path: Path) -> None:
    x = (torch.stack([photo(i) for i in range(3)]) + 1) / 2
    shuffled = load(x, batch_size=2, shuffle=True, generator=torch.Generator().manual_seed(1))
    module = quick()
    found = predicted(module, [shuffled, load(Stream(), batch_size=2)], tmp_path)
    (first, second) = (images(part) for part in found)
    assert sorted(first) == ["0/0", "0/1", "0/2"]
    assert list(second) == ["1/0", "1/1", "1/2"]
    for number in range(3):
        (result,) = [r for batch in found[0] for r in batch if r.name == f"0/{number}"]
        assert torch.allclose(result.y, photo(number), atol=1e-6)


def test_masks_and_references_come_with_the_photos(tmp_path: Path) -> None:
    clean = (torch.stack([photo(0), photo(1)]) + 1) / 2
    mask = (torch.rand(2, 1, 24, 32, generator=torch.Generator().manual_seed(0)) > 0.3).float()
    data = [
        {"image": x * m, "reference": x, "mask": m, "name": n}
        for x, m, n in zip(clean, mask, "ab", strict=True)
    ]
    loader = load(data, batch_size=2)
    (batch,) = predicted(quick(degradation=Mask()), loader, tmp_path)
    for image, m in zip(batch, mask, strict=True):
        assert image.picture is not None
        assert torch.equal(image.picture, m[0])
        assert image.scores["psnr"] > image.scores["input_psnr"] + 5
    (batch,) = predicted(quick(), loader, tmp_path)
    assert not batch.results
    assert "GaussianBlur has no use for one" in batch.failures[0].reason


def test_a_broken_photo_does_not_end_a_prediction(tmp_path: Path) -> None:
    x = (torch.stack([photo(0), photo(1)]) + 1) / 2
    x[0, 0, 0, 0] = torch.nan
    (batch,) = predicted(quick(), load(x, batch_size=2), tmp_path)
    assert list(images([batch])) == ["1"]
    assert [(f.name, f.reason) for f in batch.failures] == [
        ("0", "y has NaN or infinite values: repair the input")
    ]
    assert isinstance(batch.to("cpu").failures[0], Failure)


def test_clean_photos_are_degraded_first_under_a_plain_trainer_too(
    folder: Path, tmp_path: Path
) -> None:
    data = RestorationDataModule(folder, degrade=True, limit=1)
    ((image,),) = predicted(quick(degradation=GaussianBlur(width=1.5)), data, tmp_path)
    assert image.true_phi is not None
    assert torch.equal(image.reference, read_image(folder / "a.png").pixels)


class Halves(RestorationModule):
    """A module of one's own: it brings its own form of batches, and its own results."""

    def predict_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
        found = super().predict_step(batch["photo"] / 2, batch_idx, dataloader_idx)
        return {"restored": [2 * image.image for image in found], "account": found}


def test_a_module_of_ones_own_wraps_the_step(tmp_path: Path) -> None:
    data = load([{"photo": (photo(0) + 1) / 2}])
    method = D2IR(DegradationEstimation(steps=2), stages="estimation")
    counts = Counts()
    tr = trainer(tmp_path, callbacks=[counts])
    with pytest.raises(UsageError, match=r"Counts needs the BatchResult .*: return it from your"):
        tr.predict(Halves(method=method), data)
    assert counts.told == [("0", 0), ("0", 1)]
    (found,) = predicted(Halves(method=method), data, tmp_path)
    assert found["restored"][0].shape == (3, 24, 32)
    assert isinstance(found["account"], BatchResult)


class Faulty(GaussianBlur):
    def forward(self, x: Tensor, phi: Any) -> Tensor:
        return x @ x


def test_a_fault_in_a_degradation_of_ones_own_says_where_it_is(tmp_path: Path) -> None:
    degradation = Faulty(border="reflect")
    (batch,) = predicted(quick(degradation=degradation), load([(photo(0) + 1) / 2]), tmp_path)
    (failure,) = batch.failures
    assert f"in forward of {__file__}, line" in failure.reason
    assert "return x @ x" in failure.trace


@pytest.mark.parametrize("verb", ["fit", "validate", "test"])
def test_what_the_module_cannot_do_is_one_sentence(tmp_path: Path, verb: str) -> None:
    with pytest.raises(UsageError, match=f"nothing to {verb}: .*call trainer.predict"):
        getattr(trainer(tmp_path), verb)(quick(), load([0]))

"""The output folder: layout, what counts as complete, and the table of all results."""

import csv
import hashlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photos import files, photo
from torch import Tensor

from d2ir_pl.image_io import Format, Output, Photo, read_image
from d2ir_pl.results import pictures
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.pictures import Pictures, sweep_pictures, write_result
from d2ir_pl.results.record import Record, means


@pytest.fixture
def folder(tmp_path: Path) -> ResultFolder:
    folder = ResultFolder(tmp_path / "out")
    folder.prepare()
    return folder


def record(name: str = "a", fingerprint: str = "settings", **fields: object) -> Record:
    return Record(name, "restored", fingerprint, "input", **fields)  # type: ignore[arg-type]


def write(folder: ResultFolder, record: Record, restored: Tensor, *rest: Any, **more: Any) -> None:
    kind = {key: more.pop(key) for key in ("alpha", "bit_depth") if key in more}
    write_result(folder, record, Pictures(Photo(restored, **kind), *rest, **more))


def told(folder: ResultFolder, name: str) -> Record:
    """The record of an image, without the digest of its picture."""
    found = folder.read(name)
    assert found is not None
    return replace(found, output_sha256="")


def state(folder: ResultFolder, name: str, fingerprint: str, digest: str) -> str:
    return folder.state(name, fingerprint, lambda: digest)


# ---- Layout ----


def test_an_image_is_three_files(folder: ResultFolder) -> None:
    write(folder, record("sub/a"), photo(), torch.rand(5, 5))
    assert files(folder.root) == {
        "degradation/sub/a.json",
        "degradation/sub/a.png",
        "restored/sub/a.png",
    }
    assert folder.restored("sub/a") == folder.root / "restored" / "sub" / "a.png"
    assert folder.json("sub/a") == folder.root / "degradation" / "sub" / "a.json"
    assert folder.picture("sub/a") == folder.root / "degradation" / "sub" / "a.png"


def test_a_synthetic_input_is_kept_beside_it(folder: ResultFolder) -> None:
    write(folder, record(), photo(1), None, degraded=photo(2))
    assert files(folder.root) == {"degradation/a.json", "degraded/a.png", "restored/a.png"}
    error = (read_image(folder.degraded("a")).pixels - photo(2)).abs().max()
    assert error <= 1.01 / 255


def test_pictures_hold_what_was_given(folder: ResultFolder) -> None:
    kernel = torch.linspace(0, 1, 25).reshape(5, 5)
    alpha = torch.linspace(0, 1, 24 * 32).reshape(1, 24, 32)
    write(folder, record(), photo(), kernel, alpha=alpha, bit_depth=16)
    restored, picture = read_image(folder.restored("a")), read_image(folder.picture("a"))
    assert restored.bit_depth == 16
    assert restored.alpha is not None
    np.testing.assert_allclose(restored.pixels, photo(), atol=1.01 / 65535)
    np.testing.assert_allclose(restored.alpha, alpha, atol=0.51 / 65535)
    assert picture.grey
    np.testing.assert_allclose((picture.pixels[0] + 1) / 2, kernel, atol=0.51 / 255)


@pytest.mark.parametrize("names", [("a", "a.png"), ("a.json", "a"), ("x/a", "x")])
def test_similar_names_do_not_meet(folder: ResultFolder, names: tuple[str, str]) -> None:
    for i, name in enumerate(names):
        write(folder, record(name, seed=i), photo(i), torch.rand(3, 3), degraded=photo(i + 5))
    for i, name in enumerate(names):
        assert told(folder, name) == record(name, seed=i)
        assert (read_image(folder.restored(name)).pixels - photo(i)).abs().max() <= 1.01 / 255
    folder.write_metrics()
    assert {r.name for r in folder.records(folder.names())} == set(names)


# ---- Records and states ----


def test_record_survives_a_round_trip(folder: ResultFolder) -> None:
    original = record(
        "Übung/写真 1",
        height=24,
        width=32,
        seed=3,
        sigma_y=0.1 + 0.2,
        residual=1e-9,
        stopped_by="discrepancy",
        nfe=40,
        seconds=1.25,
        psnr=31.5,
        losses={"estimation": [0.5, 1 / 3], "latent": []},
        phi={"kernel": [[0.25, 0.75]], "kind": "Blur"},
        true_phi={"width": 1.5},
        notes=["animated: the first of 3 frames is used"],
    )
    write(folder, original, photo())
    assert told(folder, original.name) == original


def test_states(folder: ResultFolder) -> None:
    assert state(folder, "a", "settings", "input") == "missing"
    write(folder, record(), photo())
    assert state(folder, "a", "settings", "input") == "complete"
    assert state(folder, "a", "others", "input") == "other settings"
    assert state(folder, "a", "settings", "changed") == "missing"
    assert state(folder, "a", "others", "changed") == "missing"
    assert state(folder, "b", "settings", "input") == "missing"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: folder.restored("a").unlink(),
        lambda folder: folder.json("a").unlink(),
        lambda folder: folder.json("a").write_text(""),
        lambda folder: folder.json("a").write_text('{"name": "a"'),
        lambda folder: folder.json("a").write_text('{"name": "a", "unknown": 1}'),
        lambda folder: folder.json("a").write_text("[]"),
        lambda folder: folder.json("a").write_bytes(b"\xff\xfe"),
        lambda folder: folder.write_record(Record("a", "failed", "settings", "input")),
    ],
)
def test_what_is_lost_damaged_or_failed_is_missing(
    folder: ResultFolder, spoil: Callable[[ResultFolder], None]
) -> None:
    write(folder, record(), photo())
    spoil(folder)
    assert state(folder, "a", "settings", "input") == "missing"
    write(folder, record(), photo())
    assert state(folder, "a", "settings", "input") == "complete"


@pytest.mark.parametrize("error", [RuntimeError("crash"), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [False, True])
def test_a_crash_before_the_restored_picture_leaves_the_image_missing(
    folder: ResultFolder, monkeypatch: pytest.MonkeyPatch, error: BaseException, before: bool
) -> None:
    if before:
        write(folder, record(), photo(1))

    def crash(path: Path, *_: object) -> None:
        assert path == folder.restored("a")
        assert told(folder, "a") == record(seed=2), "the JSON comes first"
        raise error

    monkeypatch.setattr(pictures, "replace_file", crash)
    with pytest.raises(type(error)):
        write(folder, record(seed=2), photo(2), torch.rand(3, 3))
    assert state(folder, "a", "settings", "input") == "missing"
    assert not folder.restored("a").exists()


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_the_record_has_the_digest_of_the_restored_file(folder: ResultFolder, kind: Format) -> None:
    write_result(folder, record(), Pictures(Photo(photo())), Output(kind))
    found = folder.read("a")
    assert found is not None
    digest = hashlib.sha256(folder.restored("a").read_bytes()).hexdigest()
    assert found.output_sha256 == digest


def test_nothing_is_left_of_other_settings(folder: ResultFolder) -> None:
    write(folder, record(), photo(), torch.rand(3, 3), degraded=photo(1))
    write(folder, record(fingerprint="others"), photo())
    assert files(folder.root) == {"degradation/a.json", "restored/a.png"}


# ---- The table ----


def test_table_holds_every_record_in_the_folder(folder: ResultFolder) -> None:
    write(folder, record("b", psnr=30.0, losses={"estimation": [3.0, 2.0, 1.0]}), photo())
    assert [r.name for r in folder.records(folder.names())] == ["b"]
    write(folder, record("sub/a, with a comma", seed=7, nfe=20), photo())
    folder.write_record(Record("c", "failed", "settings", "input", reason='it said "no"'))
    folder.write_metrics()
    with folder.metrics.open(newline="", encoding="utf-8") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["b", "c", "sub/a, with a comma"]
    assert (rows["b"]["psnr"], rows["b"]["status"]) == ("30.0", "restored")
    assert rows["b"]["estimation_first_loss"] == "3.0"
    assert rows["b"]["estimation_last_loss"] == "1.0"
    assert rows["b"]["latent_last_loss"] == ""
    assert (rows["c"]["status"], rows["c"]["reason"]) == ("failed", 'it said "no"')
    assert (rows["sub/a, with a comma"]["seed"], rows["sub/a, with a comma"]["nfe"]) == ("7", "20")


def test_every_number_of_a_record_is_in_its_row() -> None:
    numbers = {k for k, v in asdict(record()).items() if v is None} - {"true_phi"}
    assert numbers <= set(record().row())


def test_means_are_over_the_images_that_have_a_number() -> None:
    records = [
        record("a", psnr=30.0, input_psnr=25.0, residual=4e-4, sigma_y=0.02),
        record("b", psnr=20.0, residual=4e-4, sigma_y=0.01),
        record("c", sigma_y=0.0, residual=1e-4),
    ]
    found = means(records, ("psnr", "gain", "residual_over_sigma", "ssim"))
    assert found == pytest.approx({"psnr": 25.0, "gain": 5.0, "residual_over_sigma": 1.5})


def test_the_next_run_sweeps_what_a_killed_one_has_left(folder: ResultFolder) -> None:
    write(folder, record("sub/a"), photo(), torch.rand(3, 3))
    folder.write_metrics()
    whole = files(folder.root)
    halves = ["metrics.csv.tmp", "report.html.tmp", "degradation/sub/b.json.tmp"]
    halves += [f"restored/sub/.{'0' * 16}.tmp", "restored/sub/mine.tmp"]
    for name in halves:
        (folder.root / name).touch()
    folder.sweep()
    sweep_pictures(folder)
    assert files(folder.root) == whole | {"restored/sub/mine.tmp"}

"""Restorations of the page without a browser, and the files that repeat them."""

import re
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from gate import LIMIT, Gate
from photos import save
from PIL import Image

import d2ir_pl
from d2ir_pl.cli import main
from d2ir_pl.errors import PriorError, UsageError
from d2ir_pl.web.job import Job, RefusedError, StoppedError, View
from d2ir_pl.web.order import Order, plan
from d2ir_pl.web.painting import Stroke
from d2ir_pl.web.program import PageSettings
from d2ir_pl.web.serve import is_local
from d2ir_pl.web.visitors import Visitors

PAGE = PageSettings(precision="32-true", accelerator="cpu", max_pixels=128 * 128)
ON_CPU = ["--trainer.accelerator", "cpu"]


def job(folder: Path, photo: Path, task: str = "blind_deblur", **order: Any) -> Job:
    folder.mkdir()
    return Job(Order(photo, task, **order), folder, PAGE)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


@pytest.mark.parametrize(
    ("task", "order"),
    [
        ("auto", {"preset": "", "seed": 3}),
        ("denoising", {"sigma_y": 0.1, "preset": "best"}),
        ("blind_deblur_anisotropic", {"preset": "fast"}),
        ("auto", {"painted": (Stroke(2000, ((4000, 4000), (6000, 5000))),)}),
        ("denoising", {"painted": (Stroke(3000, ((5000, 5000),)),), "fill": False}),
    ],
)
def test_the_settings_repeat_the_result_from_the_command_line(
    task: str, order: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = save(tmp_path / "photo.png", 1, 48, 40)
    restoration = job(tmp_path / "job", photo, task, **order)
    views = list(restoration.watch())
    assert views
    assert views[0].image is not None
    assert views[0].image.size == (40, 48)
    assert all(re.match(r"Restoring: \d+% done.* \(step \d+ of", view.text) for view in views)
    assert len(views) == 1 or any(" left (" in view.text for view in views)
    picture, settings, report, *masks = restoration.downloads()
    assert [mask.name for mask in masks] == ["photo-mask.png"] * ("painted" in order)
    monkeypatch.chdir(settings.parent)
    assert (picture.name, settings.name) == ("photo-restored.png", "photo.yaml")
    assert str(tmp_path) not in settings.read_text()
    assert str(restoration.folder) not in report.read_text()
    config = ["--config", str(settings), "--data.inputs", str(photo)]
    assert main(["predict", *config, "--output", str(tmp_path / "again"), *ON_CPU]) == 0
    again = tmp_path / "again" / "restored" / "photo.png"
    assert again.read_bytes() == picture.read_bytes()
    shown = restoration.result().before_and_after()
    assert shown.before.size == shown.after.size == (40, 48)
    assert shown.invented is not None
    assert shown.invented.size == (40, 48)
    assert restoration.result().summary().startswith("Restored 40x48 pixels in ")


def test_what_cannot_be_restored_is_said_in_one_sentence(tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    large = save(tmp_path / "large.png", 1, 129, 128)
    good = save(tmp_path / "good.png", 1)
    for photo, order, message in (
        (bad, {}, "bad.png is not a PNG"),
        (large, {}, "large.png has 129 x 128 = 16512 pixels"),
        (good, {"sigma_y": 2}, "sigma_y 2"),
    ):
        restoration = job(tmp_path / photo.stem, photo, "denoising", **order)
        with pytest.raises(RefusedError, match=message) as error:
            list(restoration.watch())
        assert str(tmp_path) not in str(error.value)


def test_visitors_are_not_told_where_the_servers_files_are(tmp_path: Path) -> None:
    secret = tmp_path / "secret" / "prior.safetensors"
    secret.parent.mkdir()
    embedded = Path(d2ir_pl.__file__).parent / "weights" / "natural_small.safetensors"
    shutil.copyfile(embedded, secret)
    photo = save(tmp_path / "photo.png", 1, 32, 32)
    page = replace(PAGE, prior=str(secret))
    for name in ("job", "next"):
        (tmp_path / name).mkdir()
    restoration = Job(Order(photo, "denoising"), tmp_path / "job", page)
    list(restoration.watch())
    for file in restoration.downloads()[1:]:
        assert "prior.safetensors" in file.read_text()
        assert "secret" not in file.read_text()
    secret.unlink()
    restoration = Job(Order(photo, "denoising"), tmp_path / "next", page)
    with pytest.raises(RefusedError, match=r"the server failed \(PriorError\)"):
        list(restoration.watch())


def test_what_a_visitor_leaves_is_deleted(gate: Gate, tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.png", 1, 40, 40)
    restoration = job(tmp_path / "job", photo)
    watching = restoration.watch()
    next(watching)
    restoration.discard()
    with pytest.raises(StoppedError):
        list(watching)
    assert not restoration.folder.exists()
    gate.open()
    finished = job(tmp_path / "finished", photo, "denoising")
    list(finished.watch())
    finished.discard()
    assert not finished.folder.exists()


def test_a_restoration_that_is_stopped_or_left_makes_way(gate: Gate, tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.png", 1, 40, 40)
    stopped = job(tmp_path / "stopped", photo)
    watching = stopped.watch()
    next(watching)
    stopped.stop()
    with pytest.raises(StoppedError):
        list(watching)
    assert stopped.results.names() == []
    left = job(tmp_path / "left", photo)
    watching = left.watch()
    assert isinstance(next(watching), View)
    watching.close()
    assert left.results.names() == []
    never_begun = job(tmp_path / "waiting", photo)
    never_begun.stop()
    with pytest.raises(StoppedError):
        list(never_begun.watch())
    assert not any(ended.running for ended in (stopped, left, never_begun))
    gate.open()
    assert list(job(tmp_path / "next", photo, "denoising").watch())


def test_stop_is_confirmed_unless_the_restoration_has_come_to_its_own_end(
    gate: Gate, tmp_path: Path
) -> None:
    order = Order(save(tmp_path / "photo.png", 1, 40, 40), "denoising")
    visitors = Visitors(PAGE)
    try:
        assert visitors.stop("one who waits")
        left = visitors.begin("visitor", order).watch()
        next(left)
        left.close()
        assert visitors.stop("visitor")  # the page may have ended it before it is asked
        gate.open()
        assert list(visitors.begin("visitor", order).watch())
        assert not visitors.stop("visitor")
    finally:
        visitors.close()


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"prior": "nothing"}, PriorError, "'nothing' is neither a file"),
        ({"precision": "3"}, UsageError, "precision 3 is not supported"),
        ({"accelerator": "abacus"}, UsageError, "accelerator='abacus'"),
    ],
)
def test_what_a_page_cannot_restore_with_is_said_before_anyone_comes(
    changed: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        replace(PAGE, **changed).check()  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("x.org", False)],
)
def test_addresses_that_others_reach_are_known(host: str, local: bool) -> None:
    assert is_local(host) == local


def test_a_preset_goes_over_the_methods_that_it_is_for(tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.png")
    fast = plan(Order(photo, "jpeg", "fast", 0.1, 3), 10**6).model
    estimation = {"start": 80, "steps": 5, "data_weight": 0.3}
    assert fast["method"]["init_args"]["estimation"] == estimation
    assert (fast["sigma_y"], fast["seed"]) == (0.1, 3)
    assert "num_samples" not in plan(Order(photo, "denoising", "best"), 10**6).model


def test_whatever_ends_a_stopped_restoration_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restoration = job(tmp_path / "job", save(tmp_path / "photo.png", 1, 48, 40))

    def fail(*arguments: Any) -> None:
        restoration.stop()
        raise RuntimeError("a thread has ended")

    monkeypatch.setattr("d2ir_pl.web.job.restore_file", fail)
    with pytest.raises(StoppedError):
        list(restoration.watch())
    assert not restoration.ended


def test_what_was_asked_for_before_is_not_shown_over_what_was_asked_for_later() -> None:
    visitors = Visitors(PAGE)
    first, other = visitors.ask("a"), visitors.ask("b")
    assert visitors.waits("a", first)
    later = visitors.ask("a")
    assert (visitors.waits("a", first), visitors.waits("a", later)) == (False, True)
    assert visitors.waits("b", other)
    visitors.leave("b")
    assert not visitors.waits("b", other)
    visitors.close()


def test_the_answer_to_a_stop_comes_behind_all_that_is_shown(gate: Gate, tmp_path: Path) -> None:
    visitors = Visitors(PAGE)
    order = Order(save(tmp_path / "photo.png", 1, 48, 40), "blind_deblur")
    answered = threading.Event()

    def answer() -> None:
        assert visitors.stop("a")
        answered.set()

    with visitors.showing("a"):
        views = visitors.begin("a", order).watch()
        next(views)
        stopping = threading.Thread(target=answer)
        stopping.start()
        with pytest.raises(StoppedError):
            list(views)
        assert not answered.wait(0.2)  # the last picture is on its way
    stopping.join(LIMIT)
    assert answered.is_set()
    visitors.close()
    assert gate.events[-1] == "end photo.png"


def test_of_a_large_photo_the_part_that_was_painted_on_is_shown_pixel_for_pixel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("d2ir_pl.web.result.DETAIL", 32)
    path = save(tmp_path / "photo.png", 1, 64, 96)
    with Image.open(path) as image:
        image.paste((90, 90, 90), (48, 0, 96, 64))  # the liveliest part is elsewhere
        image.save(path)
    restoration = job(
        tmp_path / "job", path, "auto", painted=(Stroke(1000, ((8400, 3000), (8400, 4000))),)
    )
    list(restoration.watch())
    assert restoration.planned is not None
    shown = restoration.result().detail(restoration.planned.mask)
    assert shown is not None
    assert shown.before.size == shown.after.size == (32, 32)
    assert shown.before.getextrema() == ((90, 90),) * 3
    with Image.open(restoration.downloads()[0]) as whole:
        boxes = [(x, y, x + 32, y + 32) for x in range(65) for y in range(33)]
        parts = {whole.crop(box).convert("RGB").tobytes() for box in boxes}
    assert shown.after.tobytes() in parts


def test_a_second_opinion_is_told_of_in_few_words_and_its_time_anew(tmp_path: Path) -> None:
    restoration = job(tmp_path / "job", save(tmp_path / "photo.png", 1, 32, 32), "denoising")

    def said(index: int) -> str:
        step = Mock(stage="estimation", sample=0, index=index, total=8, num_samples=1)
        return restoration._line(step)

    lines = [said(index) for index in (3, 7, 0, 1)]
    assert [line.startswith("Restoring once more, gently: ") for line in lines] == [0, 0, 1, 1]
    assert " left (" not in lines[2]
    assert lines[3].startswith("Restoring once more, gently: 22% done, about 1 s left (")
    list(restoration.watch())
    note = "second opinion: the first result was set aside, because it rings; {} was undone instead"
    result = restoration.result()
    result.record.notes.append(note)
    assert "Restored gently: more would have harmed it." in result.summary()
    assert result.found()[-1] == note

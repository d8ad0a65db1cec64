"""The page in the browser, from the drop of a photo to the file that repeats it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from photos import save
from PIL import Image
from repository import EXAMPLES

import d2ir_pl
from d2ir_pl.cli import main
from d2ir_pl.image_io import read_image, write_png
from d2ir_pl.web.job import Job, Order, RefusedError, StoppedError, View
from d2ir_pl.web.visitors import Visitors

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
BLURRED = EXAMPLES / "blurred"
OPTIONS = ["--trainer.accelerator", "cpu", "--trainer.precision", "32-true"]
OPTIONS += ["--model.prior", "natural-small"]
MAX_PIXELS = 128 * 128


def job(folder: Path, photo: Path, task: str = "blind_deblur", **order: Any) -> Job:
    folder.mkdir()
    return Job(Order(photo, task, **order), folder, OPTIONS, MAX_PIXELS)


@pytest.mark.parametrize(
    ("task", "order"),
    [
        ("auto", {"preset": "", "seed": 3}),
        ("denoising", {"sigma_y": 0.1, "preset": "best"}),
        ("blind_deblur_anisotropic", {"preset": "fast"}),
    ],
)
def test_the_settings_repeat_the_result_from_the_command_line(
    task: str, order: dict[str, Any], tmp_path: Path
) -> None:
    photo = save(tmp_path / "photo.png", 1, 48, 40)
    restoration = job(tmp_path / "job", photo, task, **order)
    views = list(restoration.watch())
    assert views
    assert views[0].image.size == (40, 48)
    assert all("times the noise" in view.text for view in views)
    picture, settings, report = restoration.downloads()
    assert (picture.name, settings.name) == ("photo-restored.png", "photo.yaml")
    assert str(tmp_path) not in settings.read_text()
    assert str(restoration.folder) not in report.read_text()
    config = ["--config", str(settings), "--data.inputs", str(photo)]
    assert main(["predict", *config, "--output", str(tmp_path / "again"), *OPTIONS[:2]]) == 0
    again = tmp_path / "again" / "restored" / "photo.png"
    assert again.read_bytes() == picture.read_bytes()
    before, after = restoration.before_and_after()
    assert before.size == after.size == (40, 48)
    assert restoration.summary().startswith("Restored 40x48 pixels in ")


def test_what_cannot_be_restored_is_said_in_one_sentence(tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    large = save(tmp_path / "large.png", 1, 129, 128)
    good = save(tmp_path / "good.png", 1)
    for photo, order, message in (
        (bad, {}, "bad.png is not a PNG"),
        (large, {}, "large.png has 129 x 128 = 16512 pixels"),
        (good, {"sigma_y": 2}, "model.sigma_y 2"),
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
    (tmp_path / "job").mkdir()
    options = [*OPTIONS[:4], "--model.prior", str(secret)]
    restoration = Job(Order(photo, "denoising"), tmp_path / "job", options, MAX_PIXELS)
    list(restoration.watch())
    for file in restoration.downloads()[1:]:
        assert "prior.safetensors" in file.read_text()
        assert "secret" not in file.read_text()
    secret.unlink()
    (tmp_path / "next").mkdir()
    restoration = Job(Order(photo, "denoising"), tmp_path / "next", options, MAX_PIXELS)
    with pytest.raises(RefusedError, match=r"the server failed \(PriorError\)"):
        list(restoration.watch())


def test_what_a_visitor_leaves_is_deleted(tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.png", 1, 40, 40)
    restoration = job(tmp_path / "job", photo)
    watching = restoration.watch()
    next(watching)
    restoration.discard()
    with pytest.raises(StoppedError):
        list(watching)
    assert not restoration.folder.exists()
    finished = job(tmp_path / "finished", photo, "denoising")
    list(finished.watch())
    finished.discard()
    assert not finished.folder.exists()


def test_a_restoration_that_is_stopped_or_left_makes_way(tmp_path: Path) -> None:
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
    assert threading.active_count() < 20
    assert list(job(tmp_path / "next", photo, "denoising").watch())


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    pytest.importorskip("gradio")
    from d2ir_pl.web.page import launch, page

    visitors = Visitors(OPTIONS, MAX_PIXELS)
    blocks = page(visitors)
    yield launch(blocks, "127.0.0.1", 0)
    blocks.close()
    visitors.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = visit(context, address)
    yield page
    context.close()
    assert page.wrong == []


def visit(context: Any, address: str) -> Any:
    """A page that notes in `wrong` its errors, and whatever it asks of others."""
    page = context.new_page()
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("request", lambda r: r.url.startswith("http") and note_foreign(page, r.url, address))
    page.goto(address)
    page.wait_for_selector("#restore")
    return page


def note_foreign(page: Any, url: str, address: str) -> None:
    if not url.startswith(address):
        page.wrong.append(url)


def drop(page: Any, photo: Path, task: str | None = None) -> None:
    clear = page.locator("#photo button[aria-label=Clear]")
    if clear.count():
        clear.click()
    page.set_input_files("#photo input[type=file]", str(photo))
    page.wait_for_function("document.querySelector('#photo').innerText.match(/\\d\\s(B|KB|MB)/)")
    if task is not None:
        page.click("#task input")
        page.get_by_role("option", name=task, exact=True).click()


def status(page: Any, text: str, seconds: float = 90) -> str:
    """The status once it contains a text."""
    page.wait_for_function(
        "text => document.querySelector('#status textarea').value.includes(text)",
        arg=text,
        timeout=1000 * seconds,
    )
    return page.input_value("#status textarea")


def test_a_visitor_restores_a_photo(page: Any, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    write_png(photo, read_image(BLURRED / "chelsea.png").pixels[:, :128, :112])
    drop(page, photo)
    page.click("#restore")
    page.wait_for_selector("#live img")
    page.wait_for_selector("#degradation img")
    status(page, "Restored 112x128 pixels")
    assert "noise: " in page.input_value("#why textarea")
    page.wait_for_selector("#slider img")
    assert page.locator("#slider img").count() == 2
    # The slider moves.
    after = page.locator("#slider img").last
    assert "50%" in after.get_attribute("style")
    handle = page.locator("#slider [data-testid=slider] .icon-wrap").bounding_box()
    page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
    page.mouse.down()
    page.mouse.move(handle["x"] + 100, handle["y"])
    page.mouse.up()
    assert "50%" not in after.get_attribute("style")
    # The downloads repeat the result.
    saved = {}
    for link in page.locator("#files a").all():
        with page.expect_download() as download:
            link.click()
        saved[download.value.suggested_filename] = tmp_path / download.value.suggested_filename
        download.value.save_as(saved[download.value.suggested_filename])
    assert set(saved) == {"photo-restored.png", "photo.yaml", "photo-report.html"}
    with Image.open(saved["photo-restored.png"]) as image:
        assert image.size == (112, 128)
    config = ["--config", str(saved["photo.yaml"]), "--data.inputs", str(photo)]
    assert main(["predict", *config, "--output", str(tmp_path / "again"), *OPTIONS[:2]]) == 0
    again = tmp_path / "again" / "restored" / "photo.png"
    assert again.read_bytes() == saved["photo-restored.png"].read_bytes()


def test_bad_files_and_hostile_names_are_answered(page: Any, tmp_path: Path) -> None:
    page.click("#restore")
    status(page, "Drop a photo first.")
    page.get_by_text("More").click()
    assert page.input_value("#noise input, #noise textarea") == ""
    page.fill("#noise input, #noise textarea", "much")
    drop(page, save(tmp_path / "photo.png", 1))
    page.click("#restore")
    status(page, "The noise 'much' is no number")
    page.fill("#noise input, #noise textarea", "5")
    page.click("#restore")
    status(page, "model.sigma_y 5")
    broken = tmp_path / "<img src=x onerror=alert(1)>.png"
    broken.write_bytes(b"no image")
    dialogs: list[Any] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog), dialog.dismiss()))
    drop(page, broken)
    page.click("#restore")
    status(page, "is not a PNG")
    assert dialogs == []
    assert page.locator("img[src=x]").count() == 0


def test_a_second_visitor_waits_until_the_first_stops(
    page: Any, browser: Any, address: str, tmp_path: Path
) -> None:
    photo = save(tmp_path / "photo.png", 1, 96, 96)
    drop(page, photo, "blurred")
    page.click("#restore")
    status(page, "step ")
    second = visit(browser.new_context(), address)
    drop(second, photo, "noisy")
    second.click("#restore")
    time.sleep(0.5)
    assert "Restored" not in second.input_value("#status textarea")
    page.click("#stop")
    status(page, "Stopped.")
    status(second, "Restored 96x96 pixels")
    # One who goes away makes way too.
    drop(second, photo, "blurred")
    second.click("#restore")
    status(second, "step ")
    second.context.close()
    page.reload()
    page.wait_for_selector("#restore")
    drop(page, photo, "noisy")
    page.click("#restore")
    status(page, "Restored 96x96 pixels")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_server_ends_and_leaves_nothing(ending: signal.Signals, tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "import sys; from d2ir_pl.cli import main; sys.exit(main())"
    server = subprocess.Popen(
        [sys.executable, "-c", code, "serve", "--port", str(port), "--accelerator", "cpu"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        # As in a terminal: what is started in the background of a script ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert server.stdout is not None
    assert f"Open http://127.0.0.1:{port} in a browser" in server.stdout.readline()
    assert list(tmp_path.glob("d2ir-*"))
    server.send_signal(ending)
    assert server.wait(30) == 0
    assert list(tmp_path.iterdir()) == []


def test_options_that_make_no_sense_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for options, message in (
        (["--port", "0"], "--port 0 must lie between"),
        (["--max_pixels", "0"], "--max_pixels 0 must be at least 1"),
        (["--prior", "nothing"], "nothing"),
        (["--host", "203.0.113.7", "--port", "7999"], "cannot be served"),
        (["--precision", "3"], "precision"),
    ):
        assert main(["serve", *options]) == 2
        error = capsys.readouterr().err.strip()
        assert message in error
        assert "\n" not in error

"""The page in the browser, from the drop of a photo to the file that repeats it."""

import io
import os
import shutil
import signal
import socket
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forks import Programs
from gate import LIMIT, Gate
from photos import save
from PIL import Image
from repository import EXAMPLES

from d2ir_pl.cli import main
from d2ir_pl.image_io import read_image, write_png
from d2ir_pl.web import extent
from d2ir_pl.web.program import PageSettings
from d2ir_pl.web.serve import launch
from d2ir_pl.web.visitors import Visitors

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
BLURRED = EXAMPLES / "blurred"
PAGE = PageSettings(precision="32-true", accelerator="cpu", max_pixels=128 * 128)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    pytest.importorskip("gradio")
    visitors = Visitors(PAGE)
    from d2ir_pl.web.page import page

    blocks = page(visitors)
    yield launch(blocks, "127.0.0.1", 0)
    blocks.close()
    visitors.close()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


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
    page.set_default_timeout(1000 * LIMIT)
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("request", lambda request: note_foreign(page, request.url, address))
    page.goto(address)
    page.wait_for_selector("#restore")
    return page


def note_foreign(page: Any, url: str, address: str) -> None:
    if url.startswith("http") and not url.startswith(address):
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


def status(page: Any, text: str) -> str:
    """The status once it contains a text."""
    page.wait_for_function(
        "text => document.querySelector('#status textarea').value.includes(text)", arg=text
    )
    return str(page.input_value("#status textarea"))


def test_a_visitor_restores_a_photo(gate: Gate, page: Any, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    write_png(photo, read_image(BLURRED / "chelsea.png").pixels[:, :80, :72])
    drop(page, photo)
    page.click("#restore")
    page.wait_for_selector("#live img")
    page.wait_for_selector("#degradation img")
    gate.open()
    status(page, "Restored 72x80 pixels")
    assert "noise: " in page.input_value("#why textarea")
    page.wait_for_selector("#slider img")
    assert page.locator("#slider img").count() == 3
    # The slider moves, by the mouse and by keys.
    at = "getComputedStyle(document.querySelector('#slider .stack')).getPropertyValue('--at')"
    assert page.evaluate(at).strip() == "50%"
    width = page.locator("#slider .stack").bounding_box()["width"]
    page.locator("#slider [type=range]").click(position={"x": 0.8 * width, "y": 60})
    assert 75 <= int(page.evaluate(at).strip().removesuffix("%")) <= 85
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(at).strip() == "1%"
    assert "Restored" in page.locator("[role=status]").first.inner_text()
    # What was invented is tinted on demand, over the whole of the restored photo.
    tint, box = page.locator("#slider .tint"), page.get_by_label("Tint what was invented")
    assert tint.is_hidden()
    box.check()
    assert tint.bounding_box() == page.locator("#slider .stack").bounding_box()
    assert page.get_by_text("What is tinted was invented by the model (").is_visible()
    box.uncheck()
    assert tint.is_hidden()
    # The downloads repeat the result.
    saved = {}
    for link in page.locator("#files a").all():
        with page.expect_download() as download:
            link.click()
        saved[download.value.suggested_filename] = tmp_path / download.value.suggested_filename
        download.value.save_as(saved[download.value.suggested_filename])
    assert set(saved) == {"photo-restored.png", "photo.yaml", "photo-report.html"}
    with Image.open(saved["photo-restored.png"]) as image:
        assert image.size == (72, 80)
    config = ["--config", str(saved["photo.yaml"]), "--data.inputs", str(photo)]
    assert (
        main(
            [
                "predict",
                *config,
                "--output",
                str(tmp_path / "again"),
                "--trainer.accelerator",
                "cpu",
            ]
        )
        == 0
    )
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
    status(page, "sigma_y 5")
    broken = tmp_path / "<img src=x onerror=alert(1)>.png"
    broken.write_bytes(b"no image")
    dialogs: list[Any] = []

    def note(dialog: Any) -> None:
        dialogs.append(dialog)
        dialog.dismiss()

    page.on("dialog", note)
    drop(page, broken)
    page.click("#restore")
    status(page, "is not a PNG")
    assert dialogs == []
    assert page.locator("img[src=x]").count() == 0


def test_a_second_visitor_waits_until_the_first_stops(
    gate: Gate, page: Any, browser: Any, address: str, tmp_path: Path
) -> None:
    first = save(tmp_path / "first.png", 1, 96, 96)
    other = save(tmp_path / "other.png", 1, 96, 96)
    drop(page, first, "blurred")
    page.click("#restore")
    status(page, "step ")
    second = visit(browser.new_context(), address)
    drop(second, other, "noisy")
    second.click("#restore")
    status(second, "Waiting for your turn.")
    page.click("#stop")
    status(page, "Stopped.")
    status(second, "step ")
    before = ["begin first.png", "end first.png", "begin other.png"]
    gate.wait_for(before)
    # One who goes away makes way too.
    second.context.close()
    drop(page, first, "noisy")
    page.click("#restore")
    # The status may still show a step of the restoration before.
    gate.wait_for([*before, "end other.png", "begin first.png"])
    gate.open()
    status(page, "Restored 96x96 pixels")


def test_a_slow_look_at_a_photo_does_not_hide_that_it_was_stopped(
    gate: Gate,
    page: Any,
    browser: Any,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked = threading.Event()
    look = Visitors.preview

    def slow(visitors: Visitors, photo: Path) -> tuple[Image.Image, tuple[int, int]]:
        looked.wait(LIMIT)
        return look(visitors, photo)

    monkeypatch.setattr(Visitors, "preview", slow)
    drop(page, save(tmp_path / "photo.png", 1, 96, 96), "blurred")
    page.click("#restore")
    status(page, "step ")
    page.click("#stop")
    status(page, "Stopped.")
    looked.set()
    # Photos are looked at one after the other, so the first look has ended before this one.
    other = visit(browser.new_context(), address)
    drop(other, save(tmp_path / "other.png", 1, 32, 32))
    status(other, "Ready")
    other.context.close()
    assert page.input_value("#status textarea") == "Stopped."


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_server_ends_and_leaves_nothing(
    programs: Programs, ending: signal.Signals, tmp_path: Path
) -> None:
    pytest.importorskip("gradio")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path / "temporary"
    folder.mkdir()
    command = ["-m", "d2ir_pl", "serve", "--port", str(port), "--accelerator", "cpu"]
    near, far = os.pipe()
    with open(far, "w") as said, (tmp_path / "errors").open("w") as errors:
        server = programs.start(command, said, errors, os.environ | {"TMPDIR": str(folder)})
    hangs = threading.Timer(LIMIT, server.kill)
    hangs.start()
    try:
        with open(near) as said:
            assert f"Open http://127.0.0.1:{port} in a browser" in said.readline()
            assert list(folder.glob("d2ir-*"))
            server.send_signal(ending)
            assert server.wait() == 0
        assert list(folder.iterdir()) == []
    finally:
        hangs.cancel()
        server.kill()
        server.wait()


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


@pytest.mark.parametrize("width", [1280, 390])
def test_several_photos_are_one_download_with_what_they_carried(
    browser: Any, address: str, tmp_path: Path, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844})
    page = visit(context, address)
    data = Image.Exif()
    data[271] = "a camera"
    for name in ("a.jpg", "b.jpg"):
        with Image.open(save(tmp_path / "photo.png", 1, 48, 40)) as image:
            image.convert("RGB").save(tmp_path / name, exif=data, quality=92)
    page.set_input_files("#photo input[type=file]", [str(tmp_path / n) for n in ("a.jpg", "b.jpg")])
    page.wait_for_selector("#paint img")  # before anything is pressed
    status(page, "2 photos are ready.")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.fill("#strength input[type=number]", "0.5")
    page.keyboard.press("Tab")
    page.focus("#restore")
    page.keyboard.press("Enter")
    status(page, "2 of 2 photos are restored.")
    with page.expect_download() as download:
        page.locator("#files a").first.click()
    download.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as bundle:
        assert {"a-restored.jpg", "b-restored.jpg", "a.yaml"} <= set(bundle.namelist())
        with Image.open(io.BytesIO(bundle.read("b-restored.jpg"))) as image:
            assert (image.format, image.getexif()[271]) == ("JPEG", "a camera")
        assert "strength: 0.5" in bundle.read("a.yaml").decode()
    context.close()
    assert page.wrong == []


def test_a_visitor_paints_on_a_photo_and_tries_a_part(
    browser: Any, address: str, tmp_path: Path
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = visit(context, address)
    drop(page, save(tmp_path / "photo.png", 1, 64, 80))
    page.wait_for_selector("#paint img")
    assert "80x64 pixels" in status(page, "Ready")
    page.click("#paint [data-do=paint]")
    box = page.locator("#paint canvas").bounding_box()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.5 * box["height"], steps=5)
    page.mouse.up()
    # The same by keys alone, and back.
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.get_by_text("2 strokes").wait_for()
    page.click("#paint [data-do=undo]")
    page.get_by_text("1 stroke").wait_for()
    page.click("#attempt")
    status(page, "That is a part of the photo")
    page.wait_for_selector("#detail img")
    assert page.locator("#files").count() == 0 or not page.locator("#files").is_visible()
    page.get_by_text("1 stroke").wait_for()  # what was painted is still there
    page.click("#restore")
    page.wait_for_selector("#files a")
    with page.expect_download() as download:
        page.locator("#files a").last.click()
    assert download.value.suggested_filename == "photo-mask.png"
    download.value.save_as(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as mask:
        assert mask.size == (80, 64)
        assert [mask.getpixel(at) for at in ((40, 32), (22, 32), (40, 5), (5, 32))] == [
            255,
            255,
            0,
            0,
        ]
    assert "filled in" in page.input_value("#why textarea")
    context.close()
    assert page.wrong == []


@pytest.mark.parametrize("width", [1280, 390])
def test_a_large_photo_is_shown_smaller_before_the_whole_is_restored(
    browser: Any, address: str, tmp_path: Path, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extent, "LARGE", 64 * 64)
    monkeypatch.setattr(extent, "OVERVIEW", 32 * 32)
    context = browser.new_context(viewport={"width": width, "height": 844})
    page = visit(context, address)
    data = Image.Exif()
    data[271] = "a camera"
    with Image.open(save(tmp_path / "photo.png", 1, 96, 72)) as image:
        image.convert("RGB").save(tmp_path / "photo.jpg", exif=data, quality=92)
    drop(page, tmp_path / "photo.jpg", "noisy")
    assert page.locator("#whole").is_hidden()
    page.click("#restore")
    told = status(page, "That is a preview")
    assert "megapixels, in about" in told
    assert "Try a part first shows how well they go" in told
    page.wait_for_selector("#slider img")
    assert page.locator("#files a").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.focus("#whole")
    page.keyboard.press("Enter")
    status(page, "Restored 72x96 pixels")
    page.wait_for_selector("#files a")
    assert page.locator("#whole").is_hidden()
    with page.expect_download() as download:
        page.locator("#files a").first.click()
    download.value.save_as(tmp_path / "restored.jpg")
    with Image.open(tmp_path / "restored.jpg") as image:
        assert (image.size, image.getexif()[271]) == ((72, 96), "a camera")
    context.close()
    assert page.wrong == []


def test_the_page_can_be_used_without_seeing_it(page: Any, tmp_path: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    drop(page, save(tmp_path / "photo.png", 1, 64, 80))
    status(page, "Ready")
    wrong = axe.Axe().run(page).response["violations"]
    # Gradio lays the button that opens files over another one.
    assert [found["id"] for found in wrong if found["id"] != "nested-interactive"] == []

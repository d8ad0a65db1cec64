"""The page with all results: what it says, that it needs nothing else, and how it behaves."""

import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from photos import photo
from PIL import Image

from d2ir_pl.cli import main
from d2ir_pl.errors import OutputError
from d2ir_pl.image_io import Photo
from d2ir_pl.priors.download import file_sha256
from d2ir_pl.priors.registry import prior_file
from d2ir_pl.reports.chart import loss_chart
from d2ir_pl.reports.numbers import numbers
from d2ir_pl.reports.page import write_report
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.pictures import Pictures, write_previews, write_result
from d2ir_pl.results.record import Record
from d2ir_pl.results.warnings import warnings

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def record(name: str, **values: Any) -> Record:
    numbers = {
        "width": 32,
        "height": 24,
        "sigma_y": 0.02,
        "residual": 0.0004,
        "psnr": 30.0,
        "input_psnr": 25.0,
        "ssim": 0.9,
        "nfe": 8,
        "seconds": 1.5,
        "stopped_by": "discrepancy",
        "losses": {"estimation": [0.01, 0.002, 0.0005], "latent": [0.0004]},
        "phi": {"kind": "GaussianBlur", "width_major_px": 1.5, "kernel": [[0.0] * 21] * 21},
    }
    return Record(name, "restored", "settings", "input", **{**numbers, **values})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ResultFolder:
    folder = ResultFolder(tmp_path_factory.mktemp("results"))
    folder.prepare()
    image = Image.new("RGB", (32, 24), "red")
    for i, name in enumerate(("b/ü <script>alert(1)</script>", "a2", "a10")):
        write_previews(folder, name, image, image)
        numbers = {"psnr": 30.0 - 9 * i, "notes": ["of 3 frames"] * i}
        write_result(folder, record(name, **numbers), Pictures(Photo(photo(i)), torch.rand(21, 21)))
    folder.write_record(Record("c", "failed", "settings", "", reason="is empty"))
    (folder.root / "config.yaml").write_text("seed: 0\n")
    write_report(folder)
    return folder


def test_the_page_needs_nothing_else_and_runs_nothing_of_a_name(folder: ResultFolder) -> None:
    page = folder.report.read_text(encoding="utf-8")
    addresses = re.findall(r"""(?:src|href)=["']?([^"'\s>]+)""", page)
    assert addresses
    assert all(address.startswith(("data:", "#photo-")) for address in addresses)
    assert "://" not in page
    assert "<script>alert" not in page
    assert page.count("<article") == 3
    assert "is empty" in page
    assert "3 restored, 1 failed. Mean gain -4.00 dB, the smallest -13.00 dB." in page


def test_further_photos_are_numbers_only(folder: ResultFolder, tmp_path: Path) -> None:
    copy = ResultFolder(Path(shutil.copytree(folder.root, tmp_path / "copy")))
    assert main(["report", str(copy.root), "--photos", "1"]) == 0
    page = copy.report.read_text(encoding="utf-8")
    assert page.count("<article") == 1
    assert "The pictures of 2 further photos are left out" in page
    assert page.count('data-value="restored"') == 3


def test_a_folder_without_results_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OutputError, match="holds no results"):
        write_report(ResultFolder(tmp_path))
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("d2ir: ")
    assert not list(tmp_path.iterdir())


def test_old_results_without_previews_are_shown(folder: ResultFolder, tmp_path: Path) -> None:
    copy = ResultFolder(Path(shutil.copytree(folder.root, tmp_path / "copy")))
    shutil.rmtree(copy.root / "preview")
    assert 'class="stack"' not in write_report(copy).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, []),
        ({"residual": 0.0016}, ["2.0 times its noise"]),
        ({"stopped_by": "iterations"}, ["stage 2 ended before"]),
        ({"phi": {"width_major_px": 6.0}}, ["at its bound of 6 pixels"]),
        (
            {"phi_change": [0.04, 0.04, 0.035]},
            ["is uncertain, and more steps may find another (it still changed by 4%"],
        ),
        ({"phi_change": [0.04]}, ["is uncertain"]),
        ({"phi_change": [0.04, 0.04, 0.01]}, []),
        ({"phi_change": [0.04, 0.01, 0.04]}, []),
        ({"phi_change": [0.04, 0.023, 0.023]}, []),
        ({"phi_change": [0.01, None]}, []),
        ({"notes": ["first of 3 frames"]}, ["first of 3 frames"]),
        ({"sigma_y": None, "residual": None, "losses": {}}, []),
    ],
)
def test_warnings(values: dict[str, Any], expected: list[str]) -> None:
    found = warnings(record("a", **values))
    assert len(found) == len(expected)
    assert all(part in sentence for part, sentence in zip(expected, found, strict=True))


def test_the_chart_draws_every_step_of_all_stages() -> None:
    drawn = loss_chart({"estimation": [1e-2, math.nan, 1e-4], "latent": [5e-5]}, 0.01)
    assert drawn is not None
    svg = ElementTree.fromstring(drawn)
    heights = {float(mark.attrib["cx"]): float(mark.attrib["cy"]) for mark in svg.iter("circle")}
    assert len(heights) == 3
    assert sorted(heights.values()) == list(heights.values()), "a falling loss falls"
    (noise,) = (
        float(mark.attrib["y1"]) for mark in svg.iter("line") if mark.get("class") == "noise"
    )
    assert noise == pytest.approx(list(heights.values())[1], abs=0.1), "1e-4 is 0.01 squared"
    words = {mark.text for mark in svg.iter("text")}
    assert {"estimation", "latent", "noise"} <= words
    assert loss_chart({"estimation": []}, 0.01) is None


def test_the_chart_of_a_flat_curve_has_a_scale() -> None:
    svg = ElementTree.fromstring(str(loss_chart({"estimation": [3.1e-4, 3.5e-4]}, 0.019)))
    assert len([mark for mark in svg.iter("line") if mark.get("class") == "tick"]) >= 2


@pytest.fixture
def page(folder: ResultFolder) -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.problems = []
        page.on("console", lambda message: page.problems.append(message.text))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("request", lambda request: page.problems.append(request.url[:60]))
        page.goto(folder.report.as_uri())
        yield page
        browser.close()


@pytest.mark.browser
def test_in_a_browser(page: Any, folder: ResultFolder) -> None:
    def names() -> list[str]:
        return [
            row.split("\n")[0] for row in page.locator("tbody tr td:first-child").all_inner_texts()
        ]

    compare = page.locator(".compare .stack").first
    slider = compare.locator("input")
    slider.fill("20")
    assert compare.evaluate("e => e.style.getPropertyValue('--at')") == "20%"
    after = compare.locator(".after")
    clip = after.evaluate("e => getComputedStyle(e).clipPath")
    assert clip.endswith("20%)")
    assert after.bounding_box() == compare.locator("img").first.bounding_box()
    page.get_by_role("button", name="photo").click()
    assert [name.strip() for name in names()][:2] == ["a2", "a10"]  # numbers in names count
    page.get_by_role("button", name="PSNR dB").click()
    assert names()[-1].strip() == "c"  # what has no number stays below
    first = names()[0]
    page.get_by_role("button", name="PSNR dB").click()
    assert names()[-1].strip() == "c"
    assert names()[2] == first
    assert page.locator("th[aria-sort=descending]").count() == 1
    # No wider than a phone, and every picture and control has a name.
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("input:not([aria-label])").count() == 0
    assert page.locator("svg[role=img]:not([aria-label])").count() == 0
    assert page.evaluate("document.documentElement.lang") == "en"
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert page.evaluate(broken) == 0
    requests = [text for text in page.problems if not text.startswith("data:")]
    assert requests == [folder.report.as_uri()[:60]]


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everyone_can_use_it(page: Any, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    # From the last on, as those that are open are not counted any more.
    for folded in page.locator("details:not([open]) > summary").all()[::-1]:
        folded.click()  # what is folded away is not checked
    assert page.locator("details:not([open])").count() == 0
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(28, 28, 30)"}[scheme]
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_predict_writes_the_page_unless_told_not_to(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), "grey").save(tmp_path / "a.png")
    quick = ["--model.method.estimation.steps", "2", "--trainer.accelerator", "cpu"]
    command = ["predict", "--data.inputs", str(tmp_path / "a.png"), *quick]
    assert main([*command, "--output", str(tmp_path / "with")]) == 0
    page = (tmp_path / "with" / "report.html").read_text(encoding="utf-8")
    assert "a</h2>" in page
    # Whoever gets the page and the files can tell that they belong together.
    record = json.loads((tmp_path / "with" / "degradation" / "a.json").read_text())
    weights = prior_file("natural-small")
    for path in (tmp_path / "a.png", tmp_path / "with" / "restored" / "a.png", weights):
        assert f"<code>{file_sha256(path)}</code>" in page
    assert "<dt>model natural-small</dt>" in page
    assert record["prior_sha256"] == [file_sha256(weights)]
    for share, left in zip(record["filled_in_by_size"], record["residual_by_size"], strict=False):
        assert f"<td>{share:.0%}</td><td>{left:.2f}</td>" in page
    assert main([*command, "--output", str(tmp_path / "without"), "--report", "false"]) == 0
    assert not (tmp_path / "without" / "report.html").exists()
    assert not (tmp_path / "without" / "preview").exists()
    assert json.loads((tmp_path / "without" / "degradation" / "a.json").read_text())["name"] == "a"


def test_lights_that_hide_a_part_of_a_photo_are_told(tmp_path: Path) -> None:
    found = {"count": 3, "hidden": 0.125, "left": 2}
    written = ResultFolder(tmp_path / "results")
    written.write_record(record("lit", lights=found))
    (read,) = written.records(["lit"])
    assert read.lights == found
    told = dict(numbers(read))["lights brighter than white"]
    assert told == "3, which hide 12.5% of the photo, 2 more left as they are"
    assert "lights brighter than white" not in dict(numbers(record("dark")))

"""Output folders that someone else has made: their records and settings are data, and bounded."""

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from photos import files, save_all
from program import predict, state_of

from d2ir_pl.cli import main
from d2ir_pl.reports.page import write_report
from d2ir_pl.results.folder import ResultFolder, parent_made
from d2ir_pl.results.guards import PLACES

WRONG: list[Any] = [
    *(None, True, -1, 1e300, 10**400, float("nan"), float("inf"), "x", "../../../x", [], {}),
    *([None], ["x"], [[[1]]], {"x": None}, {"dtype": 1}, [{"parts": 3}]),
]
"""Values that a field may have which ought to have another one."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two photos, and the photos."""
    root = tmp_path_factory.mktemp("run")
    save_all(root / "in", ["a.png", "b.png"])
    assert predict(root / "in", root / "out") == 0
    return root


def copied(run: Path, folder: Path) -> Path:
    """The results in another folder, without their curves."""
    for name in files(run / "out"):
        if not name.startswith("tensorboard"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((run / "out" / name).read_bytes())
    return folder


def forge(folder: Path, **fields: Any) -> None:
    """Change fields of the record of a."""
    path = folder / "degradation" / "a.json"
    record = json.loads(path.read_text()) | fields
    path.write_text(json.dumps(record))


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said on stderr, which is no traceback."""
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize("place", ["../../../x", "{}/elsewhere", "sub/../../../../x"])
def test_a_name_in_a_record_leads_nowhere(
    run: Path, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "deep" / "deeper"
    folder, outside = copied(run, root / "out"), tmp_path / "outside"
    forge(folder, name=place.format(outside))
    (root / "b").mkdir()
    before = state_of(run)
    assert main(["compare", str(folder), str(run / "out"), "--output", str(root / "b" / "c")]) == 0
    assert main(["report", str(folder)]) == 0
    sentence(capsys)
    written = {Path(name).parts[:3] for name in files(tmp_path)}
    assert {parts[:2] for parts in written} == {("deep", "deeper")}
    assert {Path(name).parts[1] for name in files(root / "b")} == {"a", "b"}
    assert state_of(run) == before
    assert str(outside) not in (folder / "report.html").read_text()


def test_records_of_wrong_types_are_left_out_by_name(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ResultFolder(tmp_path / "out")
    place = parent_made(folder.json("a"))
    record = json.loads((run / "out" / "degradation" / "a.json").read_text())
    texts = [json.dumps(record | {field: value}) for field in record for value in WRONG]
    texts += ["", "3", "\0", '{"name": "a"}', "1" * 5000, "{", "[" * 100_000]
    parent_made(folder.json("b")).write_text(json.dumps(record))
    left_out = 0
    for text in texts:
        place.write_text(text)
        damaged = folder.damaged().keys()
        left_out += damaged == {"a"}
        if not damaged and text:  # whatever is let through, the page can show
            assert "#photo-1" in write_report(folder).read_text()
    assert left_out > len(texts) / 2
    assert main(["report", str(folder.root)]) == 0
    assert sentence(capsys) == f"d2ir: {place} is not JSON: it is left out\n"
    folder.json("b").unlink()
    assert main(["report", str(folder.root)]) == 2
    assert f"({place} is not JSON)" in sentence(capsys)


@pytest.mark.parametrize("field", ["phi", "degradation", "input_sha256", "status"])
def test_a_wrong_record_costs_a_start_and_a_resume_no_more_than_its_photo(
    run: Path, tmp_path: Path, field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(run, tmp_path / "out")
    phi = {"width": {"shape": [10**9], "dtype": "float32", "zlib": ""}}
    wrong: Any = {"class_path": 3, "init_args": [1], "phi": phi}
    forge(folder, **{field: wrong if field == "degradation" else [3]})
    assert predict(run / "in", tmp_path / "new", "--model.start", str(folder)) in (0, 1)
    assert "b.png" in files(tmp_path / "new" / "restored")
    sentence(capsys)
    assert predict(run / "in", folder) == 0
    assert json.loads((folder / "degradation" / "a.json").read_text())["status"] == "restored"
    sentence(capsys)


def grown(line: str) -> str:
    """Settings of which every line holds ten times what the line before does."""
    lines = [line.format(name=c, inner=", ".join(["*" + b] * 10)) for b, c in pairwise("abcdefghi")]
    return "a: &a {k: v}\n" + "".join(lines)


BOMBS = {
    "aliases": grown("{name}: &{name} [{inner}]\n"),
    "merges": grown("{name}: &{name} {{<<: [{inner}]}}\n"),
    "circle": "model: &a\n  method: *a\n",
    "depth": "a: " + "[" * 5000 + "]" * 5000,
    "number": "a: " + "1" + ":59" * 200_000,
    "size": "a: [" + "x," * 2_000_000 + "]",
    "no yaml": "a: [",
    "no text": "\x81",
    "no object": "!!python/object/apply:os.system [true]",
    "words": "a: " + "[" * 60 + "x," * 800_000 + "]" * 60,
    "texts": "---\n" * 400_000,
    "surrogate": 'a: "\\ud800"',
}


@pytest.mark.parametrize("bomb", [*BOMBS])
def test_settings_are_read_within_bounds(
    run: Path, tmp_path: Path, bomb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(run, tmp_path / "out")
    (folder / "config.yaml").write_bytes(BOMBS[bomb].encode("latin-1"))
    assert main(["compare", str(folder), str(run / "out")]) == 2
    said = sentence(capsys)
    assert said.startswith(f"d2ir: {folder / 'config.yaml'} ")
    assert len(said.splitlines()) == 1
    assert main(["report", str(folder)]) == 0


@pytest.mark.parametrize("name", ["degradation/a.json", "restored/a.png", "config.yaml"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(run: Path, tmp_path: Path, name: str) -> None:
    folder = copied(run, tmp_path / "out")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert main(["report", str(folder)]) == 0
    assert main(["compare", str(folder), str(run / "out")]) in (0, 2)


@pytest.mark.parametrize("name", ["report.html", "report.html.tmp", "metrics.csv.tmp", ".lock"])
def test_links_in_a_folder_are_replaced_and_not_followed(
    run: Path, tmp_path: Path, name: str
) -> None:
    folder, precious = copied(run, tmp_path / "out"), tmp_path / "precious"
    precious.write_text("mine")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(precious)
    assert main(["report", str(folder)]) == 0
    assert predict(run / "in", folder) in (0, 2)
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("name", [*PLACES, "restored/sub", "tensorboard/a", "tensorboard/means"])
def test_nothing_is_written_or_removed_where_a_linked_folder_leads(
    run: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outside, inside = tmp_path / "mine", tmp_path / "out" / name
    outside.mkdir()
    for kept in ("a.png", "a.json", "a.png.tmp", "b.json.tmp", "events.out.tfevents.1"):
        (outside / kept).write_text("mine")
    inside.parent.mkdir(parents=True)
    inside.symlink_to(outside)
    before = state_of(outside)
    if name.startswith("restored"):
        save_all(tmp_path / "in", ["sub/a.png"])
    status = predict(tmp_path / "in" if "sub" in name else run / "in", tmp_path / "out")
    assert status == 2
    assert f"d2ir: {inside} is a link to another folder" in sentence(capsys)
    assert state_of(outside) == before


def test_pictures_are_those_of_the_photo_and_not_of_whatever_the_settings_name(
    run: Path, tmp_path: Path
) -> None:
    folder = copied(run, tmp_path / "out")
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace(str(run / "in"), "/"))
    assert main(["compare", str(folder), str(run / "out"), "--output", str(tmp_path / "c")]) == 0
    assert {Path(name).parts[0] for name in files(tmp_path / "c")} == {"a", "b"}

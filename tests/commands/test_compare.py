"""Two folders of results side by side: the numbers, what is refused, and the pictures."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from photos import photo, save
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from d2ir_pl.cli import main
from d2ir_pl.errors import OutputError
from d2ir_pl.image_io import Photo, eight_bits, write_png
from d2ir_pl.inputs.digest import file_digest
from d2ir_pl.reports.comparison import compare
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.pictures import Pictures, write_result
from d2ir_pl.results.record import Record

PSNR = {"a": (30.0, 31.0), "b": (25.0, 24.5), "c": (20.0, 20.001)}


def run(root: Path, settings: dict[str, Any], images: dict[str, dict[str, Any]]) -> ResultFolder:
    """A folder of results with these numbers."""
    folder = ResultFolder(root)
    folder.prepare()
    (root / "config.yaml").write_text(yaml.safe_dump(settings))
    for i, (name, numbers) in enumerate(images.items()):
        fields = {"reference_sha256": "clean", "sigma_y": 0.02, "residual": 4e-4, "nfe": 8}
        record = Record(name, "restored", str(settings), f"photo {name}", **{**fields, **numbers})
        write_result(folder, record, Pictures(Photo(photo(i))))
    return folder


def settings(method: str = "D2IR", **arguments: Any) -> dict[str, Any]:
    chosen = {"class_path": f"d2ir_pl.restoration.{method}", "init_args": arguments}
    blur = {"class_path": "d2ir_pl.degradations.GaussianBlur", "init_args": {}}
    return {"model": {"method": chosen, "degradation": blur}, "output": "anywhere", "seed": 0}


def pair(
    root: Path, base: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]], **kwargs: Any
) -> tuple[Path, Path]:
    run(root / "base", settings(steps=8), base)
    run(root / "new", settings(steps=4), new)
    return root / "base", root / "new"


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    rows = ({name: {"psnr": values[i]} for name, values in PSNR.items()} for i in (0, 1))
    return pair(tmp_path, *rows)


def test_images_are_matched_by_name_and_the_means_are_over_shared_ones(
    two: tuple[Path, Path],
) -> None:
    run(two[1], settings(steps=4), {"only here": {"psnr": 99.0}})
    (comparison,) = compare(*two)
    assert [p.base.name for p in comparison.pairs] == ["a", "b", "c"]
    assert comparison.alone == ["only here"]
    assert comparison.scores()["psnr"] == pytest.approx((25.0, 75.501 / 3))
    assert comparison.scores()["residual_over_sigma"] == pytest.approx((1.0, 1.0))
    assert list(comparison.gains()) == ["b", "c", "a"]
    assert comparison.settings == {"model.method.steps": (8, 4)}


def test_the_table(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *map(str, two)]) == 0
    shown = capsys.readouterr().out
    assert "25.00 → 25.17 (+0.17)" in shown
    assert "1 / 1" in shown
    assert "b (-0.50 dB)" in shown
    assert "settings that differ: model.method.steps 8 → 4" in shown


def test_a_change_too_small_to_be_seen_has_no_sign_of_loss(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, new = pair(tmp_path, *({"a": {"psnr": value}} for value in (30.0, 29.999)))
    assert main(["compare", str(base), str(new)]) == 0
    shown = capsys.readouterr().out
    assert "a (+0.00 dB)" in shown
    assert "-0.00" not in shown


def test_the_table_in_markdown_is_one_that_github_draws(
    two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *map(str, two), "--markdown"]) == 0
    title, gap, *table, space, remark = capsys.readouterr().out.splitlines()
    assert title == f"**{two[0]} → {two[1]}**"
    assert gap == space == ""
    assert remark.startswith("- settings that differ")
    assert len(table) == 3
    assert len({line.count("|") for line in table}) == 1
    assert set(table[1]) <= set("|-:")


def test_names_are_no_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, new = pair(tmp_path, *({"[red]x|y": {"psnr": p}} for p in (30.0, 29.0)))
    assert main(["compare", str(base), str(new), "--markdown"]) == 0
    assert "[red]x\\|y (-1.00 dB)" in capsys.readouterr().out


def test_tasks_are_matched_by_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for root, psnr in (("old", 20.0), ("now", 21.0)):
        for task in ("noise", "blur/strong"):
            run(tmp_path / root / task, settings(), {"a": {"psnr": psnr}})
    run(tmp_path / "old" / "gone", settings(), {"a": {"psnr": 1.0}})
    found = compare(tmp_path / "old", tmp_path / "now")
    assert [comparison.task for comparison in found] == ["blur/strong", "noise"]
    assert main(["compare", str(tmp_path / "old"), str(tmp_path / "now")]) == 0
    shown = capsys.readouterr().out
    assert shown.count("20.00 → 21.00 (+1.00)") == 2
    assert "noise: the settings are the same" in shown


def test_without_references_the_residual_is_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = [{"residual": residual, "reference_sha256": ""} for residual in (9e-4, 4.4e-4)]
    base, new = pair(tmp_path, *({"a": f} for f in fields))
    (comparison,) = compare(base, new)
    assert comparison.gains()["a"] == pytest.approx(10 * np.log10(9 / 4.4))
    assert main(["compare", str(base), str(new)]) == 0
    shown = capsys.readouterr().out
    assert "PSNR, dB" not in shown
    assert "1.50 → 1.05 (-0.45)" in shown
    assert "without references" in shown


@pytest.mark.parametrize(
    ("base", "new", "message"),
    [
        ({"a": {}}, {"b": {}}, "share no restored image: compare runs on the same photos"),
        ({"a": {"reference_sha256": "x"}}, {"a": {}}, "a has different references in .*base and"),
        ({}, {"a": {}}, "base holds no results: name the --output of a run"),
    ],
)
def test_what_cannot_be_compared(
    tmp_path: Path, base: dict[str, Any], new: dict[str, Any], message: str
) -> None:
    with pytest.raises(OutputError, match=message):
        compare(*pair(tmp_path, base, new))


def test_other_photos_under_the_same_name_are_refused(
    two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    new = ResultFolder(two[1])
    record = new.read("b")
    assert record is not None
    record.input_sha256 = "another"
    write_result(new, record, Pictures(Photo(photo(1))))
    assert main(["compare", *map(str, two)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("d2ir: b is not the same photo in ")


def test_photos_that_the_program_degraded_are_compared_by_what_it_made(tmp_path: Path) -> None:
    base, new = (run(tmp_path / name, settings(), {"a": {}}) for name in ("base", "new"))
    write_png(save(base.degraded("a"), 0), photo(3))
    write_png(save(new.degraded("a"), 0), photo(3))
    assert len(compare(base.root, new.root)) == 1
    write_png(new.degraded("a"), photo(4))
    with pytest.raises(OutputError, match="a is not the same photo"):
        compare(base.root, new.root)


def test_pictures_side_by_side(tmp_path: Path, two: tuple[Path, Path]) -> None:
    files = [save(tmp_path / "in" / "a.png", 7), save(tmp_path / "clean" / "a.png", 8)]
    photo_sha256, clean_sha256 = map(file_digest, files)
    chosen = settings(steps=8)
    chosen["data"] = {"inputs": str(tmp_path / "in"), "references": str(tmp_path / "clean")}
    (two[0] / "config.yaml").write_text(yaml.safe_dump(chosen))
    for folder, psnr, seed in ((two[0], 30.0, 0), (two[1], 31.0, 9)):
        changed = Record(
            "a", "restored", "s", photo_sha256, reference_sha256=clean_sha256, psnr=psnr
        )
        write_result(ResultFolder(folder), changed, Pictures(Photo(photo(seed))))
    for _ in range(2):  # a second time it is written anew
        assert main(["compare", *map(str, two), "--output", str(tmp_path / "seen")]) == 0
    log = EventAccumulator(str(tmp_path / "seen" / "a"), {"images": 0}).Reload()
    (shown,) = log.Images("input | base | new | reference")
    drawn = np.asarray(Image.open(io.BytesIO(shown.encoded_image_string))).astype(int)
    expected = [eight_bits(photo(seed)).permute(1, 2, 0).numpy() for seed in (7, 0, 9, 8)]
    assert np.abs(drawn - np.concatenate(expected, 1)).max() <= 1
    (change,) = log.Scalars("change/psnr")
    assert change.value == pytest.approx(1.0)
    # Where the photo is no longer there, it is left out.
    others = EventAccumulator(str(tmp_path / "seen" / "b")).Reload()
    assert others.Tags()["images"] == ["base | new"]

"""Which files are found, under which names."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from photos import save, save_all

from d2ir_pl.errors import InputError
from d2ir_pl.image_io import EXTENSIONS
from d2ir_pl.inputs.finding import find_items
from d2ir_pl.inputs.items import Failure, Item
from d2ir_pl.inputs.names import result_names, unique_names
from d2ir_pl.inputs.samples import read_sample
from d2ir_pl.inputs.walking import RESULTS
from d2ir_pl.results.folder import ResultFolder


def names(items: list[Item]) -> list[str]:
    return [item.name for item in items]


# ---- Finding files ----


def test_single_file_is_named_without_its_folder(tmp_path: Path) -> None:
    path = save(tmp_path / "deep" / "photo.v2.png")
    (item,) = find_items(str(path), None)
    assert (item.path, item.key, item.name) == (path, "photo.v2.png", "photo.v2")


def test_file_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    path = save(tmp_path / "photo.unknown")
    assert [i.path for i in find_items(str(path), None)] == [path]


def test_folder_is_searched_recursively_for_image_files_only(tmp_path: Path) -> None:
    save_all(tmp_path, ["b.png", "a.JPG", "sub/c.tiff", "sub/deeper/d.webp"])
    save_all(tmp_path, [".hidden.png", ".cache/e.png", "sub/.thumbs/f.png"])
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "Makefile").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    items = find_items(str(tmp_path), None)
    assert {i.key for i in items} == {"a.JPG", "b.png", "sub/c.tiff", "sub/deeper/d.webp"}
    assert set(names(items)) == {"a", "b", "sub/c", "sub/deeper/d"}
    assert find_items(f"{tmp_path}/", None) == items


@pytest.mark.parametrize("extension", sorted(EXTENSIONS))
def test_every_known_extension_is_found_in_either_case(tmp_path: Path, extension: str) -> None:
    (tmp_path / f"a{extension}").touch()
    (tmp_path / f"b{extension.upper()}").touch()
    assert names(find_items(str(tmp_path), None)) == ["a", "b"]


def test_order_is_that_of_the_paths_and_not_of_creation(tmp_path: Path) -> None:
    save_all(tmp_path, ["c.png", "a.png", "b.png"])
    assert names(find_items(str(tmp_path), None)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("photos/*.png", ["a", "b"]),
        ("photos/[a]*", ["a"]),
        ("photos/**/*.png", ["a", "b", "x/c", "y/c"]),
        ("photos/*/c.png", ["x/c", "y/c"]),
        ("*/x/c.png", ["photos/x/c"]),
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_glob_names_are_relative_to_the_fixed_prefix(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
    expected: list[str],
    absolute: bool,
) -> None:
    save_all(tmp_path / "photos", ["a.png", "b.png", "x/c.png", "y/c.png", "x/notes.txt"])
    monkeypatch.chdir(tmp_path)
    assert names(find_items(f"{tmp_path}/{pattern}" if absolute else pattern, None)) == expected


def test_folder_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    folder = save_all(tmp_path / "photos [2024]", ["a.png"])
    assert names(find_items(str(folder), None)) == ["a"]


def test_an_image_has_the_same_key_by_folder_by_glob_and_alone(tmp_path: Path) -> None:
    save_all(tmp_path, ["a.png", "b.png"])
    ways = [f"{tmp_path}", f"{tmp_path}/*.png", f"{tmp_path}/a.png"]
    assert [find_items(way, None)[0].key for way in ways] == ["a.png"] * 3


def test_names_with_spaces_and_letters_of_any_language(tmp_path: Path) -> None:
    unusual = ["zwei Wörter.png", "日本/写真.png", "a%b#c?.png", "-dash.png"]
    save_all(tmp_path, unusual)
    assert {i.key for i in find_items(str(tmp_path), None)} == set(unusual)


# ---- Names of results ----


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("line\nbreak.png", "line%0Abreak"),
        ("bytes\udcff\udcfe.png", "bytes%FF%FE"),
        ("bell\a/x.png", "bell%07/x"),
        ("Straße – é.png", "Straße – é"),
        ("-dash [1] back\\slash.png", "-dash [1] back\\slash"),
    ],
)
def test_results_have_names_that_every_system_can_write(key: str, name: str) -> None:
    assert result_names([key]) == [name]


def test_long_names_are_cut_and_stay_different() -> None:
    keys = [f"{'é' * 122}{end}.png" for end in "abc"]
    names = result_names([*keys, f"{'d' * 250}/x.png"])
    assert len(set(names)) == 4
    assert all(len(part.encode()) <= 240 for name in names for part in name.split("/"))


def test_an_escaped_name_does_not_meet_another() -> None:
    names = result_names(["a\n.png", "a%0A.png"])
    assert names[0] == "a%0A"
    assert names[1].endswith("~a%0A")
    long = [f"{'n' * 239}\n.png", f"{'n' * 239}%0A.png"]
    assert len(set(result_names(long))) == 2
    assert all(len(name.encode()) <= 240 for name in result_names(long))


def test_links_in_circles_are_not_followed(tmp_path: Path) -> None:
    save_all(tmp_path, ["a.png", "sub/b.png"])
    for loop in ("sub/one", "sub/two"):  # two are enough to never come to an end
        (tmp_path / loop).symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self.png").symlink_to("self.png")
    for inputs in (tmp_path, tmp_path / "**" / "*.png", tmp_path / "**"):
        # A link that leads nowhere is not left out in silence: reading it says so.
        keys = {i.key for i in find_items(str(inputs), None)}
        assert keys == {"a.png", "sub/b.png", "self.png"}


@pytest.mark.parametrize("pattern", ["*/../../out/*.png", "**/../*.png"])
def test_a_pattern_that_goes_up_is_refused(tmp_path: Path, pattern: str) -> None:
    save_all(tmp_path, ["in/sub/a.png", "out/b.png"])
    with pytest.raises(InputError, match="goes up behind a wildcard: name the folder"):
        find_items(str(tmp_path / "in" / pattern), None)


def test_files_that_differ_in_extension_only_keep_it() -> None:
    keys = ["same.jpg", "same.png", "other.png"]
    assert unique_names(keys) == ["same.jpg", "same.png", "other"]


def test_names_are_unique_even_where_a_kept_extension_meets_another_name() -> None:
    keys = ["same.jpg", "same.png", "same.png.tif", "x/same.png"]
    result = unique_names(keys)
    assert len(set(result)) == len(keys)
    assert result[3] == "x/same"


# ---- References ----


def test_references_are_matched_by_relative_path_without_extension(tmp_path: Path) -> None:
    save_all(tmp_path / "in", ["a.jpg", "sub/a.png", "sub/b.png"])
    save_all(tmp_path / "clean", ["a.png", "sub/a.tif", "sub/b.png", "unused.png"])
    items = find_items(str(tmp_path / "in"), str(tmp_path / "clean"))
    found = {i.key: i.reference.relative_to(tmp_path).as_posix() for i in items if i.reference}
    assert found == {
        "a.jpg": "clean/a.png",
        "sub/a.png": "clean/sub/a.tif",
        "sub/b.png": "clean/sub/b.png",
    }


@pytest.mark.parametrize("spelling", ["in/clean", "in/../in/clean/"])
def test_references_inside_the_inputs_are_no_inputs(tmp_path: Path, spelling: str) -> None:
    save_all(tmp_path / "in", ["a.png", "clean/a.png"])
    items = find_items(str(tmp_path / "in"), str(tmp_path / spelling))
    assert names(items) == ["a"]


def test_references_may_be_the_inputs_or_lie_around_them(tmp_path: Path) -> None:
    save_all(tmp_path / "in", ["a.png", "in/a.png"])
    (same, _) = find_items(str(tmp_path / "in"), str(tmp_path / "in"))
    assert same.reference == same.path
    (below,) = find_items(str(tmp_path / "in" / "in"), str(tmp_path / "in"))
    assert below.reference == tmp_path / "in" / "a.png"


def test_missing_and_ambiguous_references_are_refused(tmp_path: Path) -> None:
    inputs = save_all(tmp_path / "in", ["a.png"])
    clean = save_all(tmp_path / "clean", ["b.png"])
    with pytest.raises(InputError, match=r"a\.png has no reference in .*clean: give exactly one"):
        find_items(str(inputs), str(clean))
    save_all(clean, ["a.png", "a.tif"])
    with pytest.raises(InputError, match=r"a\.png has 2 references .*: give exactly one"):
        find_items(str(inputs), str(clean))


# ---- What cannot be looked at ----


def test_a_folder_that_cannot_be_listed_is_an_input_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_all(tmp_path, ["a.png", "sub/b.png", "other/c.png"])
    scandir = os.scandir

    def denied(path: Path) -> Any:  # permissions do not stop a privileged user
        if Path(path).name == "sub":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    for inputs in (str(tmp_path), f"{tmp_path}/**", f"{tmp_path}/**/*.png"):
        items = {item.key: item for item in find_items(inputs, None)}
        assert set(items) == {"a.png", "other/c.png", "sub"}
        failure = read_sample(items["sub"])
        assert isinstance(failure, Failure)
        assert "sub cannot be read (Permission denied); check" in failure.reason
    with pytest.raises(InputError, match=r"sub cannot be looked at \(Permission denied\)"):
        find_items(str(tmp_path / "sub"), None)
    with pytest.raises(InputError, match=r"sub cannot be listed: check"):
        find_items(str(tmp_path / "a.png"), str(tmp_path))


def test_pipes_and_dangling_links_are_inputs_that_fail(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("nowhere.png")
    for inputs in (str(tmp_path), [f"{tmp_path}/pipe.png", f"{tmp_path}/link.png"]):
        reasons = [read_sample(item) for item in find_items(inputs, None)]
        assert [isinstance(reason, Failure) for reason in reasons] == [True, True]
        link, pipe = sorted(r.reason for r in reasons if isinstance(r, Failure))
        assert "link.png cannot be read (No such file or directory)" in link
        assert "pipe.png is not a regular file" in pipe


def test_a_name_too_long_for_the_system_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"n cannot be looked at \(File name too long\)|exist"):
        find_items("n" * 300, None)


def touch(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()


def results_in(folder: Path) -> None:
    """An output folder with all kinds of pictures, without the pixels."""
    results = ResultFolder(folder)
    places = (results.restored, results.degraded, results.picture, results.uncertainty)
    for place in (*places, results.preview, results.film_strip, results.preview_restored):
        touch(folder, str(place("a").relative_to(folder)))
    for file in (results.config, results.json("a")):
        file.write_text("{}")


@pytest.mark.parametrize("output", ["out", "of/last/year", "."])
def test_results_inside_the_inputs_are_no_inputs(tmp_path: Path, output: str) -> None:
    photos = ["a.jpg", "b/restored/c.jpg", "restored-by-hand/d.png"]
    tmp_path /= "photos"
    for name in photos:
        touch(tmp_path, name)
    results_in(tmp_path / output)
    for inputs in (str(tmp_path), str(tmp_path / "**")):
        found = find_items(inputs, None)
        assert sorted(item.key for item in found) == photos
    assert len(find_items(str(tmp_path / output / "restored"), None)) == 1


def test_all_folders_of_results_are_known() -> None:
    results = ResultFolder(Path())
    pictures = [results.restored, results.degraded, results.picture, results.uncertainty]
    pictures += [
        results.filled_in,
        results.interval,
        results.preview,
        results.film_strip,
        results.preview_restored,
        results.json,
    ]
    assert {place("a").parts[0] for place in pictures} | {"tensorboard"} == RESULTS

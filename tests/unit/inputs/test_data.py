"""Inputs: which files are found, under which names, and how they become batches."""

from pathlib import Path

import pytest
import torch
from photos import photo, save, save_all

from d2ir_pl.errors import InputError
from d2ir_pl.image_io import EXTENSIONS, read_image
from d2ir_pl.inputs.digest import file_digest
from d2ir_pl.inputs.finding import find_items, group_by_size
from d2ir_pl.inputs.items import Failure, Item
from d2ir_pl.inputs.names import result_names, unique_names
from d2ir_pl.inputs.samples import Sample, read_sample
from d2ir_pl.prediction.data import Batch, RestorationDataModule


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
        assert {i.key for i in find_items(str(inputs), None)} == {"a.png", "sub/b.png"}


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


def test_limit_does_not_change_names(tmp_path: Path) -> None:
    save_all(tmp_path, ["same.jpg", "same.png", "z.png"])
    data = RestorationDataModule(str(tmp_path), limit=1)
    assert names(data.items) == ["same.jpg"]


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


# ---- Mistakes ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": None}, "^inputs: no input is given"),
        ({"inputs": "{}/missing"}, "missing does not exist: give a file, a folder or a quoted"),
        ({"inputs": "{}/empty"}, r"empty holds no image files \(.*\.png"),
        ({"inputs": "{}/*.gif"}, r"\*\.gif matches no image files: check it, and quote it"),
        ({"inputs": "{}/*.txt"}, r"\*\.txt matches no image files: check it, and quote it"),
        ({"references": "{}/missing"}, "missing is not a folder: give the folder of clean"),
        ({"references": "{}/a.png"}, r"a\.png is not a folder: give the folder of clean"),
        ({"batch_size": 0}, "^batch_size 0 must be at least 1$"),
        ({"limit": 0}, "^limit 0 must be at least 1$"),
        ({"limit": -3}, "^limit -3 must be at least 1$"),
        ({"num_workers": -1}, "^num_workers -1 must be at least 0$"),
        ({"degrade": True, "references": "{}"}, "^degrade true .*: leave out references"),
        ({"degrade": True, "scenes": True}, "^degrade true .*: leave out scenes"),
        ({"degrade_noise": 1.0}, "^degrade_noise 1.0 must be at least 0 and below 1$"),
        ({"degrade_noise": -0.1}, "^degrade_noise -0.1 must be at least 0 and below 1$"),
    ],
)
def test_mistakes_are_one_sentence_with_the_remedy(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    filled = {k: v.format(tmp_path) if isinstance(v, str) else v for k, v in options.items()}
    with pytest.raises(ValueError, match=message) as caught:
        RestorationDataModule(**{"inputs": str(tmp_path), **filled})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


# ---- Batches ----


def items_of_sizes(folder: Path, sizes: list[tuple[int, int]]) -> list[Item]:
    for i, (height, width) in enumerate(sizes):
        save(folder / f"{i}.png", i, height, width)
    return find_items(str(folder), None)


def test_batches_hold_each_image_once_and_one_size_only(tmp_path: Path) -> None:
    sizes = [(24, 32), (32, 24), (24, 32), (24, 32), (32, 24), (24, 32)]
    items = items_of_sizes(tmp_path, sizes)
    batches = group_by_size(items, batch_size=3)
    assert sorted(names([i for batch in batches for i in batch])) == names(items)
    assert all(len({sizes[int(i.name)] for i in batch}) == 1 for batch in batches)
    assert [names(batch) for batch in batches] == [["0", "2", "3"], ["1", "4"], ["5"]]


def test_unreadable_files_stand_alone(tmp_path: Path) -> None:
    items = items_of_sizes(tmp_path, [(24, 32)] * 3)
    items[1].path.write_bytes(b"not an image")
    assert [names(b) for b in group_by_size(items, 4)] == [["0", "2"], ["1"]]


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_loader_yields_what_the_files_hold(tmp_path: Path, batch_size: int) -> None:
    items_of_sizes(tmp_path, [(24, 32), (24, 32), (40, 24), (24, 32), (24, 32)])
    data = RestorationDataModule(str(tmp_path), batch_size=batch_size)
    batches: list[Batch] = list(data.predict_dataloader())
    seen = [(s.item, pixels) for b in batches for s, pixels in zip(b.samples, b.y, strict=True)]
    assert sorted(item.name for item, _ in seen) == ["0", "1", "2", "3", "4"]
    for item, pixels in seen:
        assert torch.equal(pixels, read_image(item.path).pixels)
    assert all(len(b.samples) <= batch_size and not b.failures for b in batches)


def test_limit_takes_the_first_images(tmp_path: Path) -> None:
    items_of_sizes(tmp_path, [(24, 32)] * 4)
    assert names(RestorationDataModule(str(tmp_path), limit=2).items) == ["0", "1"]
    assert names(RestorationDataModule(str(tmp_path), limit=9).items) == ["0", "1", "2", "3"]


def test_broken_file_in_a_batch_is_a_failure_beside_its_neighbours(tmp_path: Path) -> None:
    items_of_sizes(tmp_path, [(24, 32)] * 3)
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[: len(whole) // 2])  # the header still tells the size
    data = RestorationDataModule(str(tmp_path), batch_size=3)
    (batch,) = data.predict_dataloader()
    assert [s.item.name for s in batch.samples] == ["0", "2"]
    assert batch.y.shape == (2, 3, 24, 32)
    (failure,) = batch.failures
    assert failure.item.name == "1"
    assert "1.png is damaged, truncated" in failure.reason


def test_batch_of_failures_only_has_no_images(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (batch,) = RestorationDataModule(str(tmp_path)).predict_dataloader()
    assert (len(batch.y), len(batch.samples), len(batch.failures)) == (0, 0, 1)


def test_unreadable_reference_is_a_failure_that_names_it(tmp_path: Path) -> None:
    path, reference = save(tmp_path / "a.png"), tmp_path / "clean.png"
    reference.write_bytes(b"")
    result = read_sample(Item(path, "a.png", "a", reference))
    assert isinstance(result, Failure)
    assert "clean.png is empty" in result.reason


def test_sample_carries_pixels_reference_and_digest(tmp_path: Path) -> None:
    path, reference = save(tmp_path / "a.png", 1), save(tmp_path / "clean.png", 2)
    sample = read_sample(Item(path, "a.png", "a", reference))
    assert isinstance(sample, Sample)
    assert sample.reference is not None
    assert (sample.photo.pixels - photo(1)).abs().max() <= 1.01 / 255
    assert (sample.reference.pixels - photo(2)).abs().max() <= 1.01 / 255
    before = sample.digest
    save(path, 3)
    assert file_digest(path) != before
    save(path, 1)
    assert file_digest(path) == before
    assert file_digest(tmp_path / "missing.png") == ""

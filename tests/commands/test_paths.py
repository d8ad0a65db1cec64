"""Paths are paths, whatever YAML or a shell makes of their names."""

import glob
import os
from pathlib import Path

import pytest
import torch
from jsonargparse import ActionConfigFile, ArgumentParser
from photos import photo, save, save_all

from d2ir_pl.cli import main
from d2ir_pl.commands.arguments import arranged, arranged_environment, plain_path
from d2ir_pl.commands.fit import parse_training_options
from d2ir_pl.commands.predict import RestorationCLI, parse_options
from d2ir_pl.errors import UsageError
from d2ir_pl.image_io import Photo, write_png
from d2ir_pl.prediction.data import RestorationDataModule
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.pictures import Pictures, write_result
from d2ir_pl.results.record import Record

ODD = [
    *("null", "~", "#x", "1e3", "true", "[a]", "[1, 2]", "{b}", "{b: 1}", "- x", "-", "---", "-x"),
    *("a b", "a=b", "x: y", "größer", "&a", "*a", "'q'", "2001-01-01", "a #b", "!t"),
]
CPU = ["--trainer.accelerator", "cpu", "--trainer.precision", "32-true"]


def parse(*arguments: str) -> RestorationCLI:
    return parse_options([*CPU, *arguments])


def found(cli: RestorationCLI) -> list[Path]:
    return [item.path for item in cli.datamodule.items]


@pytest.fixture(autouse=True)
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with photos of odd names, which are folders of photos in `folders`."""
    monkeypatch.chdir(tmp_path)
    image = save(tmp_path / "photo.png", 0, 25, 25).read_bytes()
    for name in ODD:
        Path(tmp_path, name).write_bytes(image)
        save(tmp_path / "folders" / name / "photo.png")
    return tmp_path


@pytest.fixture
def few_options() -> ArgumentParser:
    """The options of `predict` that are paths, without those that take long to set up."""
    parser = ArgumentParser(exit_on_error=False, default_env=True, env_prefix="D2IR")
    parser.add_argument("--config", action=ActionConfigFile)
    parser.add_argument("--output", type=str, default="results")
    parser.add_class_arguments(RestorationDataModule, "data")
    return parser


@pytest.mark.parametrize("form", ["apart", "equals", "alone", "environment"])
def test_inputs_references_and_output_of_any_name(
    form: str, few_options: ArgumentParser, monkeypatch: pytest.MonkeyPatch, odd: Path
) -> None:
    paths = RestorationCLI.path_options
    options = ("data.inputs", "data.references", "output")
    for name in ODD:
        if form == "apart":
            arguments = [word for key in options for word in (f"--{key}", name)]
        elif form == "equals":
            arguments = [f"--{key}={name}" for key in options]
        elif form == "alone":
            arguments = [name, *(f"--{key}={name}" for key in options[1:])]
        else:
            for key in options:
                monkeypatch.setenv(f"D2IR_{key.replace('.', '__').upper()}", name)
            arguments = []
        if name == "---" and form in ("apart", "alone"):
            continue  # two hyphens begin an option
        with arranged_environment("D2IR", paths):
            parsed = few_options.parse_args(arranged(arguments, paths))
        # What is saved in config.yaml is read as the same paths.
        (odd / "again.yaml").write_text(few_options.dump(parsed))
        again = few_options.parse_args(["--config", str(odd / "again.yaml")])
        for options_found in (parsed, again):
            for key in options:
                assert isinstance(options_found[key], str), name
                assert Path(options_found[key]) == Path(name)


def test_a_run_takes_paths_of_any_name(monkeypatch: pytest.MonkeyPatch, odd: Path) -> None:
    monkeypatch.chdir(odd / "folders")
    cli = parse("#x", "--data.references", "null", "--output=- x")
    (item,) = cli.datamodule.items
    assert (item.path, item.reference) == (Path("#x/photo.png"), Path("null/photo.png"))
    assert cli.run_settings().output == Path("- x")


def test_nothing_in_a_file_is_nothing(odd: Path) -> None:
    (odd / "mine.yaml").write_text("data: {inputs: photo.png, references: null}\n")
    assert parse("--config", "mine.yaml").config.data.references is None


@pytest.mark.parametrize("name", ["null", "x: y", "-x"])
def test_kernels_masks_and_configs_of_any_name(name: str, odd: Path) -> None:
    blur = ["photo.png", "--model.degradation", "Blur", "--model.degradation.border", "reflect"]
    cli = parse(*blur, "--model.degradation.kernel", name)
    assert not cli.model.degradation.estimated
    assert cli.model.degradation.border == "reflect"
    write_png(odd / name, torch.eye(25).expand(3, -1, -1) * 2 - 1)
    cli = parse("photo.png", "--model.degradation=Mask", f"--model.degradation.source={name}")
    assert Path(cli.model.degradation.source) == Path(name)
    (odd / name).write_text("seed: 42\n")
    for form in (["--config", name], [f"--config={name}"]):
        assert parse("photo.png", *form).config.seed == 42


def test_a_box_of_pixels_is_no_path() -> None:
    box = ["--model.degradation=Mask", "--model.degradation.source", "[0, 0, 3, 4]"]
    assert parse("photo.png", *box).model.degradation.source == [0, 0, 3, 4]


@pytest.mark.parametrize("name", ODD)
def test_a_plain_path_is_the_same_path_and_no_yaml(name: str, odd: Path) -> None:
    assert os.path.samefile(plain_path(name), name)
    assert plain_path(str(odd / name)) == str(odd / name)


def test_training_takes_paths_of_any_name(odd: Path) -> None:
    save_all(odd / "photos", ["a.png", "b.png"], 64, 64)
    for name in ("#x", "-x"):
        os.rename(odd / "photos", odd / "folders" / name / "sub")
        where = [f"folders/{name}/sub", "--output", name, "--ckpt_path", name, *CPU]
        settings = parse_training_options(where).training_settings()
        assert settings.output == Path(name)
        assert settings.ckpt_path is not None
        assert Path(settings.ckpt_path) == Path(name)
        os.rename(odd / "folders" / name / "sub", odd / "photos")


def test_reports_comparisons_and_proposals_of_any_name(
    odd: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_png(odd / "large.png", photo(0, 64, 64))
    monkeypatch.chdir(odd / "folders")
    for name in ("null", "#x", "-x"):
        folder = ResultFolder(Path(name))
        folder.prepare()
        write_result(
            folder, Record("a", "restored", "s", "a", psnr=30.0), Pictures(Photo(photo(0)))
        )
        (folder.root / "config.yaml").write_text("model: {sigma_y: 0.1}\n")
        assert main(["compare", name, name]) == 0
        assert "30.00 → 30.00" in capsys.readouterr().out
        assert main(["report", name]) == 0
        assert (folder.root / "report.html").is_file()
        os.rename(odd / "large.png", f"{name}.png")
        capsys.readouterr()
        assert main(["propose", f"{name}.png"]) == 0
        assert "class_path" in capsys.readouterr().out
        os.rename(f"{name}.png", odd / "large.png")


# ---- Several inputs ----


@pytest.mark.parametrize("before", [["--data.inputs"], []])
def test_what_the_shell_makes_of_a_pattern_is_what_the_pattern_is(
    before: list[str], odd: Path
) -> None:
    save_all(odd / "photos", ["a.png", "b.jpg", "größer 2.png"])
    expanded = parse(*before, *sorted(glob.glob("photos/*")), "--seed", "3")
    quoted = parse("--data.inputs", "photos/*")
    assert expanded.datamodule.items == quoted.datamodule.items
    assert expanded.config.seed == 3


def test_several_inputs_are_named_from_the_folder_that_holds_them(odd: Path) -> None:
    save_all(odd / "photos", ["sub/a.png", "b.png", "c.jpg"])
    cli = parse("photos/sub", "null", "photos/*.jpg", "./null", "folders/../photo.png")
    assert [item.name for item in cli.datamodule.items] == [
        "photos/sub/a",
        "null",
        "photos/c",
        "photo",
    ]
    cli = parse("photos/sub", "photos/c.jpg")
    assert [item.name for item in cli.datamodule.items] == ["sub/a", "c"]
    (odd / "again.yaml").write_text(cli.run_settings().text)
    assert parse("--config", "again.yaml").datamodule.items == cli.datamodule.items


def test_inputs_stand_before_between_and_behind_options(odd: Path) -> None:
    cli = parse("null", "--seed", "3", "#x", "--output=out", "--", "---")
    assert found(cli) == [Path("null"), Path("#x"), Path("---")]


def test_one_of_several_inputs_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"^--data\.inputs gone\.png does not exist"):
        parse("photo.png", "gone.png")


def test_names_that_are_no_text_are_refused_with_a_remedy(odd: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    (odd / name).write_bytes((odd / "photo.png").read_bytes())
    assert found(parse(name)) == [Path(name)]
    with pytest.raises(UsageError, match=r"is not in UTF-8: name its folder instead$"):
        parse("photo.png", name)


NAMED = {
    "inputs": ["--data.inputs"],
    "references": ["--data.references"],
    "output": ["--output"],
    "prior": ["--model.prior"],
    "start": ["--model.start"],
    "region": ["--model.region"],
    "kernel": ["--config", "deblur", "--model.degradation.kernel"],
    "mask": ["--config", "inpainting", "--model.degradation.source"],
}


@pytest.mark.parametrize("option", NAMED)
def test_a_name_that_no_file_can_have_is_one_sentence(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = [] if option == "inputs" else ["--data.inputs", "photo.png"]
    quiet = ["--report", "false", "--tensorboard", "false"]
    assert main(["predict", *CPU, *quiet, *inputs, *NAMED[option], "k" * 300]) == 2
    said = capsys.readouterr().err
    assert said.startswith("d2ir: ")
    assert said.count("\n") == 1
    assert "Errno" not in said


def test_a_name_with_nul_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.yaml").write_text('output: "a\\0b"\n')
    assert main(["predict", *CPU, "--data.inputs", "photo.png", "--config", "c.yaml"]) == 2
    assert "no file can have a name with a NUL" in capsys.readouterr().err

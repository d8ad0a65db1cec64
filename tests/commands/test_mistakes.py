"""What is wrong with the options is one sentence before any work."""

import os
from pathlib import Path

import pytest
from photos import files, save, save_all
from program import predict

from d2ir_pl.cli import main

MISTAKES = [
    (["--model.sigma", "0.1"], ["--model.sigma is not an option", "did you mean --model.sigma_y?"]),
    (["--data.batch", "3"], ["--data.batch is not", "did you mean --data.batch_size?"]),
    (["--modle.prior", "x"], ["--modle.prior is not", "did you mean --model.prior?"]),
    (["--entirely_different=3"], ["--entirely_different is not", "d2ir predict --help"]),
    (["photos/"], ["photos/ stands apart from --data.inputs: name all inputs behind it"]),
    (["--overwrite"], ["--overwrite has no value"]),
    (["--data.inputs"], ["--data.inputs has no value"]),
    (
        ["--model.method.estimation.stepz", "3"],
        ["--model.method.estimation.stepz is not an option of D2IR", "--model.method.help D2IR"],
    ),
    (["--model.method", "GPD"], ["--model.method GPD is unknown: did you mean GDP? Or use auto"]),
    (
        ["--model.degradation", "gausianblur"],
        ["unknown: did you mean GaussianBlur?"],
    ),
    (["--model.method.estimation.step", "3"], ["--model.method.estimation.step is not an option"]),
    (["--model.method.latent.iter", "3"], ["--model.method.latent.iter is not an option"]),
    (["--model.degradation.kern", "3"], ["--model.degradation.kern is not an option of Gaussian"]),
    (["--trainer.max_epochs", "3"], ["--trainer.max_epochs is not an option"]),
    (["--config", "typo.yaml"], ["--model.sigma is not an option", "--model.sigma_y?"]),
    (
        ["--model.degradation.kernel", "k.npy", "--config", "deblur"],
        ["--model.degradation.kernel k.npy stands before --config", "Blur", "give --config first"],
    ),
    (
        ["--model.method", "DDRM", "--config", "d2ir.yaml"],
        ["--model.method DDRM stands before --config ./d2ir.yaml, which sets it to D2IR", "first"],
    ),
    (
        ["--model.method.steps=7", "--config=d2ir.yaml"],
        ["--model.method.steps 7 stands before --config ./d2ir.yaml, which chooses D2IR as"],
    ),
    (["--config", "empty.yaml"], ["--config ./empty.yaml is empty: give a file of settings"]),
    (["--config", "list.yaml"], ["--config ./list.yaml holds no settings: give a file of"]),
    (["--config", "broken.yaml"], ["--config ./broken.yaml is not YAML in line 2", "give a file"]),
    (["--config", "nested.yaml"], ["--model.method.estimation.stepz is not an option of D2IR"]),
    (["--seed", "x"], ["d2ir: --seed x must be a whole number"]),
    (
        ["--model.method.estimation.start", "first"],
        ["d2ir: --model.method.estimation.start first must be a whole number or auto"],
    ),
    (
        ["--model.method.model_error", "little"],
        ["d2ir: --model.method.model_error little must be a number or auto"],
    ),
    (["--data.batch_size", "two"], ["--data.batch_size two must be a whole number"]),
    (["--overwrite", "maybe"], ["--overwrite maybe must be true or false"]),
    (["--model.tile", "1.5"], ["--model.tile 1.5 must be a whole number or auto"]),
    (["--model.sigma_y", "x"], ["--model.sigma_y x must be a number or null"]),
    (["--trainer.deterministic", "x"], ["x must be true, false, warn or null"]),
    (["--trainer.limit_predict_batches", "x"], ["batches x must be a number or null"]),
    (["--model.degradation", "[1]"], ["--model.degradation [1] is no class: use auto, Blur, "]),
    (
        ["--model.method.stages", "all"],
        ["--model.method.stages all is unknown: use one of both, estimation, latent"],
    ),
    (["--model.method.estimation.steps", "0"], ["--model.method.estimation.steps 0 must"]),
    (["--model.num_samples", "0"], ["d2ir: --model.num_samples 0 must be at least 1"]),
    (["--model.sigma_y", "2"], ["d2ir: --model.sigma_y 2.0 must be at least 0 and below 1"]),
    (
        ["--model.degradation.kernel_size", "4"],
        ["--model.degradation.kernel_size 4 must"],
    ),
    (["--model.degradation", "Blurr"], ["--model.degradation Blurr is unknown", "GaussianBlur"]),
    (
        ["--model.degradation", "d2ir_pl.degradations.GausianBlur"],
        ["--model.degradation d2ir_pl.degradations.GausianBlur is", "did you mean GaussianBlur?"],
    ),
    (["--model.method", "Nothing"], ["--model.method Nothing is unknown", "D2IR"]),
    (["--data.inputs", "missing"], ["d2ir: --data.inputs missing does not exist", "give a file"]),
    (["--data.references", "missing"], ["d2ir: --data.references missing is not a folder"]),
    (["--config", "folder"], ["config folder is a folder: give a YAML file"]),
    (["--config", "missing"], ["config missing does not exist", "blind_deblur"]),
    (["--config=missing.yaml"], ["config missing.yaml does not exist", "blind_deblur"]),
    (["--model.prior", "missing.pt"], ["'missing.pt' is neither a file nor", "natural-small"]),
    (["--model.prior", "imagenet-256"], ["imagenet-256", "download imagenet-256"]),
    (["--model.prior", "photo.png"], ["photo.png is not a state dict of plain", "get an intact"]),
    (
        ["--model.prior_flags.channel_mult", "[1, 2,2]"],
        ["--model.prior_flags.channel_mult [1, 2,", "is a list: write it as text, '1,2,2'"],
    ),
    (
        ["--model.prior_flags", '{"channel_mult": [1, 2, 2]}'],
        ["--model.prior_flags.channel_mult [1, 2,", "is a list: write it as text, '1,2,2'"],
    ),
    *(
        (["--trainer.precision", name], [f"--trainer.precision {name} is not", "auto, 32-true"])
        for name in ("16-true", "bf16-true", "64-true", "nonsense")
    ),
    (["--trainer.accelerator", "quantum"], ["accelerator", "quantum"]),
    (
        ["--config", "deblur", "--model.degradation.kernel", "missing.npy"],
        ["kernel file missing.npy does not exist", "give a .npy file, an image"],
    ),
]


@pytest.mark.parametrize(("options", "expected"), MISTAKES, ids=lambda o: " ".join(o)[:40])
def test_a_mistake_is_one_sentence_before_any_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    expected: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("D2IR_CACHE", str(tmp_path / "cache"))
    save(tmp_path / "photo.png")
    (tmp_path / "typo.yaml").write_text("model: {sigma: 0.1}\n")
    (tmp_path / "nested.yaml").write_text(
        "model: {method: {class_path: D2IR, init_args: {estimation: {stepz: 3}}}}\n"
    )
    (tmp_path / "d2ir.yaml").write_text("model: {method: D2IR}\n")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    (tmp_path / "list.yaml").write_text("- model\n")
    (tmp_path / "broken.yaml").write_text("model: [\n")
    (tmp_path / "folder").mkdir()
    before = files(tmp_path)
    # The wrong option comes last, so that it wins over the right one of the same name.
    right = ["--data.inputs", "photo.png", "--trainer.accelerator", "cpu"]
    assert main(["predict", "--output", "out", *right, *options]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    (line,) = error.splitlines()
    assert line.startswith("d2ir: ")
    assert len(line) < 250
    for part in expected:
        assert part in line
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["predict"], "--data.inputs: no input is given"),
        (["predict", "auto"], "auto is no input but a config: give it as --config auto"),
        (["predict", "missing.png"], "--data.inputs missing.png does not exist"),
        (["predict", "none*.png"], "--data.inputs none*.png matches no image files"),
        (["predict", "-v"], "-v is not an option"),
        (["predcit"], "'predcit' is not a command: did you mean predict?"),
        (["restore"], "'restore' is not a command: did you mean predict?"),
        (["train"], "'train' is not a command: did you mean fit?"),
        (
            ["paint"],
            "'paint' is not a command: use one of predict, propose, compare, report, serve, fit",
        ),
        (["download", "imagenet"], "'imagenet' is unknown"),
        (["download", "natural-small"], "natural-small is part of the package"),
    ],
)
def test_wrong_commands_are_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert main(arguments) == 2
    out, error = capsys.readouterr()
    assert out == ""
    (line,) = error.splitlines()
    assert line.startswith("d2ir: ")
    assert expected in line


def test_an_output_that_is_in_use_or_a_file_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.png")
    assert predict(path, path) == 2
    assert "a.png cannot be written to" in capsys.readouterr().err

    def held(*arguments: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr("fcntl.lockf", held)
    assert predict(path, tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "another run is writing to" in line
    assert not (tmp_path / "out" / "restored").exists()


def test_a_disk_that_fills_up_is_one_sentence_and_loses_nothing_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png"])
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).match("restored/b.png"):
            raise OSError(28, "No space left on device", str(target))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert predict(inputs, tmp_path / "out") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("d2ir: ")
    assert "b.png cannot be written (No space left on device)" in last
    assert files(tmp_path / "out" / "restored") == {"a.png"}
    assert predict(inputs, tmp_path / "out") == 0
    assert files(tmp_path / "out" / "restored") == {"a.png", "b.png"}


def test_a_tile_that_is_too_small_is_blamed_on_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png"])
    assert predict(inputs, tmp_path / "out", "--model.tile", "3") == 2
    error = capsys.readouterr().err.strip()
    assert error == "d2ir: --model.tile 3 must be at least 32 pixels for this prior"

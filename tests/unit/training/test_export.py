"""Priors that are exported from a training, and what is told of them."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from photos import save
from safetensors import safe_open
from training_runs import averaged, fit

from d2ir_pl.cli import main
from d2ir_pl.priors import load_prior
from d2ir_pl.priors.export import export_prior


def test_an_exported_prior_is_the_average_with_its_provenance(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.safetensors"
    about = "six rectangles, public domain"
    arguments = [str(trained / "last.ckpt"), str(file), "--dtype", "float32", "--about", about]
    assert main(["export-prior", *arguments]) == 0
    prior = load_prior(str(file))
    weights = prior.unet.state_dict()
    assert all(
        torch.equal(value, weights[name.removeprefix("average.module.")])
        for name, value in averaged(trained).items()
    )
    assert prior.schedule.T == 100
    with safe_open(file, "pt") as opened:
        training = json.loads(opened.metadata()["training"])
    assert training["steps"] == 2
    assert training["data"]["photographs"] == 5
    capsys.readouterr()
    assert main(["inspect-prior", str(file)]) == 0
    shown = capsys.readouterr().out
    for fact in ("sha256:", "parameters:", "steps: 100", "photographs: 5", about):
        assert fact in shown
    assert main(["inspect-prior", "natural-small"]) == 0
    assert "parameters: 3093123" in capsys.readouterr().out


def test_published_checkpoints_and_unknown_files_are_inspected_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("64x64_diffusion.pt", "unknown.pt"):
        torch.save({}, tmp_path / name)
    assert main(["inspect-prior", str(tmp_path / "64x64_diffusion.pt")]) == 0
    shown = capsys.readouterr().out
    for fact in ("sha256: ", "num_channels: 192", "noise_schedule: cosine", "class_cond: True"):
        assert fact in shown
    assert main(["inspect-prior", str(tmp_path / "unknown.pt")]) == 2
    assert "tells nothing of its architecture" in capsys.readouterr().err
    (tmp_path / "unknown.pt").write_text("<!DOCTYPE html><html>Sign in</html>")
    assert main(["inspect-prior", str(tmp_path / "unknown.pt")]) == 2
    assert "unknown.pt is a web page" in capsys.readouterr().err


def test_an_exported_prior_restores(trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.safetensors"
    export_prior(trained / "last.ckpt", file)
    photo = save(tmp_path / "photo.png")
    common = ["--data.inputs", str(photo), "--output", str(tmp_path / "out")]
    settings = ["--model.prior", str(file), "--model.method.estimation.start", "40"]
    settings += ["--model.method.latent.level", "20"]
    assert main(["predict", *common, *settings]) == 0
    assert (tmp_path / "out" / "restored" / "photo.png").is_file()


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def test_what_is_no_checkpoint_is_refused(
    tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "p.safetensors")
    code = tmp_path / "code.ckpt"
    code.write_bytes(pickle.dumps(Code()))
    other = tmp_path / "other.ckpt"
    torch.save({"state_dict": {}}, other)
    for arguments, message in (
        ([str(code), out], "code.ckpt is not a training checkpoint"),
        ([str(other), out], "other.ckpt holds no prior"),
        ([str(tmp_path / "none.ckpt"), out], "none.ckpt does not exist"),
        ([str(trained / "last.ckpt"), str(tmp_path / "p.pt")], "must end in .safetensors"),
        ([str(trained / "last.ckpt")], "required: output"),
    ):
        assert main(["export-prior", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not list(tmp_path.glob("*p.safetensors*"))


def test_a_checkpoint_of_anything_is_one_sentence_of_fit(
    tmp_path: Path, photographs: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = torch.load(trained / "last.ckpt", weights_only=True)
    cases: list[Any] = [b"\x80\x02]q\x00.", b"<html>", whole["state_dict"]]
    keys = ("state_dict", "loops", "optimizer_states")
    cases += [{key: value for key, value in whole.items() if key != left} for left in keys]
    cases += [whole | {key: "x"} for key in keys]
    # These are taken as they are, and fail in the first step.
    (rates,), (kept,) = whole["lr_schedulers"], whole["optimizer_states"]
    cases.append(whole | {"lr_schedulers": [rates | {"base_lrs": True}]})
    states = {**kept["state"], 0: kept["state"][0] | {"exp_avg": torch.zeros(2, 3)}}
    cases.append(whole | {"optimizer_states": [kept | {"state": states}]})
    path = tmp_path / "c.ckpt"
    refused = 0
    for i, case in enumerate(cases):
        path.write_bytes(case) if isinstance(case, bytes) else torch.save(case, path)
        options = ("--ckpt_path", str(path), "--trainer.max_steps=2")
        status = fit(photographs, tmp_path / f"out{i}", *options)
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert "Traceback" not in error
        refused += status
        assert status == 0 or error.startswith(f"d2ir: --ckpt_path {path} cannot be gone on from")
    assert refused >= 2 * (len(cases) - 2)

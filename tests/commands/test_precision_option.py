"""The precision that the prior computes in, as the user sets it."""

import json
from pathlib import Path

import pytest
import yaml
from photos import save, save_all
from program import predict

from d2ir_pl.priors.network import NetworkPrior


@pytest.fixture
def slow_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without arithmetic for half precision, on which nothing is computed in it."""
    monkeypatch.setattr("d2ir_pl.priors.precision.computes_in_bfloat16", lambda device: False)
    monkeypatch.setattr(NetworkPrior, "cast", lambda self, dtype: self)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_a_precision_that_is_slow_here_is_respected_with_a_sentence(
    slow_cpu: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], precision: str
) -> None:
    save(tmp_path / "a.png")
    options = ["--trainer.precision", precision, "--tensorboard", "false"]
    assert predict(tmp_path / "a.png", tmp_path / "out", *options) == 0
    sentence, *others = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"--trainer.precision {precision} will be very slow")
    assert sentence.endswith("use auto or 32-true")
    assert not [line for line in others if "very slow" in line]
    record = json.loads((tmp_path / "out" / "degradation" / "a.json").read_text())
    assert record["precision"] == "bf16-mixed"  # Lightning knows no fp16 on a CPU

    # Where nothing is left to do there is nothing to wait for.
    assert predict(tmp_path / "a.png", tmp_path / "out", *options) == 0
    assert "very slow" not in capsys.readouterr().err


def test_auto_is_kept_in_the_settings_and_the_record_tells_what_it_was(
    slow_cpu: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "a.png")
    assert predict(tmp_path / "a.png", tmp_path / "out", "--trainer.precision", "auto") == 0
    assert "very slow" not in capsys.readouterr().err
    saved = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert saved["trainer"]["precision"] == "auto"
    record = json.loads((tmp_path / "out" / "degradation" / "a.json").read_text())
    assert record["precision"] == "32-true"


def test_auto_goes_on_on_other_hardware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(NetworkPrior, "cast", lambda self, dtype: self)
    inputs = save_all(tmp_path / "in", ["a.png"])
    for fast in (False, True):
        monkeypatch.setattr(
            "d2ir_pl.priors.precision.computes_in_bfloat16", lambda device, f=fast: f
        )
        assert predict(inputs, tmp_path / "out", "--trainer.precision", "auto") == 0
        save(inputs / "b.png", 1)
    assert "1 of 2 images are complete: skipped" in capsys.readouterr().err
    precisions = [
        json.loads((tmp_path / "out" / "degradation" / f"{name}.json").read_text())["precision"]
        for name in "ab"
    ]
    assert precisions == ["32-true", "bf16-mixed"]

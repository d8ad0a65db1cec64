"""What `predict` says of large photos before it loads what restores them."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from d2ir_pl.commands import foreword
from d2ir_pl.commands.foreword import foretold
from d2ir_pl.shipped import durations
from d2ir_pl.shipped.durations import in_time, usual_seconds


@pytest.fixture(autouse=True)
def cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreword, "_may_have_an_accelerator", lambda: False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("a.jpg", "deep/b.png"):
        Image.new("L", (4000, 3000)).save(tmp_path / "in" / name)
    (tmp_path / "in" / "clip.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    return tmp_path / "in"


@pytest.mark.parametrize(
    ("options", "times"),
    [
        ([], 1),
        (["--config", "fast"], 5 / 8),
        (["--config", "best"], 4),
        (["--config=denoising", "--trainer.accelerator", "cpu"], 0.3),
    ],
)
def test_a_folder_is_told_of(
    options: list[str], times: float, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert foretold([str(folder), "--output", str(folder / "out"), *options]) == 24_000_000
    about = in_time(times * usual_seconds(24_000_000))
    said = capsys.readouterr().err
    assert said.startswith(f"the photos have 24 megapixels: about {about} on the ")


@pytest.mark.parametrize(
    ("flags", "precision", "share"),
    [
        ("fma avx512_bf16", "auto", 3 / 4),
        ("amx_bf16", "bf16-mixed", 3 / 4),
        ("avx512_bf16", "32-true", 1),
        ("avx2 fma", "auto", 1),
    ],
)
def test_a_processor_with_arithmetic_for_bfloat16_takes_less(
    flags: str, precision: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"flags : fpu {flags}\n")
    monkeypatch.setattr(durations, "cores", lambda: 2)
    assert usual_seconds(12_000_000, precision) == pytest.approx(240 * share)


def test_it_is_said_before_anything_heavy_is_imported(folder: Path) -> None:
    code = (
        "import sys; from d2ir_pl.cli import main; from d2ir_pl.commands.foreword import foretold; "
        f"foretold([{str(folder / 'a.jpg')!r}]); "
        "print([m for m in ('torch', 'numpy', 'PIL', 'pytorch_lightning') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr.startswith("the photo has 12 megapixels")


@pytest.mark.parametrize(
    "options",
    [
        ["--data.limit", "1"],
        ["--model.region", "mask.png"],
        ["--progress", "none"],
        ["--print_config"],
        ["--config", "no_such_config"],
        ["--data.inputs", "another"],
    ],
)
def test_what_is_not_plain_is_left_to_the_command(
    options: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert foretold([str(folder), "--output", str(folder / "out"), *options]) == 0
    assert capsys.readouterr().err == ""


def test_a_second_run_counts_what_is_left_itself(folder: Path) -> None:
    (folder / "out" / "restored").mkdir(parents=True)
    assert foretold([str(folder), "--output", str(folder / "out")]) == 0


def test_a_gpu_is_not_told_the_time_of_a_cpu(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreword, "_may_have_an_accelerator", lambda: True)
    foretold([str(folder), "--output", str(folder / "out")])
    assert capsys.readouterr().err == "the photos have 24 megapixels\n"

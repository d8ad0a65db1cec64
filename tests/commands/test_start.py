"""What answers at once: commands that only read results import neither PyTorch nor Lightning."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from photos import photo
from repository import ROOT

import d2ir_pl
from d2ir_pl.cli import COMMANDS
from d2ir_pl.image_io import Photo
from d2ir_pl.reports.pictures import read_picture
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.pictures import Pictures, write_previews, write_result
from d2ir_pl.results.record import Record

HEAVY = {"torch", "pytorch_lightning", "lightning_fabric", "jsonargparse", "tensorboard"}


def imported(*command: str, folder: Path | None = None) -> set[str]:
    """The top packages that Python imports for a command, which must succeed."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", *command],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    lines = [line for line in run.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two photos, one of which has 16 bits."""
    folder = ResultFolder(tmp_path_factory.mktemp("results"))
    folder.prepare()
    for name, bits in (("a", 8), ("b", 16)):
        pictures = Pictures(Photo(photo(bits), bit_depth=bits), photo(1)[0].clamp(0, 1))
        write_result(folder, Record(name, "restored", "settings", name, psnr=30.0), pictures)
        picture = read_picture(folder.restored(name))
        assert picture is not None
        write_previews(folder, name, picture, picture)
    (folder.root / "config.yaml").write_text("model: {sigma_y: 0.1}\n")
    return folder.root


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["help", "fit"],
        ["predict", "--help"],
        ["compare", "--help"],
        ["compare", "results", "results"],
        ["report", "--help"],
        ["report", "results"],
    ],
    ids=" ".join,
)
def test_what_only_reads_starts_without_pytorch(results: Path, arguments: list[str]) -> None:
    arguments = [str(results) if argument == "results" else argument for argument in arguments]
    packages = imported(str(ROOT / "cli.py"), *arguments)
    assert "d2ir_pl" in packages
    assert not packages & HEAVY


def test_the_package_is_a_program_too() -> None:
    assert not imported("-m", "d2ir_pl", "--version") & HEAVY


def test_restore_is_imported_when_it_is_used() -> None:
    assert not imported("-c", "import d2ir_pl; d2ir_pl.__version__") & HEAVY
    assert "torch" in imported("-c", "from d2ir_pl import restore; assert callable(restore)")


def test_other_names_are_unknown() -> None:
    with pytest.raises(AttributeError, match="module 'd2ir_pl' has no attribute 'restoer'"):
        getattr(d2ir_pl, "restoer")  # noqa: B009


def test_every_command_is_where_the_table_says() -> None:
    for command in COMMANDS.values():
        module = importlib.import_module(f"d2ir_pl.commands.{command.module}")
        assert callable(getattr(module, command.function))

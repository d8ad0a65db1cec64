"""What may not be read or written is named in one sentence each, and costs no more than itself."""

import ctypes
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from photos import files, save_all
from program import predict
from repository import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="drops rights as Linux has them")

QUICK = [
    *("--model.method.stages", "estimation", "--model.method.estimation.steps", "2"),
    *("--trainer.accelerator", "cpu", "--trainer.precision", "32-true"),
]

PROGRAM = """
import contextlib, io, json, sys
from d2ir_pl.cli import main
said = io.StringIO()
with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
    status = main(json.loads(sys.argv[1]))
print(json.dumps([status, said.getvalue()]))
"""


def told(*arguments: str) -> tuple[int, str]:
    """The exit status of a command and what it says, as someone who is not root."""

    def without_rights() -> None:
        with suppress(Exception):  # permissions hold for root, too
            for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
                ctypes.CDLL(None).prctl(24, right, 0, 0, 0)

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=without_rights,
        check=True,
    )
    status, said = json.loads(done.stdout)
    assert "Traceback" not in said
    return int(status), " ".join(said.split())


@contextmanager
def with_mode(path: Path, mode: int) -> Iterator[None]:
    """A file or folder that has other permissions inside."""
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the photos `a` and `sub/b`, and what was made of them."""
    root = tmp_path_factory.mktemp("results")
    save_all(root / "in", ["a.png", "sub/b.png"])
    assert predict(root / "in", root / "out", *QUICK) == 0
    return root


@pytest.mark.parametrize(("mode", "failed"), [(0o444, "sub/b"), (0o000, "sub")])
def test_a_folder_that_may_not_be_entered_costs_the_photos_in_it(
    tmp_path: Path, results: Path, mode: int, failed: str
) -> None:
    shutil.copytree(results / "in", tmp_path / "in")
    where = ["--data.inputs", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    with with_mode(tmp_path / "in" / "sub", mode):
        status, said = told("predict", *where, *QUICK)
    assert status == 1
    assert f"failed: {failed}: " in said
    assert "Permission denied" in said
    assert files(tmp_path / "out" / "restored") == {"a.png"}
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_results_that_may_not_be_read_are_not_called_missing(results: Path, mode: int) -> None:
    output = str(results / "out")
    with with_mode(results / "out", mode):
        for command in (["report", output], ["compare", output, output]):
            status, said = told(*command)
            assert status == 2
            assert said.startswith(
                f"d2ir: {output}/degradation cannot be listed (Permission denied)"
            )


def test_results_are_shown_without_photos_that_may_not_be_read_any_more(results: Path) -> None:
    with with_mode(results / "in", 0o000):
        status, said = told("report", str(results / "out"))
    assert (status, said) == (0, str(results / "out" / "report.html"))


def test_a_folder_in_place_of_an_account_is_named(
    tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = Path(shutil.copytree(results / "out", tmp_path / "out"))
    account = output / "degradation" / "a.json"
    account.unlink()
    account.mkdir()
    assert predict(results / "in", output, *QUICK) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"1 image has no result (a): move the folder {account} away, and run" in said
    account.rmdir()
    assert predict(results / "in", output, *QUICK) == 0


def test_an_output_that_is_a_file_is_told_so(
    tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out.png").write_bytes(b"mine")
    assert predict(results / "in", tmp_path / "out.png", *QUICK) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "cannot be written to (it is a file): choose another folder" in said
    assert (tmp_path / "out.png").read_bytes() == b"mine"


def test_an_output_that_is_a_link_to_nothing_is_told_so(
    tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    assert predict(results / "in", tmp_path / "out", *QUICK) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "cannot be written to (it is a link that leads nowhere): choose another folder" in said

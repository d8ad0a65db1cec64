"""What may not be read or written is named in one sentence each, and costs no more than itself."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from forks import Programs
from photos import files, save_all
from program import predict
from repository import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="drops rights as Linux has them")

QUICK = [
    *("--model.method.stages", "estimation", "--model.method.estimation.steps", "2"),
    *("--trainer.accelerator", "cpu", "--trainer.precision", "32-true"),
]

PROGRAM = """
import ctypes, sys
from d2ir_pl.cli import main
# Permissions hold for root too, without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
rights, mine = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 2)(0x20080522, 0)
system = ctypes.CDLL(None)
assert system.capget(mine, rights) == 0
rights[0] &= ~0b110
assert system.capset(mine, rights) == 0
sys.exit(main())
"""


Told = Callable[..., tuple[int, str]]


@pytest.fixture
def told(tmp_path: Path, programs: Programs) -> Told:
    """The exit status of a command and what it says, as someone who is not root."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)

    def told(*arguments: str) -> tuple[int, str]:
        done = programs.run([script, *arguments], cwd=ROOT)
        said = done.stdout + done.stderr
        assert "Traceback" not in said
        return done.returncode, " ".join(said.split())

    return told


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
    tmp_path: Path, results: Path, told: Told, mode: int, failed: str
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
def test_results_that_may_not_be_read_are_not_called_missing(
    results: Path, told: Told, mode: int
) -> None:
    output = str(results / "out")
    with with_mode(results / "out", mode):
        for command in (["report", output], ["compare", output, output]):
            status, said = told(*command)
            assert status == 2
            assert said.startswith(
                f"d2ir: {output}/degradation cannot be listed (Permission denied)"
            )


def test_results_are_shown_without_photos_that_may_not_be_read_any_more(
    results: Path, told: Told
) -> None:
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

"""What reaches a terminal: text, whatever names and metadata hold."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from photos import save, save_all
from program import predict

from d2ir_pl.cli import main
from d2ir_pl.console import plain

HOSTILE = "a\x1b[31m\x9b2J\a\u202egnp\u2066\udcff"


def test_commands_of_terminals_are_written_out() -> None:
    shown = plain(HOSTILE)
    assert shown == "a\\x1b[31m\\x9b2J\\x07\\u202egnp\\u2066\\udcff"
    assert plain(shown) == shown
    usual = "Straße 日本 👩‍👧 naïve\n\ta [b] می‌خواهم"
    assert plain(usual) == usual


def test_names_of_files_reach_the_terminal_as_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "a\x1b[31m\x9b2J\u202egnp"
    save_all(tmp_path / "in", ["b.png"])
    (tmp_path / "in" / f"{name}.png").write_bytes(b"no image")
    for folder in ("one", f"two{name}"):
        assert predict(tmp_path / "in", tmp_path / folder) == 1
    (tmp_path / "one" / "degradation" / f"{name}.json").write_text("{")
    main(["report", str(tmp_path / "one")])
    main(["report", str(tmp_path / f"two{name}")])
    main(["compare", str(tmp_path / "one"), str(tmp_path / f"two{name}"), "--markdown"])
    main(["propose", str(tmp_path / "in" / f"{name}.png")])
    main([f"pre{name}"])
    shown = "".join(capsys.readouterr())
    assert "gnp" in shown
    assert not set(shown) & {"\x1b", "\x9b", "\u202e"}


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.4, 1.0])
def test_ctrl_c_while_modules_are_imported_is_one_sentence(tmp_path: Path, seconds: float) -> None:
    program = [sys.executable, "-m", "d2ir_pl", "predict", str(save(tmp_path / "a.png"))]
    process = subprocess.Popen(
        program, cwd=tmp_path, stderr=subprocess.PIPE, env={**os.environ, "COLUMNS": "80"}
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in error

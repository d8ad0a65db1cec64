"""What a shell offers when Tab is pressed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from d2ir_pl.cli import COMMANDS, main
from d2ir_pl.commands.completion import SHELLS
from d2ir_pl.shipped.files import config_names

pytest.importorskip("shtab")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script for bash, in a folder with a photo and a YAML file."""
    folder = tmp_path_factory.mktemp("completion")
    with pytest.MonkeyPatch.context() as patch, (folder / "d2ir.bash").open("w") as file:
        patch.setattr("sys.stdout", file)
        assert main(["completion", "bash"]) == 0
    (folder / "photo.png").touch()
    (folder / "mine.yaml").touch()
    return folder / "d2ir.bash"


def offered(script: Path, line: str) -> set[str]:
    """What bash offers at the end of a line, with the script and without the program."""
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    ask = (
        f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; "
        f"COMP_LINE='{line}'; COMP_POINT={len(line)}; "
        f"_shtab_d2ir d2ir '{words[-1]}' '{words[-2]}'; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    run = subprocess.run(
        ["bash", "--norc", "-c", ask],
        capture_output=True,
        text=True,
        cwd=script.parent,
        env={"PATH": os.environ["PATH"]},
        timeout=20,
    )
    assert run.stderr == ""
    return set(run.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("line", "expected", "absent"),
    [
        ("d2ir ", {*COMMANDS, "help"}, set()),
        ("d2ir pre", {"predict"}, {"fit"}),
        ("d2ir predict --data.in", {"--data.inputs"}, {"--data.limit"}),
        ("d2ir predict --config ", {*config_names(), "mine.yaml"}, set()),
        ("d2ir predict --config low", {"low_light"}, {"jpeg"}),
        ("d2ir predict --model.method ", {"D2IR", "GDP", "auto"}, {"Blur"}),
        ("d2ir predict --model.method.est", {"--model.method.estimation.steps"}, set()),
        ("d2ir predict --overwrite ", {"true", "false"}, set()),
        ("d2ir predict --output ou", set(), {"--overwrite"}),
        ("d2ir predict ph", {"photo.png"}, set()),
        ("d2ir predict --seed 1 --data.inputs ph", {"photo.png"}, set()),
        (
            "d2ir fit --trainer.max",
            {"--trainer.max_steps", "--trainer.max_epochs"},
            {"--trainer.devices"},
        ),
        ("d2ir fit --model.timesteps ", {"uniform", "importance"}, set()),
        ("d2ir compare --m", {"--markdown"}, set()),
        ("d2ir propose ph", {"photo.png"}, set()),
        ("d2ir download imagenet-2", {"imagenet-256"}, set()),
        ("d2ir completion ", set(SHELLS), set()),
    ],
)
def test_bash_offers(script: Path, line: str, expected: set[str], absent: set[str]) -> None:
    found = offered(script, line)
    assert expected <= found
    assert not absent & found


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_scripts_of_other_shells_hold_the_same_words(
    shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("max_steps", "low_light", "inspect-prior", "GDP"))
    if shutil.which(shell):
        (tmp_path / "script").write_text(text)
        assert subprocess.run([shell, "-n", str(tmp_path / "script")]).returncode == 0


def test_a_shell_that_is_not_known_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "dash"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "dash" in line
    assert "bash" in line

"""`predict --sweep`: the same photos under several settings, one after the other or as an array."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from photos import save
from program import accumulate
from repository import DOCS, ROOT
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from d2ir_pl.cli import main
from d2ir_pl.commands.sweep import asked, runs_in
from d2ir_pl.errors import InputError, UsageError

FEW = "model.method.estimation.steps"


def written(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def table(output: Path) -> list[dict[str, str]]:
    with (output / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_runs_are_a_list_or_all_combinations(tmp_path: Path) -> None:
    listed = [{"name": "a", FEW: 2}, {"config": "fast"}, {}]
    runs = runs_in(written(tmp_path / "list.yaml", listed))
    assert [run.name for run in runs] == ["a", "config=fast", "base"]
    assert runs[0].arguments == [f"--{FEW}", "2"]
    grid = {FEW: [2, 3], "model.second_opinion": [True, False]}
    names = [run.name for run in runs_in(written(tmp_path / "grid.yaml", grid))]
    assert names == [f"steps={n}+second_opinion={v}" for n in (2, 3) for v in ("true", "false")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text", "neither a list of runs nor a mapping"),
        ([], "has 0 runs"),
        ([3], "no run"),
        ({FEW: 3}, "no list of values"),
        ({FEW: []}, "no list of values"),
        ([{"name": "a"}, {"name": "a"}], "two runs called a"),
        ([{"name": "../a"}], "give it a name of letters"),
        ([{"output": "x"}], "sets output, which all runs share"),
    ],
)
def test_a_file_that_describes_no_runs_is_named(
    tmp_path: Path, content: object, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        runs_in(written(tmp_path / "sweep.yaml", content))
    with pytest.raises(InputError, match="does not exist"):
        runs_in(tmp_path / "missing.yaml")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- {name: a, seed: 1, seed: 2}", "sets seed twice, of which only one can hold"),
        ("- {name: a, seed: [1", "is not YAML"),
        ("- {name: 'größer}", "is not YAML"),
    ],
)
def test_what_is_no_yaml_is_named(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=f"sweep.yaml {reason}"):
        runs_in(file)


def test_the_options_of_a_sweep_are_told_apart_from_those_of_its_runs() -> None:
    words = ["photos/", "--sweep=s.yaml", "--output", "out", "--seed", "3", "--sweep_index", "1"]
    request = asked(words)
    assert request is not None
    assert (request.index, request.output) == (1, Path("out"))
    assert request.arguments == ["photos/", "--seed", "3"]
    assert asked(["photos/", "--output", "out"]) is None
    for wrong in (["--sweep_index", "1"], ["--sweep", "s", "--sweep_index", "x"], ["--sweep"]):
        with pytest.raises(UsageError):
            asked(wrong)


def test_a_sweep_restores_under_each_setting_and_makes_one_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "in" / "a.png", 1, 24, 24)
    runs = [{"name": "two", FEW: 2}, {"name": "three", FEW: 3}, {"name": "none", FEW: 0}]
    sweep = str(written(tmp_path / "sweep.yaml", runs))
    out = tmp_path / "out"
    shared = ["predict", "--data.inputs", str(tmp_path / "in"), "--output", str(out)]
    shared += ["--data.degrade", "true", "--report", "false", "--sweep", sweep]
    # As an array of jobs would, one of them first.
    assert main([*shared, "--sweep_index", "1"]) == 0
    assert not (out / "sweep.csv").exists()
    before = (out / "three" / "degradation" / "a.json").stat().st_mtime_ns
    # The run that cannot be done is named, and the others are done.
    assert main(shared) == 2
    told = capsys.readouterr()
    assert "none: " in told.err
    assert "steps" in told.err
    rows = table(out)
    assert [(row["run"], row["restored"], row["nfe"]) for row in rows] == [
        ("two", "1", "2"),
        ("three", "1", "3"),
        ("none", "0", ""),
    ]
    assert all(float(row["psnr"]) > 5 for row in rows[:2])
    assert (out / "three" / "degradation" / "a.json").stat().st_mtime_ns == before
    assert "| two | 1 | 0 |" in told.out
    # The row of each run in the HPARAMS tab is that of the table.
    for row, steps in zip(rows[:2], (2, 3), strict=True):
        session = accumulate(out / row["run"] / "tensorboard" / "means")
        (settings,) = (
            HParamsPluginData.FromString(about.plugin_data.content).session_start_info.hparams
            for tag, about in session.summary_metadata.items()
            if tag.endswith("session_start_info")
        )
        assert settings[FEW].number_value == steps == float(row[FEW])
        for name in ("psnr", "ssim", "nfe"):
            (mean,) = session.Scalars(f"mean/{name}")
            assert mean.value == pytest.approx(float(row[name]), rel=1e-3)
    assert main([*shared, "--sweep_index", "7"]) == 2
    assert "beyond the 3 runs" in capsys.readouterr().err


@pytest.mark.slow
def test_the_documented_array_of_jobs_runs_here(tmp_path: Path) -> None:
    """The lines of the documentation, with the variable that SLURM sets for each job."""
    text = (DOCS / "scaling.md").read_text(encoding="utf-8")
    script = next(s for s in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) if "--array" in s)
    (entries,) = (s for s in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "name: few" in s)
    (tmp_path / "sweep.yaml").write_text(entries)
    for folder in ("photos", "clean"):
        save(tmp_path / folder / "a.png", 1, 24, 24)
    script = script.replace("python cli.py", f"{sys.executable} {ROOT / 'cli.py'}")
    for task in ("0", "1"):
        environment = {**os.environ, "SLURM_ARRAY_TASK_ID": task, "PYTHONPATH": str(ROOT)}
        subprocess.run(["bash", "-ec", script], cwd=tmp_path, env=environment, check=True)
    output = tmp_path / "results" / "sweep"
    assert sorted(folder.name for folder in output.iterdir()) == ["base", "few"]
    for name in ("base", "few"):
        assert (output / name / "restored" / "a.png").is_file()

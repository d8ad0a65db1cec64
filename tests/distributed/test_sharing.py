"""Two processes share the images of a run."""

import csv
from pathlib import Path

from forks import Programs
from photos import save_all
from program import QUICK, predict, state_of, table

from d2ir_pl.image_io import read_image


def test_two_processes_share_the_images_and_report_once(tmp_path: Path, programs: Programs) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png", "c.png", "d.png"])
    assert predict(inputs, tmp_path / "out") == 0
    folder = tmp_path / "out" / "restored"
    before = {name: (read_image(folder / name).pixels, v) for name, v in state_of(folder).items()}
    for name in ("b.png", "d.png"):
        (folder / name).unlink()
    (inputs / "c.png").write_text("no image")
    script = tmp_path / "run.py"
    script.write_text("import sys; from d2ir_pl.cli import main; sys.exit(main())")
    where = ["--data.inputs", str(inputs), "--output", str(tmp_path / "out")]
    where += ["--trainer.logger=CSVLogger", f"--trainer.logger.save_dir={tmp_path}"]
    where += ["--trainer.logger.name=logs", "--trainer.logger.version=", "--tensorboard=true"]
    run = programs.run([script, "predict", *where, *QUICK, "--trainer.devices", "2"])
    assert run.returncode == 1, run.stderr
    assert run.stderr.count("2 restored, 1 skipped (complete already), 1 failed") == 1
    assert "c.png is not a PNG" in run.stderr
    assert "Traceback" not in run.stderr
    after = state_of(folder)
    assert after["a.png"] == before["a.png"][1]
    for name in ("b.png", "d.png"):
        # Within 1e-4 of the range, and the rounding of 16 bits.
        assert (read_image(folder / name).pixels - before[name][0]).abs().max() <= 2e-4 + 4e-5
    assert set(table(tmp_path / "out")) == set("abcd")
    assert len(list((tmp_path / "out" / "tensorboard" / "means").iterdir())) == 1
    with (tmp_path / "logs" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # The first process logs what the second one has restored, too.
    assert [row["name"] for row in rows if row["score/nfe"]] == ["b", "d"]
    assert [row["step"] for row in rows] == [str(i) for i in range(len(rows))]

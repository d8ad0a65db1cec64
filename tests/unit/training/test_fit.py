"""The command that trains a prior: what is learned, and that nothing is lost on the way."""

from pathlib import Path
from typing import Any

import pytest
import torch
from forks import Programs
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_runs import TINY, averaged, curves, fit

from d2ir_pl.training.module import PriorTrainingModule


@pytest.mark.parametrize(("precision", "slow"), [("auto", False), ("bf16-mixed", True)])
def test_training_says_its_precision_and_whether_it_is_slow(
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    precision: str,
    slow: bool,
) -> None:
    monkeypatch.setattr("d2ir_pl.priors.precision.computes_in_bfloat16", lambda device: False)
    options = ["--trainer.max_steps=1", "--trainer.val_check_interval=2", "--data.batch_size=1"]
    options += ["--data.patch_size=8", f"--trainer.precision={precision}"]
    assert fit(photographs, tmp_path / "out", *options) == 0
    error = capsys.readouterr().err
    assert f"million parameters in {'bf16-mixed' if slow else '32-true'}\n" in error
    assert (f"--trainer.precision {precision} will be very slow" in error) == slow


@pytest.mark.slow
def test_a_resumed_run_is_the_run_that_was_not_stopped(photographs: Path, tmp_path: Path) -> None:
    options = ["--trainer.val_check_interval=3", "--model.timesteps=importance"]
    options += ["--model.unet.dropout=0.2", "--trainer.log_every_n_steps=2"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert fit(photographs, whole, *options, "--trainer.max_steps=7") == 0
    assert fit(photographs, parts, *options, "--trainer.max_steps=5", "--model.decay_steps=0") == 0
    resume = ["--trainer.max_steps=7", "--model.decay_steps=0", "--ckpt_path", "last"]
    again = tmp_path / "again"
    assert fit(photographs, again, *options, *resume[:2]) == 0
    assert fit(photographs, parts, *options, *resume) == 0
    # Without a decay, which depends on the last step, both are the same to the last bit.
    assert curves(parts)["train/loss"] == curves(again)["train/loss"]
    assert curves(parts)["val/loss_t005"] == curves(again)["val/loss_t005"]
    one, other = averaged(parts), averaged(again)
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert [step for step, _ in curves(whole)["train/loss"]] == [2, 4, 6]


def test_tensorboard_shows_losses_by_level_samples_and_denoised_patches(
    photographs: Path, tmp_path: Path
) -> None:
    options = ["--trainer.max_steps=4", "--trainer.val_check_interval=2"]
    assert fit(photographs, tmp_path / "out", *options, "--model.unet.learn_sigma=true") == 0
    found = curves(tmp_path / "out")
    assert {"train/loss", "train/lr", "val/loss_t005", "val/loss_t080"} <= set(found)
    assert len([tag for tag in found if tag.startswith("train/loss_t")]) == 10
    assert [step for step, _ in found["val/loss"]] == [2, 4]
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard"), {"images": 0})
    events.Reload()
    tags = events.Tags()["images"]
    assert any(tag.startswith("samples") for tag in tags)
    assert any(tag.startswith("noisy | denoised | clean/t005") for tag in tags)


@pytest.mark.slow
def test_training_lowers_the_loss(photographs: Path, tmp_path: Path) -> None:
    options = ["--trainer.max_steps=60", "--trainer.val_check_interval=60", "--model.lr=0.002"]
    assert fit(photographs, tmp_path / "out", *options, "--trainer.log_every_n_steps=10") == 0
    losses = [value for _, value in curves(tmp_path / "out")["train/loss"]]
    assert losses[-1] < 0.5 * losses[0]


def test_gradients_of_several_batches_can_be_summed(photographs: Path, tmp_path: Path) -> None:
    common = ["--trainer.max_steps=3", "--trainer.val_check_interval=4"]
    summed = ["--data.batch_size=2", "--trainer.accumulate_grad_batches=2"]
    assert fit(photographs, tmp_path / "a", *common) == 0
    assert fit(photographs, tmp_path / "b", *common, *summed) == 0
    a, b = averaged(tmp_path / "a"), averaged(tmp_path / "b")
    assert all(torch.allclose(value, b[name], atol=1e-4) for name, value in a.items())


@pytest.mark.distributed
def test_two_processes_learn_what_one_does(
    photographs: Path, tmp_path: Path, programs: Programs
) -> None:
    common = ["--trainer.max_steps=3", "--trainer.val_check_interval=3"]
    assert fit(photographs, tmp_path / "one", *common) == 0
    script = tmp_path / "run.py"
    script.write_text("import sys; from d2ir_pl.cli import main; sys.exit(main())")
    where = ["--data.inputs", str(photographs), "--output", str(tmp_path / "two")]
    both = ["--data.batch_size=2", "--trainer.devices=2"]
    run = programs.run([script, "fit", *TINY, *where, *common, *both], spare=1)
    assert run.returncode == 0, run.stderr
    assert run.stderr.count("trained 3 steps") == 1
    one, two = averaged(tmp_path / "one"), averaged(tmp_path / "two")
    assert all(torch.allclose(value, two[name], atol=1e-4) for name, value in one.items())
    losses = [[v for _, v in curves(tmp_path / n)["train/loss"]] for n in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ckpt_path", "nowhere.ckpt"], "nowhere.ckpt does not exist"),
        (["--data.patch_size=18", "--model.unet.channel_mult=1,1,1"], "multiple of 4"),
        (["--model.lr=-1"], "lr -1.0 must be above 0"),
        (["--model.lrr=1"], "--model.lrr is not an option"),
        (["--model.deepen=1"], "give it as init_from"),
        (["--model.unet.class_cond=true"], "class_cond true cannot be trained here"),
        (["--trainer.precision=bf16-true"], "bf16-true is not supported"),
        (["--trainer.max_steps=0"], "max_steps 0 must be at least 1"),
        (["--trainer.max_steps=-1"], "max_steps -1 must be at least 1"),
        (["--trainer.max_epochs=0"], "max_epochs 0 must be at least 1"),
        (["--checkpoint_minutes=0"], "checkpoint_minutes 0.0 must be positive"),
        (["--model.init_from=nothing"], "'nothing' is neither a file nor one of"),
        (["--model.unet.attention_resolutions=a"], "attention_resolutions 'a' must be"),
    ],
)
def test_a_mistake_is_one_sentence(
    photographs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    assert fit(photographs, tmp_path / "out", *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.splitlines()[-1].startswith("d2ir: ")
    assert "Traceback" not in error


def test_a_finished_run_is_not_overwritten(
    trained: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained / "last.ckpt").read_bytes()
    assert fit(photographs, trained) == 2
    assert "go on from it with --ckpt_path last" in capsys.readouterr().err
    assert (trained / "last.ckpt").read_bytes() == before


def test_stopping_keeps_the_last_step(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = PriorTrainingModule.training_step

    def interrupted(self: PriorTrainingModule, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == 3:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    monkeypatch.setattr(PriorTrainingModule, "training_step", interrupted)
    assert fit(photographs, tmp_path / "out", "--trainer.val_check_interval=9") == 130
    assert torch.load(tmp_path / "out" / "last.ckpt", weights_only=True)["global_step"] == 3


def test_checkpoints_are_written_at_intervals_of_time_and_never_of_broken_weights(
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    losses = PriorTrainingModule.losses

    def broken(self: PriorTrainingModule, *inputs: Any) -> Any:
        mse, bound = losses(self, *inputs)
        return mse * float("nan") if self.global_step == 3 else mse, bound

    monkeypatch.setattr(PriorTrainingModule, "losses", broken)
    options = ["--trainer.val_check_interval=9", "--checkpoint_minutes=1e-9"]
    assert fit(photographs, tmp_path / "out", *options) == 2
    assert "no longer a number at step 4" in capsys.readouterr().err
    kept = torch.load(tmp_path / "out" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 3
    assert all(bool(v.isfinite().all()) for v in averaged(tmp_path / "out").values())

"""A training that is asked to end keeps a step as a whole, and goes on from there."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import averaged, fit

from d2ir_pl.training.module import PriorTrainingModule

OPTIONS = ["--trainer.val_check_interval=9", "--trainer.max_steps=5"]


def signalled(monkeypatch: pytest.MonkeyPatch, numbers: list[signal.Signals], at: int) -> None:
    """Let signals come while the optimiser moves the weights of a step."""
    optimizer_step = PriorTrainingModule.optimizer_step

    def disturbed(self: PriorTrainingModule, *arguments: Any, **options: Any) -> None:
        if self.global_step == at:
            for number in numbers:
                signal.raise_signal(number)
        optimizer_step(self, *arguments, **options)

    monkeypatch.setattr(PriorTrainingModule, "optimizer_step", disturbed)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_step_at_hand_is_finished_and_gone_on_from(
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    status: int,
) -> None:
    assert fit(photographs, tmp_path / "whole", *OPTIONS) == 0
    with monkeypatch.context() as patch:
        signalled(patch, [number], at=2)
        assert fit(photographs, tmp_path / "out", *OPTIONS) == status
    error = capsys.readouterr().err
    assert error.count("ending after this step; Ctrl-C once more ends at once") == 1
    kept = "the last checkpoint is kept, and --ckpt_path last goes on from it"
    assert error.endswith(f"stopped; {kept}\n")
    saved = torch.load(tmp_path / "out" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3
    # The system starts the same command again.
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert fit(photographs, tmp_path / "out", *OPTIONS) == 0
    expected = averaged(tmp_path / "whole")
    found = averaged(tmp_path / "out")
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_who_does_not_wait_keeps_no_weights_that_were_moved_in_part(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = torch.optim.AdamW.step

    def half(self: torch.optim.AdamW, closure: Any) -> Any:
        result = step(self, closure)
        if self.state and all(int(s["step"]) == 3 for s in self.state.values()):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(torch.optim.AdamW, "step", half)
    assert fit(photographs, tmp_path / "out", *OPTIONS) == 130
    assert not (tmp_path / "out" / "last.ckpt").exists()

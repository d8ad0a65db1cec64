"""Training of priors: what is drawn, what is learned, and that nothing is lost on the way."""

import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photos import save, save_all
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from d2ir_pl.cli import main
from d2ir_pl.diffusion import Schedule
from d2ir_pl.errors import InputError
from d2ir_pl.priors import UNetFlags, UNetPrior, load_prior
from d2ir_pl.priors.export import export_prior
from d2ir_pl.priors.growth import deepen
from d2ir_pl.priors.guided_diffusion import VarianceBound
from d2ir_pl.training.data import PriorDataModule
from d2ir_pl.training.module import PriorTrainingModule
from d2ir_pl.training.timesteps import importance_timesteps

TINY = [
    "--model.unet.image_size=16",
    "--model.unet.num_channels=32",
    "--model.unet.num_res_blocks=1",
    "--model.unet.channel_mult=1,1",
    "--model.unet.diffusion_steps=100",
    "--data.patch_size=16",
    "--data.val_patch_size=16",
    "--data.batch_size=4",
    "--data.num_workers=0",
    "--model.warmup_steps=2",
    "--model.decay_steps=3",
    "--trainer.log_every_n_steps=1",
    "--trainer.precision=32-true",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_all(tmp_path_factory.mktemp("photos"), [f"{i}.png" for i in range(6)], 40, 48)


def fit(photographs: Path, output: Path, *options: str) -> int:
    where = ["--data.inputs", str(photographs), "--output", str(output)]
    return main(["fit", *TINY, *where, *options])


def curves(output: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (step, value), over all event files of a folder."""
    events = EventAccumulator(str(output / "tensorboard"), {"scalars": 0})
    events.Reload()
    return {t: [(e.step, e.value) for e in events.Scalars(t)] for t in events.Tags()["scalars"]}


def averaged(output: Path) -> dict[str, torch.Tensor]:
    state = torch.load(output / "last.ckpt", weights_only=True)["state_dict"]
    return {k: v for k, v in state.items() if k.startswith("average.module.")}


def data(photographs: Path, **settings: Any) -> PriorDataModule:
    module = PriorDataModule(
        str(photographs), **{"patch_size": 16, "val_patch_size": 16, "num_workers": 0, **settings}
    )
    module.setup("fit")
    return module


def batches(module: PriorDataModule, count: int) -> list[Any]:
    loader = iter(module.train_dataloader())
    return [next(loader) for _ in range(count)]


# ---- Data ----


def test_a_sample_depends_on_the_seed_and_its_number_alone(photographs: Path) -> None:
    first = batches(data(photographs, batch_size=6), 2)
    second = batches(data(photographs, batch_size=4, num_workers=2, cache_gb=0.0), 3)
    for name in ("x0", "noise", "u"):
        a, b = (torch.cat([getattr(batch, name) for batch in run]) for run in (first, second))
        assert torch.equal(a, b)
    other = batches(data(photographs, batch_size=6, seed=1), 2)
    assert not torch.equal(first[0].x0, other[0].x0)
    assert not torch.equal(first[0].u, other[0].u)


def test_levels_are_spread_evenly_over_any_stretch_of_samples(photographs: Path) -> None:
    u = torch.cat([b.u for b in batches(data(photographs, batch_size=50), 4)])
    for stretch in (u[:50], u[73:173]):
        gaps = torch.cat([stretch.sort().values, torch.ones(1)]).diff()
        assert float(gaps.max()) < 3 / len(stretch)


def test_patches_show_the_photographs_at_all_scales_and_in_all_directions(tmp_path: Path) -> None:
    """A ramp tells the scale by its slope, and the direction by its sign and axis."""
    ramp = np.linspace(0, 255, 200).astype(np.uint8)
    from PIL import Image

    for name in ("a.png", "b.png"):
        Image.fromarray(np.broadcast_to(ramp, (200, 200)).copy()).save(tmp_path / name)
    (batch,) = batches(data(tmp_path, batch_size=200, min_scale=0.25), 1)
    down = (batch.x0[:, 0, 1:] - batch.x0[:, 0, :-1]).mean((1, 2))
    right = (batch.x0[:, 0, :, 1:] - batch.x0[:, 0, :, :-1]).mean((1, 2))
    slope = torch.stack([down, right])
    per_pixel = 2 / 199
    steep = slope.abs().amax(0) / per_pixel
    assert 0.9 < float(steep.min()) < 1.2
    assert 3.5 < float(steep.max()) < 4.3
    # Log-uniform between 1 and 4: the median lies at 2.
    assert 1.7 < float(steep.median()) < 2.35
    for axis in range(2):
        for sign in (1, -1):
            assert int((sign * slope[axis] > per_pixel / 2).sum()) > 25
    (upright,) = batches(data(tmp_path, batch_size=50, flips=False), 1)
    assert bool((upright.x0[:, 0, :, 1:] >= upright.x0[:, 0, :, :-1] - 0.02).all())


def test_validation_photographs_are_not_trained_on(photographs: Path) -> None:
    module = data(photographs, val_fraction=0.4)
    assert len(module.val_paths) == 2
    assert not set(module.val_paths) & set(module.train_paths)
    assert len(module.val_paths) + len(module.train_paths) == 6
    assert [x.shape for x in module.val_dataloader()] == [(3, 16, 16)] * 2
    own = data(photographs, val_inputs=str(photographs / "3.png"))
    assert [p.name for p in own.val_paths] == ["3.png"]


def test_what_cannot_be_trained_on_is_left_out_and_named(tmp_path: Path) -> None:
    save_all(tmp_path, ["a.png", "b.png"], 40, 40)
    save(tmp_path / "small.png", 0, 8, 40)
    (tmp_path / "broken.png").write_text("no image")
    broken = bytearray((tmp_path / "a.png").read_bytes())
    broken[len(broken) // 2 :] = b""
    (tmp_path / "cut.png").write_bytes(broken)
    module = data(tmp_path, val_inputs=str(tmp_path / "a.png"))
    assert len(module.skipped) == 2
    assert any("small.png is smaller than a patch of 16" in reason for reason in module.skipped)
    assert any("broken.png" in reason for reason in module.skipped)
    # A truncated file shows only when it is decoded: another one takes its place.
    assert all(bool(b.x0.isfinite().all()) for b in batches(module, 4))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch_size": 64}, "is smaller than a patch of 64"),
        ({"inputs": "nowhere"}, "nowhere does not exist"),
        ({"inputs": None}, "--data.inputs"),
    ],
)
def test_unusable_data_is_one_sentence(
    photographs: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        PriorDataModule(**{"inputs": str(photographs), **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch_size": 7}, "^patch_size 7 must be at least 8$"),
        ({"min_scale": 0.0}, "^min_scale 0.0 must be above 0 and at most 1$"),
        ({"batch_size": 0}, "^batch_size 0 must be at least 1$"),
        ({"val_fraction": 1.0}, "^val_fraction 1.0 must be above 0 and below 1$"),
    ],
)
def test_a_setting_out_of_range_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PriorDataModule("anywhere", **settings)


# ---- Loss ----


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


def test_importance_sampling_leaves_the_expected_loss_as_it_is() -> None:
    u = (torch.arange(20_000) + 0.5) / 20_000
    t, weight = importance_timesteps(u, 100, torch.linspace(0.1, 3, 10).square())
    count = torch.bincount(t * 10 // 100, minlength=10)
    assert int(count[9]) > 5 * int(count[0])
    assert set(t.tolist()) == set(range(100))
    loss = (t.float() / 100) ** 2
    assert float((weight * loss).mean()) == pytest.approx(
        float(((torch.arange(100) / 100) ** 2).mean()), rel=0.01
    )


def test_the_variance_bound_is_that_of_two_gaussians() -> None:
    """KL(q(x_t-1 | x_t, x_0) || p(x_t-1 | x_t)), written out in double precision."""
    schedule = Schedule.linear(100, 1e-3, 0.2)
    x0, noise, eps, v = torch.randn(4, 5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    x0, v = x0.clamp(-1, 1), v.tanh()
    t = torch.tensor([1, 7, 40, 80, 99])
    found = VarianceBound(schedule)(eps, v, x0, noise, t)
    ab = schedule.alpha_bar[t][:, None, None, None]
    ab_next = schedule.alpha_bar[t - 1][:, None, None, None]
    beta = 1 - ab / ab_next
    variance = beta * (1 - ab_next) / (1 - ab)
    x_t: torch.Tensor = ab.sqrt() * x0 + (1 - ab).sqrt() * noise

    def mean(clean: torch.Tensor) -> torch.Tensor:
        a = ab_next.sqrt() * beta / (1 - ab)
        b = (ab / ab_next).sqrt() * (1 - ab_next) / (1 - ab)
        return a * clean + b * x_t

    predicted = (x_t - (1 - ab).sqrt() * eps) / ab.sqrt()
    share = (v.double() + 1) / 2
    log_p = share * beta.log() + (1 - share) * variance.log()
    gap = (mean(x0) - mean(predicted)) ** 2
    kl = 0.5 * (log_p - variance.log() + (variance + gap) / log_p.exp() - 1)
    expected = kl.mean((1, 2, 3)) / math.log(2) * 100 / 1000
    assert torch.allclose(found.double(), expected, rtol=1e-3)


def unet_flags(**changes: Any) -> UNetFlags:
    return UNetFlags(
        **{
            "image_size": 16,
            "num_channels": 32,
            "num_res_blocks": 1,
            "channel_mult": "1,1",
            "attention_resolutions": "",
            "num_head_channels": 32,
            "learn_sigma": False,
            "diffusion_steps": 100,
            **changes,
        }
    )


def test_the_bound_trains_the_variance_and_not_the_mean() -> None:
    module = PriorTrainingModule(unet_flags(learn_sigma=True))
    x0, noise = torch.randn(2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0)).clamp(
        -1, 1
    )
    _, bound = module.losses(x0, noise, torch.tensor([10, 60]))
    bound.sum().backward()  # type: ignore[no-untyped-call]
    last = module.unet.get_parameter("out.2.weight").grad
    assert last is not None
    assert float(last[:3].abs().max()) == 0
    assert float(last[3:].abs().max()) > 0


def test_the_rate_rises_stays_and_falls_to_nothing() -> None:
    module = PriorTrainingModule(unet_flags(), warmup_steps=4, decay_steps=5)

    class Limited:
        max_steps = 20

    module._trainer = Limited()  # type: ignore[assignment]
    factors = [module.lr_factor(step) for step in range(21)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5:15] == [1.0] * 10
    assert factors[15:] == pytest.approx([5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0.0])


def test_the_average_forgets_the_first_weights_soon() -> None:
    module = PriorTrainingModule(unet_flags(), ema_decay=0.99)
    weight = module.unet.get_parameter("out.2.bias")
    expected, value = None, 0.0
    for step in range(30):
        value += 1.0
        with torch.no_grad():
            weight.fill_(value)
        module.average.update_parameters(module.unet)
        decay = min(0.99, (1 + step) / (10 + step))
        expected = value if expected is None else decay * expected + (1 - decay) * value
    assert module.average.module.get_parameter("out.2.bias").tolist() == pytest.approx(
        [expected] * 3, rel=1e-5
    )


# ---- Growth ----


def test_a_deepened_prior_is_the_same_function() -> None:
    prior = load_prior()
    assert isinstance(prior, UNetPrior)
    deeper = deepen(deepen(prior))
    x = torch.randn(1, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    for t in (20, 500):
        assert torch.allclose(deeper.eps(x, t), prior.eps(x, t), atol=1e-5)
    count, more = (sum(p.numel() for p in p_.unet.parameters()) for p_ in (prior, deeper))
    assert more > 1.5 * count


def test_deepening_works_with_attention_and_residual_resampling() -> None:
    flags = unet_flags(
        channel_mult="1,2,2", attention_resolutions="8", resblock_updown=True, num_head_channels=32
    )
    prior = PriorTrainingModule(flags).prior
    with torch.no_grad():
        for name, weight in prior.unet.named_parameters():
            weight.normal_(std=0.05) if weight.ndim > 1 else None
            assert name
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(deepen(prior).eps(x, 30), prior.eps(x, 30), atol=1e-4)


# ---- The command ----


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
def test_two_processes_learn_what_one_does(photographs: Path, tmp_path: Path) -> None:
    common = ["--trainer.max_steps=3", "--trainer.val_check_interval=3"]
    assert fit(photographs, tmp_path / "one", *common) == 0
    script = tmp_path / "run.py"
    script.write_text("import sys; from d2ir_pl.cli import main; sys.exit(main())")
    where = ["--data.inputs", str(photographs), "--output", str(tmp_path / "two")]
    both = ["--data.batch_size=2", "--trainer.devices=2"]
    run = subprocess.run(
        [sys.executable, str(script), "fit", *TINY, *where, *common, *both],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr.count("trained 3 steps") == 1
    one, two = averaged(tmp_path / "one"), averaged(tmp_path / "two")
    assert all(torch.allclose(value, two[name], atol=1e-4) for name, value in one.items())
    losses = [[v for _, v in curves(tmp_path / n)["train/loss"]] for n in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.fixture(scope="module")
def trained(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained")
    assert fit(photographs, output, "--trainer.max_steps=2", "--trainer.val_check_interval=2") == 0
    return output


def test_an_exported_prior_is_the_average_with_its_provenance(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.safetensors"
    about = "six rectangles, public domain"
    arguments = [str(trained / "last.ckpt"), str(file), "--dtype", "float32", "--about", about]
    assert main(["export-prior", *arguments]) == 0
    prior = load_prior(str(file))
    weights = prior.unet.state_dict()
    assert all(
        torch.equal(value, weights[name.removeprefix("average.module.")])
        for name, value in averaged(trained).items()
    )
    assert prior.schedule.T == 100
    with safe_open(file, "pt") as opened:
        training = json.loads(opened.metadata()["training"])
    assert training["steps"] == 2
    assert training["data"]["photographs"] == 5
    capsys.readouterr()
    assert main(["inspect-prior", str(file)]) == 0
    shown = capsys.readouterr().out
    for fact in ("sha256:", "parameters:", "steps: 100", "photographs: 5", about):
        assert fact in shown
    assert main(["inspect-prior", "natural-small"]) == 0
    assert "parameters: 3093123" in capsys.readouterr().out


def test_published_checkpoints_and_unknown_files_are_inspected_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("64x64_diffusion.pt", "unknown.pt"):
        torch.save({}, tmp_path / name)
    assert main(["inspect-prior", str(tmp_path / "64x64_diffusion.pt")]) == 0
    shown = capsys.readouterr().out
    for fact in ("sha256: ", "num_channels: 192", "noise_schedule: cosine", "class_cond: True"):
        assert fact in shown
    assert main(["inspect-prior", str(tmp_path / "unknown.pt")]) == 2
    assert "tells nothing of its architecture" in capsys.readouterr().err


def test_an_exported_prior_restores(trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.safetensors"
    export_prior(trained / "last.ckpt", file)
    photo = save(tmp_path / "photo.png")
    common = ["--data.inputs", str(photo), "--output", str(tmp_path / "out")]
    settings = ["--model.prior", str(file), "--model.method.estimation.start", "40"]
    settings += ["--model.method.latent.level", "20"]
    assert main(["predict", *common, *settings]) == 0
    assert (tmp_path / "out" / "restored" / "photo.png").is_file()


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def test_what_is_no_checkpoint_is_refused(
    tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "p.safetensors")
    code = tmp_path / "code.ckpt"
    code.write_bytes(pickle.dumps(Code()))
    other = tmp_path / "other.ckpt"
    torch.save({"state_dict": {}}, other)
    for arguments, message in (
        ([str(code), out], "code.ckpt is not a training checkpoint"),
        ([str(other), out], "other.ckpt holds no prior"),
        ([str(tmp_path / "none.ckpt"), out], "none.ckpt does not exist"),
        ([str(trained / "last.ckpt"), str(tmp_path / "p.pt")], "must end in .safetensors"),
        ([str(trained / "last.ckpt")], "required: output"),
    ):
        assert main(["export-prior", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not list(tmp_path.glob("*p.safetensors*"))


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

"""Folders of the diffusers library as priors, against the library itself."""

import builtins
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photos import save
from safetensors.torch import load_file, save_file

from d2ir_pl.commands.predict import parse_options
from d2ir_pl.degradations import GaussianBlur
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.prediction.fingerprint import settings_fingerprint
from d2ir_pl.priors import PriorError, UNetFlags, load_prior
from d2ir_pl.priors.diffusers import DiffusersPrior
from d2ir_pl.priors.registry import prior_files
from d2ir_pl.restoration import D2IR, DegradationEstimation, LatentOptimization, Problem

diffusers = pytest.importorskip("diffusers")

WEIGHTS = "diffusion_pytorch_model.safetensors"


def unet(seed: int = 0, **changes: Any) -> Any:
    arguments = {
        "block_out_channels": (32, 32, 64),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 8,
        **changes,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return diffusers.UNet2DModel(**arguments).eval()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diffusers") / "model"
    unet().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A model of its own for each test, to change or break."""
    return Path(shutil.copytree(original, tmp_path / "model"))


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def change(file: Path, **entries: Any) -> None:
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, **entries}))


def schedule(folder: Path, cls: str = "DDPMScheduler", **settings: Any) -> Any:
    scheduler = getattr(diffusers, cls)(**settings)
    scheduler.save_pretrained(folder)
    return scheduler


# ---- What is predicted ----


def test_eps_is_the_output_of_the_model(original: Path) -> None:
    prior = load_prior(str(original))
    assert prior.multiple == 4
    x = noise(2, 3, 16, 20)
    with torch.no_grad():
        expected = unet()(x, 77).sample
    assert torch.allclose(prior.eps(x, 77), expected, atol=1e-6)
    assert prior.eps(noise(1, 3, 17, 22), 77).shape == (1, 3, 17, 22)


def test_without_a_scheduler_the_levels_are_those_of_ddpm(original: Path) -> None:
    expected = diffusers.DDPMScheduler().alphas_cumprod
    found = load_prior(str(original)).schedule.alpha_bar
    assert torch.allclose(found.float(), expected, rtol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"beta_start": 0.001, "beta_end": 0.03, "num_train_timesteps": 500},
        {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195},
        {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 200},
        {"trained_betas": np.linspace(1e-3, 0.1, 50).tolist()},
    ],
)
def test_levels_are_those_of_the_scheduler(folder: Path, settings: dict[str, Any]) -> None:
    expected = schedule(folder, **settings).alphas_cumprod
    found = load_prior(str(folder)).schedule.alpha_bar
    # The library multiplies in single precision.
    assert torch.allclose(found.float(), expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("prediction", ["sample", "v_prediction"])
def test_other_predictions_become_eps(folder: Path, prediction: str) -> None:
    """Both x_0 and eps follow from the output as the library's own DDIM step derives them."""
    scheduler = schedule(folder, "DDIMScheduler", prediction_type=prediction, clip_sample=False)
    scheduler.set_timesteps(1000)
    prior = load_prior(str(folder))
    x, t = noise(1, 3, 16, 16), 400
    with torch.no_grad():
        output = unet()(x, t).sample
    x0 = scheduler.step(output, t, x).pred_original_sample
    ab = float(scheduler.alphas_cumprod[t])
    eps = (x - math.sqrt(ab) * x0) / math.sqrt(1 - ab)
    assert torch.allclose(prior.x0(x, t), x0, atol=1e-4)
    assert torch.allclose(prior.eps(x, t), eps, atol=1e-4)
    assert not torch.allclose(prior.eps(x, t), output, atol=0.1)


def test_velocity_of_a_perfect_network_is_the_noise_it_was_made_of(original: Path) -> None:
    prior = load_prior(str(original))
    x0, n = noise(2, 1, 3, 8, 8)
    ab = prior.schedule.level(300)
    x_t = math.sqrt(ab) * x0 + math.sqrt(1 - ab) * n
    perfect = {"sample": x0, "v_prediction": math.sqrt(ab) * n - math.sqrt(1 - ab) * x0}
    for prediction, output in perfect.items():

        class Perfect(DiffusersPrior):
            def unet_output(self, *arguments: Any, output: torch.Tensor = output) -> torch.Tensor:
                return output

        known = Perfect(prior.unet, prior.schedule, prediction)  # type: ignore[arg-type]
        assert torch.allclose(known.eps(x_t, 300), n, atol=1e-5)


def test_a_variance_is_left_out(tmp_path: Path) -> None:
    model = unet(out_channels=6)
    model.save_pretrained(tmp_path)
    x = noise(1, 3, 8, 8)
    with torch.no_grad():
        expected = model(x, 5).sample[:, :3]
    assert torch.allclose(load_prior(str(tmp_path)).eps(x, 5), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(original: Path, dtype: torch.dtype) -> None:
    exact, half = load_prior(str(original)), load_prior(str(original)).cast(dtype)
    x = noise(1, 3, 16, 16)
    assert half.eps(x, 300).dtype == torch.float32
    assert float((half.eps(x, 300) - exact.eps(x, 300)).abs().mean()) < 0.02


def test_the_label_reaches_the_model(tmp_path: Path) -> None:
    model = unet(num_class_embeds=10)
    model.save_pretrained(tmp_path)
    x = noise(1, 3, 8, 8)
    with torch.no_grad():
        expected = model(x, 5, torch.tensor([7])).sample
    assert torch.allclose(load_prior(str(tmp_path), label=7).eps(x, 5), expected, atol=1e-6)
    for label in (None, 10):
        with pytest.raises(PriorError, match=r"0\.\.9"):
            load_prior(str(tmp_path), label=label)


@pytest.mark.parametrize("stages", ["estimation", "both"])
def test_both_stages_restore(original: Path, stages: Any) -> None:
    prior = load_prior(str(original)).cast(torch.bfloat16)
    latent = LatentOptimization(
        iterations=1, ddim_steps=2, level=50, gradient="full", discrepancy=0.0
    )
    method = D2IR(DegradationEstimation(steps=2, start=100), latent, stages)
    y = noise(1, 3, 16, 12).clamp(-1, 1)
    restored = method.restore(
        Problem.of(y, GaussianBlur(kernel_size=5), [image_generator(0, "a")]), prior
    )
    assert bool(restored.x0.isfinite().all())
    assert all(math.isfinite(loss) for run in restored.losses.values() for loss in run[0])


# ---- Where it is found ----


@pytest.mark.parametrize("given", [".", "unet"])
def test_a_pipeline_brings_its_scheduler(tmp_path: Path, given: str) -> None:
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=300)
    model = unet()
    diffusers.DDPMPipeline(model, scheduler).save_pretrained(tmp_path)
    prior = load_prior(str(tmp_path / given))
    assert prior.schedule.T == 300
    x = noise(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(prior.eps(x, 5), model(x, 5).sample, atol=1e-6)
    files = {path.relative_to(tmp_path).as_posix() for path in prior_files(str(tmp_path / given))}
    assert files == {"unet/config.json", f"unet/{WEIGHTS}", "scheduler/scheduler_config.json"}


def test_pickled_weights_load_if_they_are_plain_tensors(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    expected = load_prior(str(folder)).eps(noise(1, 3, 8, 8), 5)
    (folder / WEIGHTS).unlink()
    pickled = folder / "diffusion_pytorch_model.bin"
    torch.save(weights, pickled)
    assert torch.equal(load_prior(str(folder)).eps(noise(1, 3, 8, 8), 5), expected)
    torch.save(unet(), pickled)
    with pytest.raises(PriorError, match="not a state dict of plain tensors"):
        load_prior(str(folder))


def test_names_of_old_attention_layers_are_understood(folder: Path) -> None:
    expected = load_prior(str(folder)).eps(noise(1, 3, 8, 8), 5)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(folder / WEIGHTS)
    renamed = {}
    for name, tensor in weights.items():
        for new, before in old.items():
            name = name.replace(f".{new}.", f".{before}.")
        renamed[name] = tensor
    assert set(renamed) != set(weights)
    save_file(renamed, folder / WEIGHTS)
    assert torch.equal(load_prior(str(folder)).eps(noise(1, 3, 8, 8), 5), expected)


def test_results_are_told_apart_by_what_is_in_the_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "photo.png")

    def fingerprint() -> str:
        arguments = ["--data.inputs", "photo.png", "--model.prior", "model"]
        return settings_fingerprint(parse_options(arguments).config)

    first = fingerprint()
    assert fingerprint() == first
    (folder / "README.md").write_text("not part of the prior")
    assert fingerprint() == first
    unet(seed=1).save_pretrained(folder)
    second = fingerprint()
    schedule(folder, beta_end=0.03)
    assert len({first, second, fingerprint()}) == 3


# ---- What cannot be a prior ----


def refused(folder: Path, message: str, **arguments: Any) -> None:
    with pytest.raises(PriorError, match=message) as error:
        load_prior(str(folder), **arguments)
    assert "\n" not in str(error.value)


def test_a_folder_without_a_model_is_refused(tmp_path: Path, folder: Path) -> None:
    refused(tmp_path, r"neither config\.json nor unet/config\.json")
    (folder / WEIGHTS).unlink()
    refused(folder, r"model has no diffusion_pytorch_model\.safetensors or")


def test_a_latent_model_is_refused(original: Path, tmp_path: Path) -> None:
    shutil.copytree(original, tmp_path / "unet")
    (tmp_path / "vqvae").mkdir()
    for given in (tmp_path, tmp_path / "unet"):
        refused(given, "latent diffusion model: a prior has to predict pixels")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"_class_name": "UNet2DConditionModel"}, "describes UNet2DConditionModel: only a UNet2D"),
        ({"in_channels": 4}, "in_channels 4: a prior needs 3"),
        ({"out_channels": 4}, "out_channels 4: a prior needs 3 or 6"),
        ({"time_embedding_type": "fourier"}, "time_embedding_type fourier: a prior needs posi"),
        ({"class_embed_type": "timestep"}, "class_embed_type timestep: a prior needs None"),
        ({"down_block_types": ["NoBlock"] * 3}, r"config\.json describes no network"),
        ({"layers_per_block": 2}, "belongs to another architecture: get an intact copy"),
    ],
)
def test_other_models_are_refused(folder: Path, entries: dict[str, Any], message: str) -> None:
    change(folder / "config.json", **entries)
    refused(folder, message)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"beta_schedule": "sigmoid"}, "beta_schedule 'sigmoid' is unknown"),
        ({"prediction_type": "flow"}, "prediction_type 'flow' is unknown"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
        ({"beta_end": "much"}, "is no schedule for a prior"),
        ({"beta_end": 2.0}, "is no schedule for a prior"),
        ({"num_train_timesteps": 0}, "is no schedule for a prior"),
        ({"trained_betas": []}, "is no schedule for a prior"),
    ],
)
def test_other_schedules_are_refused(folder: Path, entries: dict[str, Any], message: str) -> None:
    schedule(folder)
    change(folder / "scheduler_config.json", **entries)
    refused(folder, message)


def test_a_scheduler_of_noise_levels_is_refused(folder: Path) -> None:
    schedule(folder, "ScoreSdeVeScheduler")
    refused(folder, "ScoreSdeVeScheduler has no beta_schedule")


def test_damaged_files_are_refused(folder: Path) -> None:
    refused(folder, "has flags of its own: leave out prior_flags", flags=UNetFlags())
    weights = load_file(folder / WEIGHTS)
    name = next(iter(weights))
    save_file({**weights, name: weights[name] * torch.nan}, folder / WEIGHTS)
    refused(folder, "NaN or infinite weights in .*: get an intact copy")
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1000])
    refused(folder, "cannot be read .*: get an intact copy")
    (folder / "config.json").write_text("{")
    refused(folder, r"config\.json cannot be read")
    (folder / "config.json").write_text("[]")
    refused(folder, r"config\.json is not a configuration")


def test_a_missing_library_is_named(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "diffusers":
            raise ModuleNotFoundError("No module named 'diffusers'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    refused(original, "for which the diffusers library is needed .*'pip install diffusers'")


@pytest.mark.parametrize("prediction", ["sample", "v_prediction"])
def test_other_predictions_become_eps_at_a_timestep_of_each_image(
    folder: Path, prediction: str
) -> None:
    schedule(folder, prediction_type=prediction)
    prior, x = load_prior(str(folder)), noise(3, 3, 16, 16)
    steps = [0, 50, 900]
    with torch.no_grad():
        found = prior.eps(x, torch.tensor(steps))
        for b, t in enumerate(steps):
            assert torch.allclose(found[b : b + 1], prior.eps(x[b : b + 1], t), atol=1e-4)

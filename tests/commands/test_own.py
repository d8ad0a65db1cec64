"""The examples of docs/own_degradation.md and docs/own_method.md, as their readers run them."""

import json
import os
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gaussian_prior import GaussianPrior
from own_degradation import Stripes
from own_method import RED
from photos import save
from PIL import Image
from repository import EXAMPLES

import d2ir_pl
from d2ir_pl.cli import main
from d2ir_pl.degradations import Identity, Phi
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.restoration import Problem


@pytest.fixture
def restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `predict` in a folder that holds the examples as `mine_*.py`, and read its record."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(EXAMPLES))])
    for kind in ("degradation", "method"):
        shutil.copy(EXAMPLES / f"own_{kind}.py", tmp_path / f"mine_{kind}.py")
        monkeypatch.delitem(sys.modules, f"mine_{kind}", raising=False)
    for kind in ("clean", "blurred"):
        (tmp_path / kind).mkdir()
        photo = Image.open(EXAMPLES / kind / "coffee.png").crop((80, 60, 176, 156))
        photo.save(tmp_path / kind / "coffee.png")

    def restore(*options: str) -> dict[str, Any]:
        common = ["--trainer.accelerator", "cpu", "--report", "false", "--tensorboard", "false"]
        assert main(["predict", *options, *common, "--output", "out"]) == 0
        record = tmp_path / "out/degradation/coffee.json"
        found: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        return found

    return restore


def test_stripes_are_found_and_removed(restore: Any) -> None:
    options = ["--data.inputs", "clean", "--data.degrade", "true"]
    record = restore("--model.degradation", "mine_degradation.Stripes", *options)
    found, truth = (np.array(record[name]["offset"]) for name in ("phi", "true_phi"))
    assert np.corrcoef(found, truth)[0, 1] > 0.9
    assert record["psnr"] > record["input_psnr"] + 5


def test_stripes_are_differentiable() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    offset = torch.randn(2, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, s: Stripes()(x, Phi(offset=s)), (x, offset))


def test_the_walk_improves_on_what_the_columns_show() -> None:
    degradation = Stripes()
    clean = np.asarray(Image.open(EXAMPLES / "clean/coffee.png"), dtype=np.float32) / 255
    x = torch.from_numpy(clean[60:156, 80:176]).permute(2, 0, 1)[None] * 2 - 1
    truth = degradation.draw([image_generator(0, "coffee")], x)
    y = degradation(x, truth)
    result = d2ir_pl.restore(((y[0] + 1) / 2).clamp(0, 1), degradation, precision="fp32")
    start = degradation.init(y, torch.zeros(1))

    def error(phi: Any) -> float:
        return float((phi["offset"] - truth["offset"]).square().mean())

    assert error(result.restoration.phi) < 0.7 * error(start)


def test_red_restores_a_blurred_photo(restore: Any) -> None:
    options = ["--data.inputs", "blurred", "--data.references", "clean"]
    record = restore("--model.method", "mine_method.RED", "--model.method.steps", "5", *options)
    assert record["psnr"] > record["input_psnr"] + 1
    assert record["nfe"] == 5


def test_red_ends_at_its_fixed_point() -> None:
    prior, sigma_y, weight = GaussianPrior(mean=0.1, std=0.5), 0.1, 0.5
    y = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    method = RED(steps=100, sigma=0.05, weight=weight)
    generators = [image_generator(0, str(b)) for b in range(2)]
    noise = torch.full((2,), sigma_y)
    found = method.restore(Problem.of(y, Identity(), generators, noise), prior)
    t = prior.schedule.nearest(0.1)
    shrink = 0.25 / (0.25 + prior.schedule.sigma(t) ** 2)  # f(x) = mean + shrink (x - mean)
    rho = weight * (sigma_y / 0.1) ** 2
    x = (y + rho * (1 - shrink) * 0.1) / (1 + rho * (1 - shrink))
    assert torch.allclose(found.x0, x.clamp(-1, 1), atol=1e-4)


def test_red_refuses_settings_that_mean_nothing() -> None:
    with pytest.raises(ValueError, match=r"steps 0, .* must be positive"):
        RED(steps=0)


@pytest.mark.parametrize(
    "config",
    [
        "model: {method: {class_path: ctypes.wintypes.BOOL}}",
        "model: {degradation: {class_path: Compose, init_args: {parts: [{class_path: this.X}]}}}",
        "trainer: {strategy: {class_path: antigravity.X}}",
        "trainer: {plugins: [{class_path: sphinx.application.Sphinx}]}",
        "trainer: {callbacks: [{class_path: turtle.X, init_args: {a: {class_path: idlelib.X}}}]}",
        "data: {class_path: jinja2.nodes.X}",
        "model: {class_path: pdb.Pdb}",
    ],
)
def test_modules_that_are_not_ones_own_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], config: str
) -> None:
    monkeypatch.chdir(tmp_path)
    named = re.findall(r"class_path: ([\w.]+)", config)
    before = set(sys.modules)
    save(tmp_path / "a.png")
    (tmp_path / "c.yaml").write_text(config)
    assert main(["predict", str(tmp_path / "a.png"), "--config", "c.yaml"]) == 2
    assert re.search(r"d2ir: --\S+ \S+ is not imported, as it", capsys.readouterr().err)
    # Nor are those that a file names which the config names.
    for key in ("strategy", "plugins", "callbacks"):
        (tmp_path / "d.yaml").write_text(f"class_path: {named[-1]}")
        (tmp_path / "e.yaml").write_text(f"trainer: {{{key}: [d.yaml]}}")
        for options in (["--config", "e.yaml"], [f"--trainer.{key}", "d.yaml"]):
            assert main(["predict", str(tmp_path / "a.png"), *options]) == 2
            assert re.search(r"d2ir: --\S+ \S+ (is not|cannot be) imp", capsys.readouterr().err)
    new = set(sys.modules) - before
    assert not [path for path in named if path.rpartition(".")[0] in new]


BOMBS = {
    "aliases": "a0: &a0 [x]\n"
    + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)),
    "merges": "a0: &a0 {x: 1}\nmodel: {<<: *a0}\n",
    "number": "seed: " + "9" * 500,
    "depth": "model: " + "[" * 1000 + "]" * 1000,
    "size": "# " + "x" * 2**22,
    "twice": "seed: 1\nseed: 2\n",
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("way", ["config", "config of a config", "value"])
def test_configs_are_bounded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    bomb: str,
    way: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bomb.yaml").write_text(BOMBS[bomb])
    (tmp_path / "outer.yaml").write_text("trainer: {strategy: bomb.yaml}")
    options = {
        "config": ["--config", "bomb.yaml"],
        "config of a config": ["--config", "outer.yaml"],
        "value": ["--trainer.strategy", "bomb.yaml"],
    }
    begun = time.monotonic()
    assert main(["predict", str(save(tmp_path / "a.png")), *options[way]]) == 2
    assert time.monotonic() - begun < 20
    error = capsys.readouterr().err
    assert re.fullmatch(
        r"d2ir: --\S+ \S*bomb\.yaml [^\n]+: give a file of settings, [^\n]+\n", error
    )


@pytest.mark.parametrize("command", ["predict", "fit"])
def test_a_pipe_is_no_config(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert main([command, "a.png", "--trainer.strategy", "pipe"]) == 2
    assert "pipe is no regular file" in capsys.readouterr().err

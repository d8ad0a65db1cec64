"""Attacks by weights: what `export-prior`, `fit --ckpt_path` and `--model.prior` are given.

Each has values of a whole file replaced or removed, or a part of its bytes damaged. It serves, or
it is refused in one sentence.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import shutil
import signal
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.fuzz_images import mutated
from d2ir_pl.cli import main

WRONG: list[Any] = [
    *(None, True, -1, 0, 10**7, 10**30, 1e300, float("nan"), float("inf"), "x", "[" * 3000),
    *([], {}, [None], [10**9], [1] * 100, {"x": 1}, torch.zeros(2), torch.zeros(())),
]
"""Values that take the place of others."""

FIT = (
    *(
        "--model.unet.image_size=16",
        "--model.unet.num_channels=32",
        "--model.unet.num_res_blocks=1",
    ),
    *("--model.unet.channel_mult=1,1", "--model.unet.diffusion_steps=100", "--model.decay_steps=0"),
    *("--data.patch_size=16", "--data.val_patch_size=16", "--data.batch_size=1"),
    *("--data.num_workers=0", "--trainer.accelerator=cpu", "--trainer.precision=32-true"),
    "--trainer.enable_progress_bar=false",
    "--trainer.logger=false",
)
"""Options of a tiny training."""


def exports(rng: np.random.Generator, folder: Path) -> None:
    """`export-prior` of an odd checkpoint writes a prior, or refuses it in a sentence."""
    odd = _odd(_whole() / "out" / "last.ckpt", folder / "odd.ckpt", rng)
    output = folder / "prior.safetensors"
    status = _told("export-prior", str(odd), str(output))
    assert output.exists() == (status == 0), f"it ends with {status}, and its file is wrong"
    assert not [p for p in folder.iterdir() if p not in (odd, output)], "it leaves files behind"


def resumptions(rng: np.random.Generator, folder: Path) -> None:
    """`fit --ckpt_path` goes on from an odd checkpoint, or refuses it in a sentence."""
    odd = _odd(_whole() / "out" / "last.ckpt", folder / "odd.ckpt", rng)
    where = ["--data.inputs", str(_whole() / "photos"), "--output", str(folder / "out")]
    _told("fit", *FIT, *where, "--trainer.max_steps=2", "--ckpt_path", str(odd))


def pipelines(rng: np.random.Generator, folder: Path) -> None:
    """An odd folder of the diffusers library is a prior, or refused in a sentence."""
    model = Path(shutil.copytree(_pipeline(), folder / "model"))
    path = model / str(rng.choice(["config.json", "scheduler_config.json"]))
    what = rng.random()
    if what < 0.6:
        content = json.loads(path.read_text(encoding="utf-8"))
        _replace(content, [v for v in WRONG if not isinstance(v, torch.Tensor)], rng)
        path.write_text(json.dumps(content), encoding="utf-8")
    elif what < 0.8:
        path.write_bytes(mutated(path.read_bytes(), rng))
    else:
        path = model / "diffusion_pytorch_model.safetensors"
        path.write_bytes(mutated(path.read_bytes(), rng))
    _told("inspect-prior", str(model))


def _odd(whole: Path, path: Path, rng: np.random.Generator) -> Path:
    """A copy of a checkpoint of which something is wrong."""
    if rng.random() < 0.3:
        path.write_bytes(mutated(whole.read_bytes(), rng))
        return path
    content = torch.load(whole, weights_only=True)
    for _ in range(int(rng.geometric(0.7))):
        _replace(content, WRONG, rng)
    torch.save(content, path)
    return path


def _replace(tree: Any, wrong: Sequence[Any], rng: np.random.Generator) -> None:
    """Replace or remove a value somewhere in nested dictionaries and lists."""
    while True:
        places = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        if not places:
            return
        place = places[int(rng.integers(len(places)))]
        inner = tree[place]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.3:
            break
        tree = inner
    if rng.random() < 0.2:
        del tree[place]
    else:
        tree[place] = wrong[int(rng.integers(len(wrong)))]


def _told(*arguments: str) -> int:
    """The exit status of a command, which says what is wrong in one sentence where it is not 0."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        status = main(list(arguments))
    if status > 128:  # the attacks themselves were asked to end
        signal.raise_signal(status - 128)
    sentences = [line for line in said.getvalue().splitlines() if line.startswith("d2ir: ")]
    assert status in (0, 2), f"it ends with {status}: {said.getvalue()[-200:]}"
    assert len(sentences) == (status == 2), f"it says {said.getvalue()[-300:]}"
    assert all(len(line) < 1000 for line in sentences), f"it says much: {sentences[0][:200]}"
    return status


def _kept(make: Callable[[Path], None]) -> Callable[[], Path]:
    """A folder that is made when it is asked for first, and removed with this process."""

    @functools.cache
    def made() -> tuple[Path, tempfile.TemporaryDirectory[str]]:
        folder = tempfile.TemporaryDirectory()
        make(Path(folder.name))
        return Path(folder.name), folder

    return lambda: made()[0]


def _train(folder: Path) -> None:
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for name in "abc":
        pixels = rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{name}.png")
    where = ["--data.inputs", str(folder / "photos"), "--output", str(folder / "out")]
    assert not _told("fit", *FIT, *where, "--trainer.max_steps=1"), "a sound training fails"


def _save_pipeline(folder: Path) -> None:
    from diffusers import DDPMScheduler, UNet2DModel

    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    unet = UNet2DModel(block_out_channels=(32, 32), layers_per_block=1, sample_size=16, **blocks)
    unet.save_pretrained(folder)
    DDPMScheduler().save_pretrained(folder)


_whole, _pipeline = _kept(_train), _kept(_save_pipeline)

"""Tiny trainings, and what they leave behind, for tests."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytorch_lightning as pl
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from d2ir_pl.cli import main
from d2ir_pl.priors import UNetFlags
from d2ir_pl.training.data import PriorDataModule

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
    """The first batches of a training, of one epoch after another."""
    trainer = SimpleNamespace(global_rank=0, world_size=1, accumulate_grad_batches=1, global_step=0)
    module.trainer = cast(pl.Trainer, trainer)
    found: list[Any] = []
    loader = module.train_dataloader()
    while len(found) < count:
        trainer.global_step = len(found)
        found += list(loader)
    return found[:count]


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

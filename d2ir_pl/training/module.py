"""Training of a diffusion prior as a LightningModule."""

from __future__ import annotations

import hashlib
import math
import time
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from d2ir_pl.diffusion.sampling import ddim_chain, ddim_step
from d2ir_pl.errors import TrainingError
from d2ir_pl.operators.linear import per_image
from d2ir_pl.priors import UNetFlags, UNetPrior, growth, load_prior
from d2ir_pl.priors.export import CHECKPOINT_KEY
from d2ir_pl.priors.guided_diffusion import VarianceBound
from d2ir_pl.priors.registry import prior_file
from d2ir_pl.randomness import image_generator, normal_like
from d2ir_pl.training.data import PatchBatch, PriorDataModule

_BINS = 10  # ranges of timesteps that are logged, and sampled by importance, as one
_LEVELS = (50, 200, 400, 600, 800)  # thousandths of T at which the prior is validated
_SHOWN = 4  # samples and denoised patches that TensorBoard shows
_UNIFORM_SHARE = 0.1  # of the probability of a range of timesteps under importance sampling

NATURAL_SMALL = UNetFlags(
    image_size=64,
    num_channels=32,
    num_res_blocks=1,
    channel_mult="1,2,2,4",
    attention_resolutions="",
    num_head_channels=32,
    learn_sigma=False,
    resblock_updown=False,
)


class PriorTrainingModule(pl.LightningModule):
    """Trains a U-Net to predict the noise in x_t = sqrt(ab_t) x_0 + sqrt(1 - ab_t) n.

    The loss is |eps(x_t, t) - n|^2, a mean over pixels (Ho et al. 2020, eq. 14); with
    `unet.learn_sigma` the variational bound is added, which trains the predicted variance alone
    (Nichol and Dhariwal 2021, eq. 16). What is kept in the end is the exponential moving average
    of the weights.

    Args:
        unet: the architecture, by guided-diffusion's flags.
        init_from: a prior, by name or path, to start from instead of random weights; it brings
            its own architecture and schedule.
        deepen: residual blocks to add on each level of `init_from`, at first without effect.
        lr: learning rate of AdamW, reached after `warmup_steps`.
        warmup_steps: optimiser steps over which it rises from 0.
        decay_steps: last steps of `trainer.max_steps`, over which it falls to 0.
        weight_decay: of AdamW.
        ema_decay: of the average of the weights, in [0, 1).
        timesteps: `uniform`, or `importance`: t is drawn with a probability proportional to the
            root mean square of its loss, which is then divided by that probability (Nichol and
            Dhariwal 2021, section 3.3), in ranges of T/10.
        seed: of the initial weights and of every draw.

    Raises:
        ValueError: if a setting is out of range.
        PriorError: if `init_from` cannot be loaded.
    """

    level_sum: Tensor
    level_count: Tensor
    level_square: Tensor
    signal: Tensor
    sigma: Tensor

    def __init__(
        self,
        unet: UNetFlags = NATURAL_SMALL,
        init_from: str | None = None,
        deepen: int = 0,
        lr: float = 5e-4,
        warmup_steps: int = 200,
        decay_steps: int = 1000,
        weight_decay: float = 0.0,
        ema_decay: float = 0.9995,
        timesteps: Literal["uniform", "importance"] = "uniform",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if lr <= 0:
            raise ValueError(f"model.lr {lr} must be positive")
        if not 0 <= ema_decay < 1:
            raise ValueError(f"model.ema_decay {ema_decay} must lie in [0, 1)")
        for name, steps in (
            ("warmup_steps", warmup_steps),
            ("decay_steps", decay_steps),
            ("deepen", deepen),
        ):
            if steps < 0:
                raise ValueError(f"model.{name} {steps} must be at least 0")
        self.lr, self.weight_decay = lr, weight_decay
        self.warmup_steps, self.decay_steps = warmup_steps, decay_steps
        self.ema_decay, self.timesteps, self.seed = ema_decay, timesteps, seed
        if unet.class_cond:
            raise ValueError("model.unet.class_cond true cannot be trained here: leave it out")
        if deepen and init_from is None:
            raise ValueError("model.deepen adds to a trained prior: give it as init_from")
        self.init_from = init_from
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if init_from is None:
                prior = UNetPrior(unet.build(), unet.config(), unet.schedule_config())
            else:
                prior = _trainable(init_from)
            for _ in range(deepen):
                prior = growth.deepen(prior)
        self.unet = prior.unet.requires_grad_(True).train()
        self.prior_config, self.schedule_config = prior.config, prior.schedule_config
        self.schedule = prior.schedule
        self.average = AveragedModel(self.unet, avg_fn=self._move_average)
        self.average.requires_grad_(False).eval()
        self.variance_bound = (
            VarianceBound(self.schedule) if self.prior_config["out_channels"] == 6 else None
        )
        # Kept in checkpoints, so that a resumed run logs and samples as if it had not stopped.
        self.register_buffer("level_sum", torch.zeros(_BINS))
        self.register_buffer("level_count", torch.zeros(_BINS))
        self.register_buffer("level_square", torch.ones(_BINS))
        ab = self.schedule.alpha_bar
        self.register_buffer("signal", ab.sqrt().float(), persistent=False)
        self.register_buffer("sigma", (1 - ab).sqrt().float(), persistent=False)
        self.seconds = 0.0
        """Time spent training, over all resumed runs."""
        self._clock = 0.0
        self.last_loss = math.nan
        """Mean loss at the last logged step."""

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch.optim.AdamW(
            self.unet.parameters(), self.lr, weight_decay=self.weight_decay
        )
        scheduler = LambdaLR(optimizer, self.lr_factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def lr_factor(self, step: int) -> float:
        """Share of `lr` at an optimiser step: a rise, a plateau, a fall to 0 at the last step."""
        rise = (step + 1) / (self.warmup_steps + 1)
        fall = (self.trainer.max_steps - step) / (self.decay_steps + 1)
        return max(0.0, min(1.0, rise, fall if self.trainer.max_steps > 0 else 1.0))

    def on_train_start(self) -> None:
        self._clock = time.monotonic()
        # The rate in a checkpoint fits that run's last step, which may now be a later one.
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.lr * self.lr_factor(self.global_step)
        multiple = 2 ** (len(self.prior_config["channel_mult"]) - 1)
        data: PriorDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        for name in ("patch_size", "val_patch_size"):
            if getattr(data, name) % multiple:
                raise TrainingError(
                    f"--data.{name} {getattr(data, name)} must be a multiple of {multiple}, as the "
                    "network halves it so often"
                )

    def on_train_batch_start(self, batch: PatchBatch, batch_idx: int) -> None:
        # Dropout is the one draw that the data do not bring along.
        key = f"{self.global_step} {self.global_rank}"
        torch.manual_seed(image_generator(self.seed, key, "dropout").initial_seed())

    def training_step(self, batch: PatchBatch, batch_idx: int) -> Tensor:
        t, weight = self._draw_timesteps(batch.u)
        mse, bound = self.losses(batch.x0, batch.noise, t)
        self._record(t, mse.detach())
        return (weight * (mse + bound)).mean()

    def losses(self, x0: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared error of eps, and the variational bound in bits per dimension, each `(B,)`.

        Args:
            x0: `(B, 3, H, W)` in [-1, 1].
            noise: like x0.
            t: `(B,)` timesteps.
        """
        x_t = per_image(self.signal[t]) * x0 + per_image(self.sigma[t]) * noise
        output = self.unet(x_t, t).float()
        mse = (output[:, :3] - noise).square().mean((1, 2, 3))
        if self.variance_bound is None:
            return mse, torch.zeros_like(mse)
        return mse, self.variance_bound(output[:, :3], output[:, 3:], x0, noise, t)

    def _draw_timesteps(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """t from u in [0, 1), and what the loss at t is multiplied with."""
        T = self.schedule.T
        if self.timesteps == "uniform":
            return (u * T).long().clamp(max=T - 1), torch.ones_like(u)
        share = self.level_square.sqrt() / self.level_square.sqrt().sum()
        share = _UNIFORM_SHARE / _BINS + (1 - _UNIFORM_SHARE) * share
        edges = share.cumsum(0)
        bins = torch.searchsorted(edges, u, right=True).clamp(max=_BINS - 1)
        inside = ((u - edges[bins] + share[bins]) / share[bins]).clamp(0, 1)
        t = ((bins + inside) * T / _BINS).long().clamp(max=T - 1)
        return t, 1 / (_BINS * share[bins])

    def _record(self, t: Tensor, mse: Tensor) -> None:
        """Keep sums of the loss over ranges of timesteps, over all processes."""
        bins = t * _BINS // self.schedule.T
        new = torch.zeros(3, _BINS, device=mse.device)
        for row, values in enumerate((mse, torch.ones_like(mse), mse.square())):
            new[row].index_add_(0, bins, values)
        if self.trainer.world_size > 1:
            new = self.trainer.strategy.reduce(new, reduce_op="sum")
        total, count, square = new
        self.level_sum += total
        self.level_count += count
        rate = 0.05 * count.clamp(max=1)
        self.level_square.lerp_(square / count.clamp(min=1), rate)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Optimizer | Any, optimizer_closure: Any = None
    ) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        # Here and not at the batch's end, where a checkpoint may have been written already.
        self.average.update_parameters(self.unet)
        step = self.global_step + 1
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if step % every == 0:
            self._log_losses(step, optimizer.param_groups[0]["lr"])

    def _move_average(self, average: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
        """The first weights are forgotten soon: the average reaches back over a tenth of a run."""
        decay = min(self.ema_decay, (1 + int(steps)) / (10 + int(steps)))
        return torch.lerp(average, current, 1 - decay)

    def _log_losses(self, step: int, lr: float) -> None:
        """Means since the last call, over all timesteps and for each range of them."""
        loss = float(self.level_sum.sum() / self.level_count.sum())
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is no longer a number at step {step}: go on from the last checkpoint "
                "with a lower --model.lr"
            )
        scalars = {"train/loss": loss, "train/lr": lr}
        for i, value in enumerate((self.level_sum / self.level_count).tolist()):
            if math.isfinite(value):  # a range without samples has no mean
                scalars[f"train/loss_t{i * self.schedule.T // _BINS:03d}"] = value
        self.level_sum.zero_()
        self.level_count.zero_()
        self.last_loss = loss
        if self.logger is not None:
            self.logger.log_metrics(scalars, step)

    @property
    def prior(self) -> UNetPrior:
        """The averaged weights as a prior."""
        return UNetPrior(self.average.module, self.prior_config, self.schedule_config)

    def on_validation_start(self) -> None:
        self._val_losses: list[list[float]] = []
        self._val_patches: list[Tensor] = []

    def validation_step(self, x0: Tensor, batch_idx: int) -> None:
        x0, prior = x0[None], self.prior
        losses = []
        for level in self.val_timesteps():
            generator = image_generator(self.seed, f"{batch_idx} {level}", "validation")
            noise = normal_like(x0, [generator])
            x_t = ddim_step(x0, noise, self.schedule.level(level))
            losses.append(float((prior.eps(x_t, level) - noise).square().mean()))
        self._val_losses.append(losses)
        if batch_idx < _SHOWN:
            self._val_patches.append(x0[0])

    def val_timesteps(self) -> list[int]:
        return [level * self.schedule.T // 1000 for level in _LEVELS]

    def on_validation_epoch_end(self) -> None:
        means = torch.tensor(self._val_losses).mean(0).tolist()
        # Every process has seen the same patches.
        named = {f"val/loss_t{t:03d}": v for t, v in zip(self.val_timesteps(), means, strict=True)}
        named["val/loss"] = sum(means) / len(means)
        self.log_dict(named, logger=False, rank_zero_only=False)
        if isinstance(self.logger, TensorBoardLogger) and self.trainer.is_global_zero:
            self.logger.log_metrics(named, self.global_step)
            self._show(self.logger.experiment, torch.stack(self._val_patches))

    def _show(self, writer: Any, x0: Tensor) -> None:
        """Samples from fixed noise, and noisy, denoised and clean patches side by side."""
        prior = self.prior
        generators = [image_generator(self.seed, str(i), "sample") for i in range(len(x0))]
        noise = normal_like(x0, generators)
        side = self.trainer.datamodule.patch_size  # type: ignore[attr-defined]
        timesteps = self.schedule.timesteps(min(50, self.schedule.T))
        samples = ddim_chain(prior, noise[..., :side, :side], timesteps)
        writer.add_images("samples", _unit(samples), self.global_step)
        for t in self.val_timesteps()[:3]:
            x_t = ddim_step(x0, noise, self.schedule.level(t))
            rows = torch.cat([x_t, prior.x0(x_t, t), x0], 3)
            tag = f"noisy | denoised | clean/t{t:03d}"
            writer.add_images(tag, _unit(rows), self.global_step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        now = time.monotonic()
        self.seconds += now - self._clock
        self._clock = now
        trainer = self.trainer
        data: PriorDataModule = trainer.datamodule  # type: ignore[attr-defined]
        checkpoint[CHECKPOINT_KEY] = {
            "config": self.prior_config,
            "schedule": self.schedule_config,
            "training": {
                "steps": self.global_step,
                "batch": data.batch_size * trainer.world_size * trainer.accumulate_grad_batches,
                "data": data.describe(),
                "optimizer": f"AdamW, learning rate {self.lr:g}, {self.warmup_steps} steps of "
                f"warm-up, {self.decay_steps} of decay",
                "ema_decay": self.ema_decay,
                "timesteps": self.timesteps,
                "precision": str(trainer.precision),
                "seed": self.seed,
                "seconds": round(self.seconds),
                "started_from": self._origin(),
            },
        }

    def _origin(self) -> dict[str, str] | None:
        if self.init_from is None:
            return None
        digest = hashlib.sha256(prior_file(self.init_from).read_bytes()).hexdigest()
        return {"prior": Path(self.init_from).name, "sha256": digest}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seconds = float(checkpoint[CHECKPOINT_KEY]["training"]["seconds"])


def _trainable(name: str) -> UNetPrior:
    prior = load_prior(name)
    if not isinstance(prior, UNetPrior) or prior.config.get("num_classes"):
        raise ValueError(
            f"model.init_from {name} cannot be trained on here: start from an unconditional U-Net "
            "of guided-diffusion"
        )
    return prior


def _unit(images: Tensor) -> Tensor:
    return ((images.float().cpu() + 1) / 2).nan_to_num().clamp(0, 1)

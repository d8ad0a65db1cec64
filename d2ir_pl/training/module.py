"""Training of a diffusion prior as a LightningModule."""

from __future__ import annotations

import math
import time
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.errors import TrainingError, require
from d2ir_pl.operators.linear import per_image
from d2ir_pl.priors import UNetFlags, UNetPrior
from d2ir_pl.priors.export import CHECKPOINT_KEY
from d2ir_pl.priors.guided_diffusion import VarianceBound
from d2ir_pl.training.average import moving_average
from d2ir_pl.training.data import PriorDataModule
from d2ir_pl.training.epochs import last_step
from d2ir_pl.training.images import clean_images, with_noise
from d2ir_pl.training.patches import PatchBatch
from d2ir_pl.training.start import NATURAL_SMALL, first_prior, origin
from d2ir_pl.training.timesteps import (
    RANGES,
    importance_timesteps,
    sums_by_range,
    uniform_timesteps,
)
from d2ir_pl.training.validation import log_pictures, mean_errors, noise_errors

_SHOWN = 4
"""Number of patches that TensorBoard shows noisy and denoised, and of samples."""

_FORGETTING = 0.05
"""The share of a new loss in the running mean of squares that importance sampling goes by."""


class PriorTrainingModule(pl.LightningModule):
    """Trains a U-Net to predict the noise in x_t = sqrt(ab_t) x_0 + sqrt(1 - ab_t) n.

    The loss is |eps(x_t, t) - n|^2, a mean over pixels (Ho et al. 2020, eq. 14); with
    `unet.learn_sigma` the variational bound is added, which trains the predicted variance alone
    (Nichol and Dhariwal 2021, eq. 16). What is kept in the end is the exponential moving average
    of the weights.

    Args:
        unet: the architecture, by guided-diffusion's flags.
        init_from: name or path of a prior to start from instead of random weights; it brings its
            own architecture and schedule.
        deepen: number of residual blocks to add on each level of `init_from`; they have no effect
            at first.
        lr: learning rate of AdamW, reached after `warmup_steps`.
        warmup_steps: number of optimiser steps over which the learning rate rises from 0.
        decay_steps: number of optimiser steps, the last of the training, over which it falls to 0.
        weight_decay: weight decay of AdamW.
        ema_decay: decay of the moving average of the weights, in [0, 1).
        timesteps: `uniform`, or `importance`: t is drawn with a probability proportional to the
            root mean square of its loss, which is then divided by that probability (Nichol and
            Dhariwal 2021, section 3.3), in ranges of T/10.
        seed: seed of the initial weights and of every draw; the program sets it.

    Attributes:
        average: the moving average of the weights.
        seconds: time spent training, over all resumed runs.
        last_loss: mean loss at the last logged step; NaN before it.

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
        require("lr", lr, above=0)
        require("ema_decay", ema_decay, 0, below=1)
        require("warmup_steps", warmup_steps, 0)
        require("decay_steps", decay_steps, 0)
        require("deepen", deepen, 0)
        if unet.class_cond:
            raise ValueError("unet.class_cond true cannot be trained here: leave it out")
        if deepen and init_from is None:
            raise ValueError("deepen adds to a trained prior: give it as init_from")
        self.lr, self.weight_decay = lr, weight_decay
        self.warmup_steps, self.decay_steps = warmup_steps, decay_steps
        self.ema_decay, self.timesteps, self.seed = ema_decay, timesteps, seed
        self.init_from = init_from
        prior = first_prior(unet, init_from, deepen, seed)
        self.unet = prior.unet.requires_grad_(True).train()
        self.prior_config, self.schedule_config = prior.config, prior.schedule_config
        self.schedule = prior.schedule
        self.average = AveragedModel(self.unet, multi_avg_fn=moving_average(ema_decay))
        self.average.requires_grad_(False).eval()
        self.variance_bound = (
            VarianceBound(self.schedule) if self.prior_config["out_channels"] == 6 else None
        )
        # These are kept in checkpoints, so that a resumed run logs and samples as if it had not
        # stopped.
        self.register_buffer("level_sum", torch.zeros(RANGES))
        self.register_buffer("level_count", torch.zeros(RANGES))
        self.register_buffer("level_square", torch.ones(RANGES))
        ab = self.schedule.alpha_bar
        self.register_buffer("signal", ab.sqrt().float(), persistent=False)
        self.register_buffer("sigma", (1 - ab).sqrt().float(), persistent=False)
        self.seconds = 0.0
        self.last_loss = math.nan
        self._clock = 0.0
        self._batch_size = 0

    @property
    def prior(self) -> UNetPrior:
        """The averaged weights as a prior."""
        return UNetPrior(self.average.module, self.prior_config, self.schedule_config)

    @property
    def _photographs(self) -> PriorDataModule | None:
        """The photographs that are trained on; None where the user has data of another class."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        return data if isinstance(data, PriorDataModule) else None

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
        """Share of `lr` at an optimiser step: it rises, stays, and falls to 0 at the last step."""
        rise = (step + 1) / (self.warmup_steps + 1)
        fall = ((last_step(self.trainer) or math.inf) - step) / (self.decay_steps + 1)
        return max(0.0, min(1.0, rise, fall))

    def on_train_start(self) -> None:
        self._clock = time.monotonic()
        # The rate in a checkpoint fits that run's last step, which may now be a later one.
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.lr * self.lr_factor(self.global_step)
        if self._photographs is not None:
            self._photographs.require_multiple(self.prior.multiple)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        del dataloader_idx
        if self._photographs is not None:
            return batch
        x0, key = clean_images(batch, self.prior.multiple), f"{self.global_step} {self.global_rank}"
        return with_noise(x0, self.seed, key) if self.trainer.training else x0

    def on_train_batch_start(self, batch: PatchBatch, batch_idx: int) -> None:
        del batch, batch_idx
        # Dropout is the one draw that the data do not bring along.
        key = f"{self.global_step} {self.global_rank}"
        torch.manual_seed(image_generator(self.seed, key, "dropout").initial_seed())

    def training_step(self, batch: PatchBatch, batch_idx: int) -> Tensor:
        del batch_idx
        self._batch_size = len(batch.x0)
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
        """Timesteps from u in [0, 1), and the weights of their losses."""
        if self.timesteps == "uniform":
            return uniform_timesteps(u, self.schedule.T), torch.ones_like(u)
        return importance_timesteps(u, self.schedule.T, self.level_square)

    def _record(self, t: Tensor, mse: Tensor) -> None:
        """Add the losses of a step to the sums over ranges of timesteps, over all processes."""
        new = sums_by_range(mse, t, self.schedule.T)
        if self.trainer.world_size > 1:
            new = self.trainer.strategy.reduce(new, reduce_op="sum")
        total, count, square = new
        self.level_sum += total
        self.level_count += count
        rate = _FORGETTING * count.clamp(max=1)
        self.level_square.lerp_(square / count.clamp(min=1), rate)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Optimizer | Any, optimizer_closure: Any = None
    ) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        # At the end of the batch it would be late: a checkpoint may have been written before.
        self.average.update_parameters(self.unet)
        step = self.global_step + 1
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if step % every == 0:
            self._log_losses(step, optimizer.param_groups[0]["lr"])

    def _log_losses(self, step: int, lr: float) -> None:
        """Log the mean losses since the last call, over all timesteps and each range of them.

        Raises:
            TrainingError: if the loss is no longer a number.
        """
        loss = float(self.level_sum.sum() / self.level_count.sum())
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is no longer a number at step {step}: go on from the last checkpoint "
                "with a lower --model.lr"
            )
        scalars = {"train/loss": loss, "train/lr": lr}
        for i, value in enumerate((self.level_sum / self.level_count).tolist()):
            if math.isfinite(value):  # a range without samples has no mean
                scalars[f"train/loss_t{i * self.schedule.T // RANGES:03d}"] = value
        self.level_sum.zero_()
        self.level_count.zero_()
        self.last_loss = loss
        for logger in self.loggers:
            logger.log_metrics(scalars, step)

    def on_validation_start(self) -> None:
        self._val_errors: list[list[float]] = []
        self._val_patches: list[Tensor] = []

    def validation_step(self, x0: Tensor, batch_idx: int) -> None:
        del batch_idx
        for patch in x0 if x0.ndim == 4 else x0[None]:
            number = len(self._val_errors)
            self._val_errors.append(noise_errors(self.prior, patch[None], self.seed, number))
            if number < _SHOWN:
                self._val_patches.append(patch)

    def on_validation_epoch_end(self) -> None:
        means = mean_errors(self.schedule, self._val_errors)
        if self._photographs is None:  # of them, every process has seen the same patches
            means = {k: float(self.trainer.strategy.reduce(v)) for k, v in means.items()}
        self.log_dict(means, logger=False, rank_zero_only=False)
        for logger in self.loggers:
            logger.log_metrics(means, self.global_step)
        side = getattr(self._photographs, "patch_size", None)
        log_pictures(self.trainer, self.prior, self._val_patches, side, self.seed)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        now = time.monotonic()
        self.seconds += now - self._clock
        self._clock = now
        trainer, data = self.trainer, self._photographs
        checkpoint[CHECKPOINT_KEY] = {
            "config": self.prior_config,
            "schedule": self.schedule_config,
            "training": {
                "steps": self.global_step,
                "batch": self._batch_size * trainer.world_size * trainer.accumulate_grad_batches,
                "data": {} if data is None else data.describe(),
                "optimizer": f"AdamW, learning rate {self.lr:g}, {self.warmup_steps} steps of "
                f"warm-up, {self.decay_steps} of decay",
                "ema_decay": self.ema_decay,
                "timesteps": self.timesteps,
                "precision": str(trainer.precision),
                "seed": self.seed,
                "seconds": round(self.seconds),
                "started_from": origin(self.init_from),
            },
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seconds = float(checkpoint[CHECKPOINT_KEY]["training"]["seconds"])

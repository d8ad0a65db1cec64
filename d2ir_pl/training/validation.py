"""What a prior in training makes of photographs that it is not trained on."""

from __future__ import annotations

from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from d2ir_pl.diffusion import Schedule, ddim_chain, ddim_step
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.image_io import eight_bits
from d2ir_pl.priors import Prior

LEVELS = (50, 200, 400, 600, 800)
"""The noise levels at which a prior is validated, in thousandths of its number of timesteps."""

_SAMPLE_STEPS = 50


def validation_timesteps(schedule: Schedule) -> list[int]:
    """The timesteps at `LEVELS`."""
    return [level * schedule.T // 1000 for level in LEVELS]


def noise_errors(prior: Prior, x0: Tensor, seed: int, number: int) -> list[float]:
    """Mean squared errors of the predicted noise, one for each of the validation timesteps.

    Args:
        prior: the prior.
        x0: `(1, 3, P, P)` in [-1, 1], a clean patch.
        seed: seed of the run.
        number: number of the patch; with the seed it decides the noise.
    """
    errors = []
    for t in validation_timesteps(prior.schedule):
        noise = normal_like(x0, [image_generator(seed, f"{number} {t}", "validation")])
        x_t = ddim_step(x0, noise, prior.schedule.level(t))
        errors.append(float((prior.eps(x_t, t) - noise).square().mean()))
    return errors


def mean_errors(schedule: Schedule, errors: list[list[float]]) -> dict[str, float]:
    """Means over patches, under the names that the curves have in TensorBoard.

    Args:
        schedule: the schedule of the prior.
        errors: what `noise_errors` returned for each patch.
    """
    means = torch.tensor(errors).mean(0).tolist()
    timesteps = validation_timesteps(schedule)
    named = {f"val/loss_t{t:03d}": mean for t, mean in zip(timesteps, means, strict=True)}
    return {**named, "val/loss": sum(means) / len(means)}


def pictures(prior: Prior, x0: Tensor, side: int, seed: int) -> dict[str, Tensor]:
    """Samples, and patches at three noise levels side by side with what they are denoised to.

    Args:
        prior: the prior.
        x0: `(B, 3, P, P)` in [-1, 1], clean patches.
        side: height and width of the samples in pixels, at most P.
        seed: seed of the run; it decides the noise.

    Returns:
        `(B, 3, h, w)` in about [-1, 1] under the tag that TensorBoard shows them by.
    """
    generators = [image_generator(seed, str(i), "sample") for i in range(len(x0))]
    noise = normal_like(x0, generators)
    timesteps = prior.schedule.timesteps(min(_SAMPLE_STEPS, prior.schedule.T))
    shown = {"samples": ddim_chain(prior, noise[..., :side, :side], timesteps)}
    for t in validation_timesteps(prior.schedule)[:3]:
        x_t = ddim_step(x0, noise, prior.schedule.level(t))
        shown[f"noisy | denoised | clean/t{t:03d}"] = torch.cat([x_t, prior.x0(x_t, t), x0], 3)
    return shown


@rank_zero_only
def log_pictures(
    trainer: pl.Trainer, prior: Prior, patches: Sequence[Tensor], side: int | None, seed: int
) -> None:
    """Show TensorBoard samples and denoised patches; other loggers get none.

    Args:
        trainer: the trainer, at one of its steps.
        prior: the prior.
        patches: clean patches, `(3, H, W)` in [-1, 1]; those of the size of the first are shown.
        side: height and width of the samples in pixels; those of the patches if None.
        seed: seed of the run; it decides the noise.
    """
    boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    if not boards or not patches:
        return
    x0 = torch.stack([patch for patch in patches if patch.shape == patches[0].shape])
    shown = pictures(prior, x0, side or min(x0.shape[-2:]), seed)
    for tag, images in shown.items():
        for logger in boards:
            logger.experiment.add_images(tag, eight_bits(images), trainer.global_step)

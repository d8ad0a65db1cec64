"""The numbers and the picture of a prior's model card.

    python -m benchmarks.model_card --prior natural-small --output docs/natural_small.png
    python -m benchmarks.model_card --prior natural-small --data FOLDER

Prints the error of the predicted noise on public-domain photographs, or on the images of FOLDER,
and draws samples from pure noise (first row), and the first images noisy and denoised at t = 200
and 400 (the rows below).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.tasks import SIZE, make
from d2ir_pl.diffusion import ancestral_sigma, ddim_step, eps_from_x0
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.image_io import read_image, write_png
from d2ir_pl.inputs.finding import find_items
from d2ir_pl.priors import Prior, load_prior
from d2ir_pl.training.validation import validation_timesteps

_SHOWN = 6
"""Number of samples and of images that are drawn."""


@torch.no_grad()
def errors(prior: Prior, clean: Tensor, draws: int = 2) -> dict[int, float]:
    """Mean squared error of the predicted noise at each of the validation timesteps.

    Args:
        prior: the prior.
        clean: `(B, 3, H, W)` in [-1, 1].
        draws: number of draws of the noise.
    """
    found = {}
    for t in validation_timesteps(prior.schedule):
        total = 0.0
        for draw in range(draws):
            generators = [image_generator(draw, f"{t} {i}") for i in range(len(clean))]
            noise = normal_like(clean, generators)
            x_t = ddim_step(clean, noise, prior.schedule.level(t))
            total += float((prior.eps(x_t, t) - noise).square().mean())
        found[t] = total / draws
    return found


@torch.no_grad()
def samples(prior: Prior, count: int, size: int, steps: int) -> Tensor:
    """Ancestral samples `(count, 3, size, size)` from pure noise."""
    generators = [image_generator(0, f"sample {i}") for i in range(count)]
    x = normal_like(torch.zeros(count, 3, size, size), generators)
    for t, ab, ab_next in prior.schedule.walk(prior.schedule.timesteps(steps)):
        x0 = prior.x0(x, t).clamp(-1, 1)
        noise = normal_like(x, generators)
        x = ddim_step(x0, eps_from_x0(x, x0, ab), ab_next, noise, ancestral_sigma(ab, ab_next))
    return x


@torch.no_grad()
def noisy_and_denoised(prior: Prior, clean: Tensor, t: int) -> tuple[Tensor, Tensor]:
    """Images noised to timestep t, at the scale of clean ones, and the prior's x_0 of them."""
    ab = prior.schedule.level(t)
    generators = [image_generator(0, f"shown {i}") for i in range(len(clean))]
    x_t = ddim_step(clean, normal_like(clean, generators), ab)
    return x_t / math.sqrt(ab), prior.x0(x_t, t)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the numbers and draw the picture for the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prior", default="natural-small")
    parser.add_argument("--data", type=Path, help="clean images of one size")
    parser.add_argument("--size", type=int, default=SIZE, help="side of the photographs' crops")
    parser.add_argument("--steps", type=int, default=100, help="steps of the samples")
    parser.add_argument("--output", type=Path, default=Path("results/model_card.png"))
    options = parser.parse_args(arguments)
    prior = load_prior(options.prior)
    if options.data is None:
        clean = make("denoising", options.size).reference
    else:
        items = find_items(str(options.data), None)
        clean = torch.stack([read_image(item.path).pixels for item in items])
    for t, error in errors(prior, clean).items():
        print(f"t = {t}: {error:.5f}")
    shown = clean[:_SHOWN]
    rows = [samples(prior, len(shown), shown.shape[-1], options.steps)]
    for t in (200, 400):
        rows += noisy_and_denoised(prior, shown, t)
    picture = torch.cat([torch.cat(list(row), 2) for row in rows], 1)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_png(options.output, picture.clamp(-1, 1))


if __name__ == "__main__":
    main()

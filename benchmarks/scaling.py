"""What a folder of photos costs on many GPUs, on paper.

    python -m benchmarks.scaling
    python -m benchmarks.scaling --images 1000 --size 256 --tflops 312

Nothing is run: the operations of the published ImageNet-256 U-Net are counted on tensors without
contents, and divided by the rate of the card in half precision (by default that of an H100: 989
TFLOP/s, dense bfloat16) and by the part of it that convolutions reach (--utilisation). Photos do
not depend on each other, and each process takes its share of the batches, so nothing is
communicated but the end; what does not shrink with the number of GPUs is the start of a process and
the last, incomplete round of batches. What a batch asks of the device beside the network, by
default as `benchmarks.overhead` counts it for `blind_deblur`, is added at 5 microseconds a kernel
and 20 a wait. Photos are taken to be read, measured and written beside that.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import tables
from d2ir_pl.degradations import GaussianBlur
from d2ir_pl.priors import UNetFlags
from d2ir_pl.priors.guided_diffusion import empty_prior
from d2ir_pl.priors.memory import AllocationCounter
from d2ir_pl.restoration import D2IR

KERNEL, WAIT = 5e-6, 20e-6
"""Seconds to launch a kernel, and to wait for the device."""
_HALF = 0.75
"""Memory in half precision over that in float32: normalisations stay in float32."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table for the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--tflops", type=float, default=989.0, help="10^12 operations a second")
    parser.add_argument("--utilisation", type=float, default=0.4)
    parser.add_argument("--startup", type=float, default=20.0, help="seconds to start a process")
    parser.add_argument("--kernels", type=int, default=2496, help="of a batch, beside the network")
    parser.add_argument("--waits", type=int, default=49, help="of a batch")
    options = parser.parse_args(arguments)

    flags = UNetFlags()
    prior = empty_prior(flags.config(), flags.schedule_config())
    # The restored image extends beyond the photo, whose border is unknown.
    height, width = GaussianBlur().frame.image_size((options.size, options.size))
    sides = [math.ceil(side / prior.multiple) * prior.multiple for side in (height, width)]
    x_t, t = torch.empty(1, 3, *sides, device="meta"), torch.zeros(1, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as flops, AllocationCounter() as memory:
        prior.unet(x_t, t)
    work = float(flops.get_total_flops())
    weights = 2 * sum(p.numel() for p in prior.parameters()) / 1e9
    evaluations = D2IR().estimation.steps
    held = weights + options.batch_size * _HALF * memory.peak / 1e9

    print(
        f"{options.images} photos of {options.size}x{options.size}, {height}x{width} with their "
        f"margin; batches of {options.batch_size}; {work / 1e12:.2f} TFLOP an evaluation, "
        f"{evaluations} of them a photo\n"
    )
    print(
        tables.head(
            *("GPUs", "photos a GPU at most", "evaluations in all", "PFLOP in all"),
            "s at the card's rate",
            f"s at {options.utilisation:.0%} of it",
            "s beside the network",
            "s in all, with start-up",
            "memory a GPU, GB",
        )
    )
    batches = math.ceil(options.images / options.batch_size)
    in_all = options.images * evaluations
    for gpus in (1, 8, 64):
        share = min(options.images, math.ceil(batches / gpus) * options.batch_size)
        seconds = share * evaluations * work / (options.tflops * 1e12)
        used = seconds / options.utilisation
        rounds = math.ceil(share / options.batch_size)
        beside = rounds * (options.kernels * KERNEL + options.waits * WAIT)
        print(
            tables.row(
                *(gpus, share, in_all, f"{in_all * work / 1e15:.1f}", f"{seconds:.1f}"),
                *(f"{used:.1f}", f"{beside:.1f}", f"{used + beside + options.startup:.0f}"),
                f"{held:.1f}",
            )
        )


if __name__ == "__main__":
    main()

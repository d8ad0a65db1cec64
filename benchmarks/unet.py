"""The U-Net as it is evaluated here against that of guided_diffusion, and against the machine.

    python -m benchmarks.unet
    python -m benchmarks.unet --prior imagenet-256 --size 256 --runs 3
    python -m benchmarks.unet --compile

The published architecture is timed with random weights: nothing is downloaded. Both networks have
the same weights and are evaluated in turn; the ratio is the median of those of neighbours. The
floor is the number of multiply-adds divided by the rate at which the same threads multiply
matrices. Ratios can be compared between machines, seconds cannot.
"""

from __future__ import annotations

import argparse
import statistics
import warnings

import torch
from guided_diffusion.unet import UNetModel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed import now
from d2ir_pl.priors import UNetFlags, load_prior
from d2ir_pl.priors.guided_diffusion import UNetPrior
from d2ir_pl.priors.memory import keep_freed_memory

MATRIX = 2048
"""Side of the matrices whose product tells the rate of multiply-adds."""


def rate(device: str, runs: int = 5) -> float:
    """Multiply-adds a second in a product of matrices, the best of some runs."""
    a = torch.randn(MATRIX, MATRIX, device=device)
    seconds = []
    for _ in range(runs + 1):
        start = now()
        a @ a
        seconds.append(now() - start)
    return float(MATRIX**3 / min(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prior", default="natural-small", help="or imagenet-256, random weights")
    parser.add_argument("--size", type=int, default=128, help="height and width in pixels")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="with torch.compile")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.allow_tf32 = False  # as in products of matrices
    if options.prior == "imagenet-256":
        flags = UNetFlags()
        unet = flags.build()
        for weights in unet.parameters():
            if not weights.any():  # what starts at zero would hide what comes before it
                torch.nn.init.normal_(weights, std=0.02)
        prior = UNetPrior(unet, flags.config(), flags.schedule_config())
    else:
        loaded = load_prior(options.prior)
        if not isinstance(loaded, UNetPrior):
            parser.error(f"{options.prior} is no U-Net of guided_diffusion: name one that is")
        prior = loaded
    theirs = UNetModel(**prior.config)
    theirs.load_state_dict(prior.unet.state_dict())
    prior.to(device).prepare(gradient=False)
    if options.compile:
        prior.unet.compile()
    networks = [theirs.to(device).eval(), prior.unet]
    x = torch.randn(1, 3, options.size, options.size, device=device)
    t = torch.full((1,), 100, device=device)
    seconds: list[list[float]] = [[], []]
    outputs: list[torch.Tensor] = []
    with torch.inference_mode():
        for run in range(options.runs + 1):
            for network, times in zip(networks, seconds, strict=True):
                start = now()
                output = network(x, t)
                if run:  # the first one warms up
                    times.append(now() - start)
                else:
                    outputs.append(output)
        with FlopCounterMode(display=False) as counter:
            networks[0](x, t)
    work = counter.get_total_flops() / 2
    best = rate(device)
    ratio = statistics.median(b / a for a, b in zip(*seconds, strict=True))
    before, after = (statistics.median(times) for times in seconds)
    error = float((outputs[0] - outputs[1]).abs().max() / outputs[0].abs().max().clamp_min(1e-30))
    print("| U-Net | size | guided_diffusion s | here s | ratio | largest difference ", end="")
    print("| 10^9 multiply-adds | floor s | floor / here |")
    print("|" + "---|" * 9)
    print(
        f"| {options.prior} | {options.size}x{options.size} | {before:.2f} | {after:.2f} ", end=""
    )
    print(f"| {ratio:.3f} | {error:.1e} | {work / 1e9:.1f} | {work / best:.2f} ", end="")
    print(f"| {work / best / after:.0%} |")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    keep_freed_memory()
    main()

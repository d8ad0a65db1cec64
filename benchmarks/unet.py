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
from collections.abc import Sequence

import torch
from guided_diffusion.unet import UNetModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import tables
from benchmarks.speed import now
from d2ir_pl.priors import UNetFlags, load_prior
from d2ir_pl.priors.guided_diffusion import UNetPrior
from d2ir_pl.priors.memory import keep_freed_memory

_MATRIX = 2048
"""Side of the matrices whose product tells the rate of multiply-adds."""

_STEP = 100
"""The timestep of every evaluation."""


def rate(device: str, runs: int = 5) -> float:
    """Multiply-adds a second in a product of matrices, the best of some runs."""
    a = torch.randn(_MATRIX, _MATRIX, device=device)
    seconds = []
    for _ in range(runs + 1):
        start = now()
        a @ a
        seconds.append(now() - start)
    return float(_MATRIX**3 / min(seconds))


def published() -> UNetPrior:
    """The architecture of `imagenet-256` with random weights."""
    flags = UNetFlags()
    unet = flags.build()
    for weights in unet.parameters():
        if not weights.any():  # what starts at zero would hide what comes before it
            nn.init.normal_(weights, std=0.02)
    return UNetPrior(unet, flags.config(), flags.schedule_config())


def time_in_turn(
    networks: Sequence[nn.Module], x: Tensor, runs: int
) -> tuple[list[list[float]], list[Tensor]]:
    """The seconds of each network's evaluations, and what it returns.

    Args:
        networks: the networks, which are evaluated in turn.
        x: `(1, 3, H, W)`, their input.
        runs: number of evaluations that are timed; one before them warms up.
    """
    t = torch.full((1,), _STEP, device=x.device)
    seconds: list[list[float]] = [[] for _ in networks]
    outputs = [network(x, t) for network in networks]
    for _ in range(runs):
        for network, times in zip(networks, seconds, strict=True):
            start = now()
            network(x, t)
            times.append(now() - start)
    return seconds, outputs


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prior", default="natural-small", help="or imagenet-256, random weights")
    parser.add_argument("--size", type=int, default=128, help="height and width in pixels")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="with torch.compile")
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.allow_tf32 = False  # as in products of matrices
    prior = published() if options.prior == "imagenet-256" else load_prior(options.prior)
    if not isinstance(prior, UNetPrior):
        parser.error(f"{options.prior} is no U-Net of guided_diffusion: name one that is")
    theirs = UNetModel(**prior.config)
    theirs.load_state_dict(prior.unet.state_dict())
    prior.to(device).prepare(gradient=False)
    if options.compile:
        prior.unet.compile()
    x = torch.randn(1, 3, options.size, options.size, device=device)
    networks = [theirs.to(device).eval(), prior.unet]
    with torch.inference_mode():
        seconds, outputs = time_in_turn(networks, x, options.runs)
        with FlopCounterMode(display=False) as counter:
            theirs(x, torch.full((1,), _STEP, device=device))
    work = counter.get_total_flops() / 2
    floor = work / rate(device)
    ratio = statistics.median(b / a for a, b in zip(*seconds, strict=True))
    before, after = (statistics.median(times) for times in seconds)
    error = float((outputs[0] - outputs[1]).abs().max() / outputs[0].abs().max().clamp_min(1e-30))
    cells = {
        "U-Net": options.prior,
        "size": f"{options.size}x{options.size}",
        "guided_diffusion s": f"{before:.2f}",
        "here s": f"{after:.2f}",
        "ratio": f"{ratio:.3f}",
        "largest difference": f"{error:.1e}",
        "10^9 multiply-adds": f"{work / 1e9:.1f}",
        "floor s": f"{floor:.2f}",
        "floor / here": f"{floor / after:.0%}",
    }
    print(tables.single(cells))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    keep_freed_memory()
    main()

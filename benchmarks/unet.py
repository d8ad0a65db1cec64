"""The U-Net as it is evaluated here against that of guided_diffusion, and against the machine.

    python -m benchmarks.unet
    python -m benchmarks.unet --precision bf16 --size 256 --compile
    python -m benchmarks.unet --prior imagenet-256 --size 64 --runs 3
    python -m benchmarks.unet --precision bf16 --train

The published architecture is timed with random weights: nothing is downloaded. All networks have
the same weights and are evaluated in turn; a ratio is the median of those of neighbours. The
floor is the number of multiply-adds that are left divided by the rate at which the same threads
multiply matrices in the same precision. On one thread of a CPU, seconds are those of the thread, so
that other programs do not count. Bytes are those that the operations read and write, as if
none of them was in a cache. Ratios can be compared between machines, seconds cannot.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import get_args

import torch
from guided_diffusion.unet import UNetModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import speed, tables
from d2ir_pl.compat import watching_operations
from d2ir_pl.priors import UNetFlags, load_prior
from d2ir_pl.priors.guided_diffusion import UNetPrior, build_unet
from d2ir_pl.priors.memory import keep_freed_memory
from d2ir_pl.priors.precision import DTYPES, Precision, resolve

_MATRIX = 2048
"""Side of the matrices whose product tells the rate of multiply-adds."""

_STEP = 100
"""The timestep of every evaluation."""


def now() -> float:
    """Seconds on a clock: on one thread of a CPU, those that it has computed."""
    alone = torch.get_num_threads() == 1 and not torch.cuda.is_available()
    return time.thread_time() if alone else speed.now()


def rate(device: str, dtype: torch.dtype, runs: int = 5) -> float:
    """Multiply-adds a second in a product of matrices, the best of some runs."""
    a = torch.randn(_MATRIX, _MATRIX, device=device, dtype=dtype)
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
    calls: Sequence[Callable[[], Tensor]], runs: int
) -> tuple[list[list[float]], list[Tensor]]:
    """The seconds of each function's calls, and what it returns.

    Args:
        calls: functions that are called in turn.
        runs: number of calls that are timed; one before them warms up.
    """
    seconds: list[list[float]] = [[] for _ in calls]
    outputs = [call() for call in calls]
    for _ in range(runs):
        for call, times in zip(calls, seconds, strict=True):
            start = now()
            call()
            times.append(now() - start)
    return seconds, outputs


def evaluation(prior: UNetPrior, x: Tensor) -> Callable[[], Tensor]:
    """A function that evaluates a prior."""

    def evaluate() -> Tensor:
        with torch.no_grad():
            return prior.predict_eps(x, _STEP)

    return evaluate


def training_step(prior: UNetPrior, x: Tensor, dtype: torch.dtype) -> Callable[[], Tensor]:
    """A function that makes a step of training, with weights in float32; it returns the loss."""
    unet = prior.unet.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(unet.parameters(), 1e-6)
    t = torch.linspace(1, prior.schedule.T - 1, len(x), device=x.device).long()

    def step() -> Tensor:
        with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
            loss: Tensor = unet(x, t).float().square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def traffic(call: Callable[[], Tensor]) -> int:
    """Bytes that the operations of a call read and write; views move none."""
    total = 0

    def watch(inputs: list[Tensor], outputs: list[Tensor]) -> None:
        nonlocal total
        known = {tensor.untyped_storage().data_ptr() for tensor in inputs}
        made = [t for t in outputs if t.untyped_storage().data_ptr() not in known]
        if made:
            total += sum(tensor.nbytes for tensor in (*inputs, *made))

    with watching_operations(watch):
        call()
    return total


def networks(
    prior: UNetPrior, dtype: torch.dtype, compiled: bool, training: bool
) -> dict[str, UNetPrior]:
    """The same network as guided_diffusion evaluates it, and as it is evaluated here."""

    def copy(unet: nn.Module) -> UNetPrior:
        unet.load_state_dict(prior.unet.state_dict())
        made = UNetPrior(unet, prior.config, prior.schedule_config).cast(dtype)
        made.to(next(prior.parameters()).device)
        if not training:
            made.prepare(gradient=False)
        return made

    found = {
        "guided_diffusion": copy(UNetModel(**prior.config)),
        "here": copy(build_unet(prior.config)),
    }
    if compiled and not training:
        found["here, compiled"] = copy(build_unet(prior.config))
        found["here, compiled"].compile_network()
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prior", default="natural-small", help="or imagenet-256, random weights")
    parser.add_argument("--size", type=int, default=128, help="height and width in pixels")
    parser.add_argument("--batch", type=int, default=1, help="number of images")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--precision", choices=get_args(Precision), default="auto")
    parser.add_argument("--compile", action="store_true", help="with torch.compile as well")
    parser.add_argument("--train", action="store_true", help="steps of training, not evaluations")
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.allow_tf32 = False  # as in products of matrices
    prior = published() if options.prior == "imagenet-256" else load_prior(options.prior)
    if not isinstance(prior, UNetPrior):
        parser.error(f"{options.prior} is no U-Net of guided_diffusion: name one that is")
    dtype = DTYPES[resolve(options.precision, device)]
    x = torch.randn(options.batch, 3, options.size, options.size, device=device)
    prior.to(device)
    calls = {}
    weights = torch.float32 if options.train else dtype
    for name, network in networks(prior, weights, options.compile, options.train).items():
        calls[name] = training_step(network, x, dtype) if options.train else evaluation(network, x)
    seconds, outputs = time_in_turn(list(calls.values()), options.runs)
    exact = None if options.train else evaluation(prior, x)()
    multiply_adds = rate(device, dtype)

    titles = ("U-Net", "s", "times faster", "mean error", "10^9 multiply-adds", "GB moved")
    print(tables.head(*titles, "floor s", "floor / s"))
    for (name, call), times, output in zip(calls.items(), seconds, outputs, strict=True):
        ratio = statistics.median(a / b for a, b in zip(seconds[0], times, strict=True))
        after = statistics.median(times)
        error = "-" if exact is None else f"{float((output - exact).abs().mean()):.1e}"
        row: list[object] = [name, f"{after:.3f}", f"{ratio:.2f}", error]
        if "compiled" in name:  # its operations are not seen
            row += ["-"] * 4
        else:
            with FlopCounterMode(display=False) as counter:
                call()
            work = counter.get_total_flops() / 2
            floor = work / multiply_adds
            row += [f"{work / 1e9:.1f}", f"{traffic(call) / 1e9:.2f}"]
            row += [f"{floor:.3f}", f"{floor / after:.0%}"]
        print(tables.row(*row))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    keep_freed_memory()
    main()

"""Restoration quality: one table over tasks and methods.

    python benchmarks/quality.py                          # public-domain photographs
    python benchmarks/quality.py --tasks blur_gaussian --methods both,true_kernel
    python benchmarks/quality.py --data FOLDER            # a degraded set of your own

Prints Markdown, and writes a CSV file and a picture of all results under --output.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from photographs import TASKS, Task, make, read
from torch import Tensor

from d2ir_pl.degradations import Blur, Degradation, GaussianBlur, Phi
from d2ir_pl.degradations.kernels import kernel_covariance
from d2ir_pl.image_io import write_png
from d2ir_pl.memory import keep_freed_memory
from d2ir_pl.metrics import kernel_similarity, psnr, ssim
from d2ir_pl.noise import image_generator
from d2ir_pl.priors import Prior, load_prior
from d2ir_pl.restoration import D2IR, DegradationEstimation, LatentOptimization, RestorationMethod

EDGE = 12
"""Pixels along the border whose gain is reported by itself."""


class TrueKernel(Blur):
    """The oracle: a blur whose kernels are given for each image of the batch."""

    def __init__(self, kernel: Tensor) -> None:
        super().__init__(kernel.shape[-1])
        self.estimated = False
        self.truth = kernel

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:
        return {"logits": self.truth.clamp_min(1e-30).log()}


PAPER = D2IR(
    DegradationEstimation(
        steps=50,
        start=999,
        consistency="guidance",
        phi_steps=1,
        phi_start=999,
        phi_anchor=0.0,
    ),
    LatentOptimization(ddim_steps=10, level=-1, start="noise", gradient="full", discrepancy=0.0),
)
METHODS: dict[str, tuple[str, RestorationMethod]] = {
    "estimation": ("stage 1 alone", D2IR(stages="estimation")),
    "latent": ("stage 2 alone, kernel from the spectrum", D2IR(stages="latent")),
    "both": ("both stages (`blind_deblur`)", D2IR()),
    "true_kernel": ("both stages, true kernel given", D2IR()),
    "paper": ("published settings (`d2ir_paper`)", PAPER),
}
DEFAULT_METHODS = "estimation,latent,both,true_kernel"


def degradation_for(task: Task, method: str, rows: Task) -> Degradation:
    """What the method is told: the family of blurs, or the truth."""
    if method == "true_kernel":
        return TrueKernel(rows.kernel)
    if method == "paper":
        return Blur(border="reflect")
    if task.name == "blur_motion":
        return Blur()
    return GaussianBlur(isotropic=task.name != "blur_anisotropic")


def run(task: Task, name: str, prior: Prior, seed: int, batch: int) -> tuple[list[dict], Tensor]:
    """One row an image, and the restored images."""
    method = METHODS[name][1]
    rows, restored = [], []
    for first in range(0, len(task.names), batch):
        part = task.part(slice(first, first + batch))
        degradation = degradation_for(task, name, part)
        generators = [image_generator(seed, n) for n in part.names]
        start = time.perf_counter()
        result = method.restore(part.y, degradation, prior, generators)
        seconds = (time.perf_counter() - start) / len(part.names)
        kernels = degradation.kernel(result.phi)
        widths = kernel_covariance(kernels).diagonal(dim1=1, dim2=2).mean(1).sqrt()
        truth = kernel_covariance(part.kernel).diagonal(dim1=1, dim2=2).mean(1).sqrt()
        for b, image in enumerate(part.names):
            x, y, clean = (t[b : b + 1] for t in (result.x0, part.y, part.reference))
            rows.append(
                {
                    "task": task.name,
                    "method": name,
                    "image": image,
                    "degraded": float(psnr(y, clean)),
                    "psnr": float(psnr(x, clean)),
                    "ssim": float(ssim(x, clean)),
                    "edge_gain": edge_psnr(x, clean) - edge_psnr(y, clean),
                    "reblur": float(psnr(result.reblurred[b : b + 1], y)),
                    "similarity": float(kernel_similarity(kernels[b], part.kernel[b])),
                    "width": float(widths[b]),
                    "true_width": float(truth[b]),
                    "residual_over_sigma": float((result.residual[b]).sqrt() / result.sigma_y[b]),
                    "nfe": result.nfe[b],
                    "seconds": seconds,
                }
            )
        restored.append(result.x0)
    return rows, torch.cat(restored)


def edge_psnr(x: Tensor, clean: Tensor) -> float:
    """PSNR of the outer pixels alone."""
    error = ((x - clean) / 2).square()
    inner = error[..., EDGE:-EDGE, EDGE:-EDGE]
    mean = (error.sum() - inner.sum()) / (error.numel() - inner.numel())
    return float(-10 * mean.log10())


def table(rows: list[dict]) -> str:
    """Markdown, one line a task and method."""
    head = (
        "| task | method | degraded dB | PSNR dB | gain | smallest gain | gain of the outer 12 px "
        "| SSIM | reblur dB | kernel similarity | width within 20 % | U-Net evaluations "
        "| s an image |"
    )
    lines = [head, "|" + "---|" * 13]
    for task in dict.fromkeys(r["task"] for r in rows):
        for method in dict.fromkeys(r["method"] for r in rows if r["task"] == task):
            group = [r for r in rows if r["task"] == task and r["method"] == method]

            def mean(value: Callable[[dict], float], group: list[dict] = group) -> float:
                return sum(map(value, group)) / len(group)

            close = sum(abs(r["width"] / r["true_width"] - 1) <= 0.2 for r in group)
            gains = [r["psnr"] - r["degraded"] for r in group]
            lines.append(
                f"| {task} | {METHODS[method][0]} | {mean(lambda r: r['degraded']):.2f} "
                f"| {mean(lambda r: r['psnr']):.2f} | {sum(gains) / len(gains):+.2f} "
                f"| {min(gains):+.2f} | {mean(lambda r: r['edge_gain']):+.2f} "
                f"| {mean(lambda r: r['ssim']):.3f} | {mean(lambda r: r['reblur']):.2f} "
                f"| {mean(lambda r: r['similarity']):.3f} | {close} of {len(group)} "
                f"| {mean(lambda r: r['nfe']):.0f} | {mean(lambda r: r['seconds']):.1f} |"
            )
    return "\n".join(lines)


def sheet(task: Task, restored: dict[str, Tensor]) -> Tensor:
    """Rows: degraded, each method, clean; a column an image."""
    rows = [task.y, *restored.values(), task.reference]
    return torch.cat([torch.cat(list(images), 2) for images in rows], 1).clamp(-1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default="all", help=f"of {', '.join(TASKS)}")
    parser.add_argument("--methods", default=DEFAULT_METHODS, help=f"of {', '.join(METHODS)}")
    parser.add_argument("--data", type=Path, help="a degraded set; made from photographs if absent")
    parser.add_argument("--prior", default="natural-small")
    parser.add_argument("--limit", type=int, help="only the first so many images")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--output", type=Path, default=Path("results/quality"))
    options = parser.parse_args()
    tasks = list(TASKS) if options.tasks == "all" else options.tasks.split(",")
    methods = list(METHODS) if options.methods == "all" else options.methods.split(",")
    for name in tasks:
        if name not in TASKS:
            parser.error(f"task {name!r} is unknown: use {', '.join(TASKS)} or all")
    for name in methods:
        if name not in METHODS:
            parser.error(f"method {name!r} is unknown: use {', '.join(METHODS)} or all")

    prior = load_prior(options.prior)
    prior.cast({"bf16": torch.bfloat16, "fp32": torch.float32}[options.precision])
    options.output.mkdir(parents=True, exist_ok=True)
    rows: list[dict] = []
    for task_name in tasks:
        task = make(task_name) if options.data is None else read(task_name, options.data)
        task = task.part(slice(options.limit))
        restored = {}
        for method in methods:
            new, restored[method] = run(task, method, prior, options.seed, options.batch)
            rows += new
            print(table(new).splitlines()[-1], flush=True)
        write_png(options.output / f"{task_name}.png", sheet(task, restored))
        with (options.output / "quality.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    print("\n" + table(rows))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    keep_freed_memory()
    main()

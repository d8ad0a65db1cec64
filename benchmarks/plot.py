"""Quality against time, drawn from the rows of `python -m benchmarks.quality --sweep`."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.scores import Row

Rows = dict[tuple[str, str, str], Row]
"""Rows under (task, method, image)."""

PRESETS = {"steps_5": "fast", "steps_8": "balanced (default)", "samples_4": "best"}
FAMILIES = {
    "steps": "one restoration of 5 to 20 evaluations",
    "samples": "mean of 2 to 16 restorations",
}


def mean_gain(rows: Rows, method: str) -> tuple[float, float]:
    """Mean evaluations of a method and mean gain in PSNR; each task weighs the same."""
    tasks = sorted({task for task, m, _ in rows if m == method})
    gains, evaluations = [], []
    for task in tasks:
        own = [row for (t, m, _), row in rows.items() if (t, m) == (task, method)]
        gains.append(statistics.fmean(float(r["psnr"]) - float(r["input"]) for r in own))
        evaluations.append(statistics.fmean(float(r["nfe"]) for r in own))
    return statistics.fmean(evaluations), statistics.fmean(gains)


def draw(rows: Rows, file: Path, others: dict[str, str]) -> None:
    """Draw the mean gain over all tasks against U-Net evaluations.

    Args:
        rows: the rows; methods are named `<family>_<number>`.
        file: the picture to write.
        others: titles of further methods by their names, each drawn as a point if it has rows.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    methods = {method for _, method, _ in rows}
    for family, title in FAMILIES.items():
        own = [m for m in methods if m.rpartition("_")[0] == family]
        points = sorted(mean_gain(rows, m) for m in own)
        if points:
            axes.plot(*zip(*points, strict=True), "o-", label=title)
    for method, title in others.items():
        if method in methods:
            axes.plot(*mean_gain(rows, method), "s", label=title)
    for method, name in PRESETS.items():
        if method in methods:
            place = mean_gain(rows, method)
            axes.annotate(name, place, (6, -14), textcoords="offset points")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set_xlabel("U-Net evaluations a photo")
    axes.set_ylabel("gain in PSNR over the photo, dB")
    tasks = ", ".join(sorted({task for task, _, _ in rows}))
    axes.set_title(tasks, fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=120)

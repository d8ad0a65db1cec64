"""`compare`: what a change of method or settings has done to the results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from d2ir_pl.commands.plain import PlainParser
from d2ir_pl.reports.comparison import TIED, Comparison, compare

_COLUMNS = {
    "psnr": ("PSNR, dB", ".2f"),
    "ssim": ("SSIM", ".3f"),
    "lpips": ("LPIPS", ".3f"),
    "reblur_psnr": ("reblur PSNR, dB", ".2f"),
    "residual_over_sigma": ("residual / noise", ".2f"),
    "nfe": ("evaluations", ".1f"),
    "seconds": ("seconds", ".1f"),
}
"""Of the metrics that are shown, titles and formats."""


_PLAIN: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}


def compare_runs(arguments: list[str]) -> int:
    """Print a table of base against new: a row for each task, and each folder of new results."""
    parser = PlainParser(
        "d2ir compare",
        description="Compare results, image by image: one run with others, or all runs in a "
        "folder with those of the same path in others.",
    )
    parser.add_argument("base", type=Path, help="the --output of a run, or a folder of several")
    parser.add_argument("new", type=Path, nargs="+", help="the same of a changed method or setting")
    parser.add_argument(
        "--markdown", action="store_true", help="a table in Markdown, for a pull request"
    )
    parser.add_argument(
        "--output", type=Path, help="folder for pictures: a TensorBoard run an image"
    )
    options = parser.parse_args(arguments)
    found = {new: compare(options.base, new) for new in options.new}
    rows = {
        _label(new, comparison, len(found) > 1): comparison
        for new, comparisons in found.items()
        for comparison in comparisons
    }
    console = Console()
    if not console.is_terminal:
        console = Console(width=1000)  # lines are for a file or another program to break
    title = f"{options.base} → {options.new[0] if len(found) == 1 else 'each of'}"
    console.print(f"**{title}**\n" if options.markdown else title, **_PLAIN)
    with console.capture() as capture:
        console.print(_table(rows, options.markdown), highlight=False)
    lines = [line.rstrip() for line in capture.get().splitlines() if line.strip()]
    print(*lines, *([""] if options.markdown else []), sep="\n")
    for label, comparison in rows.items():
        for line in _remarks(comparison):
            where = f"{label}: " if len(rows) > 1 else ""
            console.print("- " * options.markdown + where + line, **_PLAIN)
    if options.output is not None:
        # Imported here because it needs PyTorch, without which the tables are there at once.
        from d2ir_pl.reports.tensorboard import write_pictures

        write_pictures(options.output, found)
        console.print(f"\npictures: tensorboard --logdir {options.output}", **_PLAIN)
    return 0


def _label(new: Path, comparison: Comparison, several: bool) -> str:
    parts = [str(new)] * several + [comparison.task] * (comparison.task != ".")
    return "/".join(parts)


def _table(rows: Mapping[str, Comparison], markdown: bool) -> Table:
    scores = {label: comparison.scores() for label, comparison in rows.items()}
    names = [name for name in _COLUMNS if any(name in row for row in scores.values())]
    table = Table(box=box.MARKDOWN if markdown else box.SIMPLE, pad_edge=markdown)
    table.add_column("task", overflow="fold")
    for heading in ("images", *(_COLUMNS[name][0] for name in names), "better / worse", "worst"):
        table.add_column(heading, justify="right", overflow="fold")
    for label, comparison in rows.items():
        cells = [_change(scores[label].get(name), _COLUMNS[name][1]) for name in names]
        task = f"{label} {comparison.degradation}".strip()
        texts = [task, str(len(comparison.pairs)), *cells, *_judgement(comparison)]
        # A name may hold a character that means something in a table of Markdown, or to rich.
        table.add_row(*(Text(t.replace("|", "\\|") if markdown else t) for t in texts))
    return table


def _change(means: tuple[float, float] | None, form: str) -> str:
    if means is None:
        return ""
    base, new = (format(mean, form) for mean in means)
    return f"{base} → {new} ({float(new) - float(base):+{form}})"


def _judgement(comparison: Comparison) -> tuple[str, str]:
    gains = comparison.gains()
    if not gains:
        return "", ""
    better = sum(gain > TIED for gain in gains.values())
    worse = sum(gain < -TIED for gain in gains.values())
    name, gain = next(iter(gains.items()))
    return f"{better} / {worse}", f"{name} ({gain:+.2f} dB)"


def _remarks(comparison: Comparison) -> Iterator[str]:
    changed = [
        f"{name} {_shown(base)} → {_shown(new)}"
        for name, (base, new) in comparison.settings.items()
    ]
    if changed:
        yield f"settings that differ: {'; '.join(changed)}"
    elif comparison.same_fingerprint:
        yield "the settings are the same"
    else:
        yield (
            "the settings are the same, but not what they name (a kernel, masks, the prior) or the "
            "version of the program"
        )
    if comparison.alone:
        names = ", ".join(comparison.alone[:3]) + ", ..." * (len(comparison.alone) > 3)
        yield f"left out, as only one of the runs has restored them: {names}"
    if not comparison.by_psnr:
        yield (
            "without references, better means that the residual is nearer to the noise (in dB), "
            "not that the picture is better"
        )


def _shown(value: object) -> str:
    return "unset" if value is None else str(value)

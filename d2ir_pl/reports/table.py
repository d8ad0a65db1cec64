"""A comparison of runs as text: a table with a row for each task, and remarks below it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from d2ir_pl.console import plain, say
from d2ir_pl.reports.comparison import TIED, Comparison

_COLUMNS = {
    "psnr": ("PSNR, dB", ".2f"),
    "ssim": ("SSIM", ".3f"),
    "lpips": ("LPIPS", ".3f"),
    "sharpness": ("sharpness", ".3f"),
    "brisque": ("BRISQUE", ".1f"),
    "reblur_psnr": ("reblur PSNR, dB", ".2f"),
    "residual_over_sigma": ("residual / noise", ".2f"),
    "nfe": ("evaluations", ".1f"),
    "seconds": ("seconds", ".1f"),
}
"""Titles and formats of the metrics that are shown."""

_NAMED = 3
"""Images at most that are named in a remark."""

_ENDLESS = 1000
"""Columns of a line that is written to a file or another program, which may break it."""


def print_comparisons(
    base: Path, comparisons: Mapping[Path, Sequence[Comparison]], markdown: bool = False
) -> None:
    """Print what has changed from a base to new results, on standard output.

    Args:
        base: the folder that the new results are compared with.
        comparisons: by the folder of the new results, a comparison of each task.
        markdown: whether the table is one of Markdown, for a pull request, and remarks are items of
            a list.
    """
    several = len(comparisons) > 1
    rows = {
        _label(new, comparison, several): comparison
        for new, tasks in comparisons.items()
        for comparison in tasks
    }
    console = Console()
    if not console.is_terminal:
        console = Console(width=_ENDLESS)
    title = f"{base} → {'each of' if several else next(iter(comparisons))}"
    say(console, f"**{title}**\n" if markdown else title)
    with console.capture() as capture:
        console.print(_table(rows, markdown), highlight=False)
    for line in capture.get().splitlines():
        if line.strip():
            print(line.rstrip())
    if markdown:
        print()
    for label, comparison in rows.items():
        for remark in _remarks(comparison):
            line = f"{label}: {remark}" if len(rows) > 1 else remark
            say(console, f"- {line}" if markdown else line)


def _label(new: Path, comparison: Comparison, several: bool) -> str:
    """What a row is called: the folder of the new results if there are several, and the task."""
    parts = [str(new)] if several else []
    if comparison.task != ".":
        parts.append(comparison.task)
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
        table.add_row(*(Text(plain(t.replace("|", "\\|") if markdown else t)) for t in texts))
    return table


def _change(means: tuple[float, float] | None, form: str) -> str:
    """The means of base and new, and their difference as it is seen in the digits shown."""
    if means is None:
        return ""
    base, new = (format(mean, f"z{form}") for mean in means)
    return f"{base} → {new} ({float(new) - float(base):+z{form}})"


def _judgement(comparison: Comparison) -> tuple[str, str]:
    """How many images got better and worse, and the name of the one that lost most."""
    gains = comparison.gains()
    if not gains:
        return "", ""
    better = sum(gain > TIED for gain in gains.values())
    worse = sum(gain < -TIED for gain in gains.values())
    name, gain = next(iter(gains.items()))
    return f"{better} / {worse}", f"{name} ({gain:+z.2f} dB)"


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
        names = [*comparison.alone[:_NAMED], *(["..."] if len(comparison.alone) > _NAMED else [])]
        yield f"left out, as only one of the runs has restored them: {', '.join(names)}"
    if not comparison.by_psnr:
        yield (
            "without references, better means that the residual is nearer to the noise (in dB), "
            "not that the picture is better"
        )


def _shown(value: object) -> str:
    return "unset" if value is None else str(value)

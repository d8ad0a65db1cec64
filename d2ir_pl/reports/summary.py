"""What `predict` says at its end."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from d2ir_pl.console import say
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.record import means

_NAMED = 3
"""Images without a result, of which there is no other word, that are named at most."""


def report_summary(
    folder: ResultFolder, names: Sequence[str], skipped: int, console: Console, limit: str = ""
) -> int:
    """Say what became of all images, and return the exit status.

    Args:
        folder: the results.
        names: names of all inputs, but those that a limit left out.
        skipped: number of inputs that were complete before.
        console: terminal in which it is said.
        limit: sentence about the inputs that a limit left out; empty if there are none.

    Returns:
        0, or 1 if an image has no result.
    """
    records = folder.records(names)
    failed = [r for r in records if r.status == "failed"]
    complete = [r for r in records if r.status == "restored"]
    known = {record.name for record in records}
    missing = [name for name in names if name not in known]

    counts = [f"{len(complete) - skipped} restored"]
    if skipped:
        counts.append(f"{skipped} skipped (complete already)")
    counts.append(f"{len(failed) + len(missing)} failed")
    say(console, f"{', '.join(counts)}; results in {folder.root}")
    if scores := means(complete, ("input_psnr", "psnr", "ssim")):
        which = f" of all {len(complete)}, those skipped included:" if skipped else ""
        say(
            console,
            f"mean{which} " + ", ".join(f"{name} {value:.2f}" for name, value in scores.items()),
        )
    for record in failed:
        say(console, f"failed: {record.name}: {record.reason}")
    if missing:
        images = "1 image has" if len(missing) == 1 else f"{len(missing)} images have"
        shown = ", ".join([*missing[:_NAMED], *(["..."] if len(missing) > _NAMED else [])])
        say(console, f"failed: {images} no result ({shown}): run the same command again")
    if limit:
        say(console, limit)
    return 1 if failed or missing else 0

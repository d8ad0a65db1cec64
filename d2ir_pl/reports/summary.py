"""What `predict` says at its end."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from rich.console import Console

from d2ir_pl.console import say
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.record import Record, means
from d2ir_pl.stopping import KEPT

_NAMED = 3
"""Images without a result, of which there is no other word, that are named at most."""


def report_summary(
    folder: ResultFolder,
    names: Sequence[str],
    skipped: int,
    console: Console,
    limit: str = "",
    stopped: bool = False,
    not_read: Sequence[str] = (),
) -> int:
    """Say what became of all images, and return the exit status.

    Args:
        folder: the results.
        names: names of all inputs, but those that a limit left out.
        skipped: number of inputs that were complete before.
        console: terminal in which it is said.
        limit: sentence about the inputs that a limit left out; empty if there are none.
        not_read: names of other files that may be taken for inputs.
        stopped: whether the run was asked to end before all were done.

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
    if failed or not stopped:
        counts.append(f"{len(failed) + (0 if stopped else len(missing))} failed")
    if missing and stopped:
        counts.append(f"{len(missing)} left")
    say(console, f"{', '.join(counts)}; results in {folder.root}")
    if scores := means(complete, ("input_psnr", "psnr", "ssim")):
        which = f" of all {len(complete)}, those skipped included:" if skipped else ""
        say(
            console,
            f"mean{which} " + ", ".join(f"{name} {value:.2f}" for name, value in scores.items()),
        )
    for line in _failures(failed):
        say(console, f"failed: {line}")
    if missing and stopped:
        say(console, f"stopped before the end: {KEPT}")
    elif missing:
        images = "1 image has" if len(missing) == 1 else f"{len(missing)} images have"
        inside = next((p for p in map(folder.json, missing) if os.path.isdir(p)), None)
        first = "" if inside is None else f"move the folder {inside} away, and "
        remedy = f"{first}run the same command again"
        say(console, f"failed: {images} no result ({_named(missing)}): {remedy}")
    if not_read:
        files = "1 file" if len(not_read) == 1 else f"{len(not_read)} files"
        say(console, f"left out: {files} of kinds that are not read ({_named(not_read)})")
    if limit:
        say(console, limit)
    return 1 if failed or missing else 0


def _failures(failed: Sequence[Record]) -> Iterator[str]:
    """A line for each image that failed, and one for all that failed for the same reason."""
    groups: dict[str, list[tuple[str, Record]]] = {}
    for record in failed:
        file, reason = _parted(record)
        groups.setdefault(reason, []).append((file, record))
    for reason, members in groups.items():
        if len(members) == 1:
            record = members[0][1]
            yield f"{record.name}: {record.reason}"
            continue
        files = [file for file, _ in members]
        each = "each " if reason.startswith(("is ", "has ", "cannot ", "does ")) else ""
        yield f"{len(files)} photos ({_named(files)}): {each}{reason}"


def _named(names: Sequence[str]) -> str:
    """Some names, of which the first stand for many."""
    return ", ".join([*names[:_NAMED], *(["..."] if len(names) > _NAMED else [])])


def _parted(record: Record) -> tuple[str, str]:
    """The name of the file that failed, and what is said of it."""
    name = record.name.rpartition("/")[2]
    at = record.reason.find(name)
    file, space, reason = record.reason[max(at, 0) :].partition(" ")
    if at < 0 or " " in name or not space:
        return record.name, record.reason
    return file, reason

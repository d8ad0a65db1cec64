"""Sentences about a result that the owner of the photo should know."""

from __future__ import annotations

from d2ir_pl.estimators.widths import MAX_WIDTH
from d2ir_pl.results.record import Record

UNEXPLAINED = 1.5
"""RMS of what is left unexplained, in multiples of the noise, from which there is a warning."""

UNSETTLED = 0.025
"""Change of the degradation at both of the last two steps of stage 1 from which there is one.

On the examples, with every parametric blur, right or wrong, the smaller of the two is at most
0.023. Where nothing holds the width of a wrong blur, it is 0.042 to 0.047; where steps are ten
times as long, up to 0.033; and 0.03 for a free kernel that moves as fast as `phi_lr` lets it."""

OTHERWISE, LEAST, MOST = 1.0, 0.03, 0.15
"""How much less than 1 the likeness of the kernels of a photo's parts is, in units of the same for
halves of parts, from which there is a warning, and how much it is at least and at most: kernels
that differ by more were not found (docs/experiments.md)."""


SECOND_OPINION, LEFT = "second opinion: ", "the photo is left as it is"
"""How a note on a result that was set aside begins, and how it ends where nothing replaced it."""


def in_short(note: str) -> str:
    """A note without its reasons, which stand elsewhere, where it is long."""
    if not note.startswith(SECOND_OPINION):
        return note
    return "left as it is" if note.endswith(LEFT) else "restored gently: more would have harmed it"


def warnings(record: Record) -> list[str]:
    """Sentences about a restored photo that its owner should know."""
    found = list(record.notes)
    ratio = record.residual_over_sigma
    if ratio is not None and ratio > UNEXPLAINED:
        found.append(
            "what was undone does not explain the whole photo: it may be damaged in another way "
            f"(what is left over is {ratio:.1f} times its noise)"
        )
    if record.stopped_by == "iterations":
        found.append(
            "it was stopped at its last step, and more steps may come closer to the photo (stage 2 "
            "ended before the photo was explained to its noise)"
        )
    last = [change for change in record.phi_change[-2:] if change is not None]
    if last and min(last) > UNSETTLED:
        found.append(
            "the blur that was found is uncertain, and more steps may find another (it still "
            f"changed by {100 * last[-1]:.0f}% in the last step of stage 1)"
        )
    for name in ("width_major_px", "width_px"):
        width = record.phi.get(name)
        if isinstance(width, float) and width > 0.98 * MAX_WIDTH:
            found.append(f"the width is at its bound of {MAX_WIDTH:g} pixels: it may be larger")
    differing = unlike(record)
    if LEAST < differing < MOST:
        found.append(
            "it is not blurred the same all over, and one blur was undone for all of it: parts of "
            f"it may show ghosts or stay soft (their kernels differ by {differing:.0%})"
        )
    return found


def unlike(record: Record) -> float:
    """How unlike the kernels of a photo's parts are; 0 where that may be chance."""
    parts = [1 - alike for row in places(record) for alike in row if alike is not None]
    within = halves(record)
    if not parts or within is None:
        return 0.0
    mean = sum(parts) / len(parts)
    return mean if mean > OTHERWISE * (1 - within) else 0.0


def halves(record: Record) -> float | None:
    """How like the kernels of the halves of a photo's parts are, where that is known."""
    value = record.kernel.get("halves")
    return float(value) if isinstance(value, (int, float)) else None


def places(record: Record) -> list[list[float | None]]:
    """How like the kernel of each part of a photo is to those of the others, by rows of parts.

    It is empty where they were not compared, or where the record holds something else.
    """
    rows = record.kernel.get("places")
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        return []
    if not all(v is None or isinstance(v, (int, float)) for row in rows for v in row):
        return []
    return rows

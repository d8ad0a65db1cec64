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

OTHERWISE, FEWEST = 0.955, 2
"""Likeness of the kernel of a part of a photo to the mean of the others below which it counts as
another one, and the number of such parts from which there is a warning (docs/experiments.md)."""


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
    parts = [alike for row in places(record) for alike in row if alike is not None]
    others = sum(alike < OTHERWISE for alike in parts)
    if others >= FEWEST:
        found.append(
            f"it is not blurred the same all over, and one blur was undone for all of it: {others} "
            f"of {len(parts)} parts have another one, and may show ghosts or stay soft"
        )
    return found


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

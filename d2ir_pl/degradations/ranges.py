"""The check of ranges from which parameters are drawn."""

from __future__ import annotations

import math

from d2ir_pl.errors import require


def require_range(
    name: str,
    ends: tuple[float, float],
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: float = -math.inf,
    remedy: str = "",
) -> None:
    """Check the two ends of a range, the smaller of which comes first.

    Args:
        name: the parameter as its constructor calls it, such as `draw_width`.
        ends: the range that was given.
        low: the least number that is allowed.
        high: the greatest number that is allowed.
        above: a number that both ends must exceed.
        remedy: what to do instead.

    Raises:
        ValueError: if an end is outside the bounds, or the first one is the larger.
    """
    for end in ends:
        require(name, end, low, high, above=above, remedy=remedy)
    if ends[0] > ends[1]:
        raise ValueError(f"{name} {ends} must give the smaller number first")

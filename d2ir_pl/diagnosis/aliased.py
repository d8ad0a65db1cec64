"""Whether a small photo is taken for one made without anti-aliasing."""

from __future__ import annotations

from torch import Tensor

from d2ir_pl.degradations import Downsampling
from d2ir_pl.estimators.aliasing import aliasing_odds

ALIASED = -1.0
"""Log-odds from which a photo is taken for aliased: on training photographs, 9 % of bicubic ones
that are not, and 87 to 95 % of those that are. The two mistakes do not cost the same: one that is
not aliased still ends above enlarging it, and one that is ends below (docs/experiments.md)."""

WARNING = (
    "it looks as if it was made smaller without anti-aliasing, as cv2.resize and web pages do, for "
    "which this is worse than enlarging: try --config super_resolution_aliased"
)
FOUND = (
    "taken for made smaller without anti-aliasing, as cv2.resize and web pages do, by its "
    "spectrum and edges: restored as with --config super_resolution_aliased "
    "(--model.second_opinion false does not)"
)


def sampled(y: Tensor, family: Downsampling, may_change: bool) -> tuple[Downsampling, str]:
    """The kernel that a photo was made smaller with, where that was taken for `bicubic`.

    Undoing a smoothing that never took place amplifies every edge, and the result explains the
    photo all the same.

    Args:
        y: `(3, h, w)` photo in [-1, 1].
        family: what it is taken for.
        may_change: whether it may be taken for another one.

    Returns:
        The family itself or the one for aliased photos, and a sentence where it looks aliased.
    """
    if family.kernel != "bicubic":
        return family, ""
    odds = aliasing_odds(y, family.factor)
    if odds <= ALIASED:
        return family, ""
    if not may_change:
        return family, WARNING
    return Downsampling(family.factor, "bilinear_aliased", family.border), FOUND

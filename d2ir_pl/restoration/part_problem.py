"""Parts of photos as problems of their own, which know what the whole photos show."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Self

from torch import Tensor

from d2ir_pl.degradations import Phi
from d2ir_pl.operators.linear import Size
from d2ir_pl.restoration.problem import Problem


@dataclass(frozen=True, eq=False)
class PartProblem(Problem):
    """Parts of photos, to restore as they would be within the whole.

    What holds for all of a photo, such as the width of its blur and the spectrum of its noise, is
    read off the whole of it, and the noise that is drawn is a part of that of the whole.

    Args:
        photos: the whole photos, with the same noise.
        corner: first row and column of the parts in them.
    """

    photos: Problem = field(kw_only=True)
    corner: Size = field(kw_only=True)

    @classmethod
    def within(cls, photos: Problem, corner: Size, part: Problem) -> PartProblem:
        """A part that is a problem already, with the noise of the photos.

        Args:
            photos: the whole photos.
            corner: first row and column of the part.
            part: the part.
        """
        own = {one.name: getattr(part, one.name) for one in fields(part)}
        own |= {"sigma_y": photos.sigma_y, "estimated": photos.estimated}
        return cls(**own, photos=photos, corner=corner)

    @property
    def shown(self) -> Problem:
        return self.photos

    def init(self) -> Phi:
        """The parameters that the whole photos show; those of a mask are of its pixels."""
        return super().init() if self.degradation.holes is not None else self.photos.init()

    def assuming(self, sigma_y: Tensor) -> Self:
        return replace(super().assuming(sigma_y), photos=self.photos.assuming(sigma_y))

    def noise(self) -> Tensor:
        # From the generators of this problem, which may be copies.
        whole = replace(self.photos, generators=self.generators).noise()
        (top, left), (height, width) = self.corner, self.image_size
        factor = self.degradation.frame.factor
        rows = slice(factor * top, factor * top + height)
        return whole[..., rows, factor * left : factor * left + width].clone()

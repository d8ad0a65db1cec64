"""How the sizes of a photo, of its restoration and of the image that is worked on fit together."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from d2ir_pl.operators.linear import Size, size_of
from d2ir_pl.operators.padding import pad

Margin = tuple[int, int]
"""Rows (and columns) before and after an image."""


@dataclass(frozen=True)
class Frame:
    """How the sizes of three images fit together.

    y is the photo. The user's image, which a method returns, is `factor` times as high and as wide
    as y. x, which a method works on, may reach beyond the user's image, because a photo also shows
    what a blur has carried into it from outside.

    Attributes:
        factor: how many times the user's image is as large as y along each side.
        margins: rows (and columns) of x before and after what the next degradation shows, from the
            last degradation of a chain to the first; a single one that looks past the border has
            one pair.
    """

    factor: int = 1
    margins: tuple[Margin, ...] = ()

    @property
    def before(self) -> int:
        """Rows (and columns) of x before the user's image."""
        return sum(before for before, _ in self.margins)

    @property
    def after(self) -> int:
        """Rows (and columns) of x after the user's image."""
        return sum(after for _, after in self.margins)

    def output_size(self, observed: Size) -> Size:
        """Size of the user's image for a y of the given size."""
        return self.factor * observed[0], self.factor * observed[1]

    def image_size(self, observed: Size) -> Size:
        """Size of the x that explains a y of the given size."""
        height, width = self.output_size(observed)
        margin = self.before + self.after
        return height + margin, width + margin

    def fit(self, clean: Tensor) -> Tensor:
        """The largest part of a clean image, from its top left corner, that a whole y can show."""
        height, width = size_of(clean)
        return clean[..., : height - height % self.factor, : width - width % self.factor]

    def embed(self, clean: Tensor) -> Tensor:
        """An x that shows a user's image, mirrored where x reaches beyond it."""
        for margin in self.margins:
            clean = pad(clean, margin, margin, "reflect")
        return clean

    def crop(self, x: Tensor) -> Tensor:
        """Cut the user's image out of x."""
        height, width = size_of(x)
        inner = slice(self.before, height - self.after), slice(self.before, width - self.after)
        return x[..., inner[0], inner[1]]

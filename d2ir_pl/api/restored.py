"""What `restore` returns, and the file that is made of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from d2ir_pl.errors import OutputError
from d2ir_pl.image_io import Output, Photo, format_of, write_photo
from d2ir_pl.restoration import Restoration

ImageKind = TypeVar("ImageKind", Tensor, NDArray[Any], Image.Image)


@dataclass(frozen=True, repr=False)
class Restored(Generic[ImageKind]):
    """A restored image and everything behind it.

    Attributes:
        image: the restored image, of the kind that went in; a PIL image where a path went in, with
            `icc_profile`, `exif` and more in its `info`. Pillow has no colours of 16 bits; `save`
            keeps them.
        picture: the estimated degradation as a picture, `(h, w)` in [0, 1]; None if it has none.
        parameters: the estimated degradation as numbers.
        restoration: tensors, residuals and losses of a batch of one.
        reasons: sentences that say why the degradation was chosen, if the program has chosen it,
            and what was taken for missing.
        notes: sentences on what had to be done differently, such as the first frame that was taken
            of an animation.
        opinion: what a second opinion has chosen: `agreed` where nothing was against the result,
            `weaker` for a weaker blur and more noise, `no blur`, or `the photo` itself; empty
            where there was none. A note says why.
        photo: the restored image with all that `save` writes.
    """

    image: ImageKind
    picture: Tensor | None
    parameters: dict[str, object]
    restoration: Restoration
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    opinion: str = ""
    photo: Photo = field(kw_only=True)

    def __repr__(self) -> str:
        # One line, as of an image in a list: a kernel alone has hundreds of numbers.
        height, width = self.photo.size
        short = {k: v for k, v in self.parameters.items() if isinstance(v, str | int | float)}
        found = "".join(f", {name} {value}" for name, value in short.items())
        return f"<{type(self).__name__}: {height}x{width} pixels{found}>"

    def save(
        self,
        path: str | os.PathLike[str],
        quality: int | None = None,
        strip_metadata: bool = False,
        mark_generated: bool = True,
    ) -> None:
        """Write the restored image as `predict` does, byte for byte.

        It has the bits of the file that went in, 8 or 16 (16 for floats), its transparency, colour
        space and metadata, and one channel if the image was grey. It is upright. JPEG and WebP have
        8 bits, and JPEG no transparency.

        Args:
            path: file to create or replace; its suffix says of which kind: `.png`, `.jpg`,
                `.webp` or `.tif`.
            quality: of JPEG and WebP files, 1 to 100; that of the JPEG file that went in, or a high
                one, if None.
            strip_metadata: whether what tells of a place or a person is left out.
            mark_generated: whether the file says, in the words of IPTC, that it was edited with a
                generative model; where a second opinion has kept the photo itself, it never does.

        Raises:
            OutputError: if the name ends otherwise, or the file cannot be written.
            ValueError: if the quality is out of its range.
        """
        path = Path(path)
        kind = format_of(path)
        if kind is None:
            raise OutputError(
                f"{path} must end in .png, .tif, .jpg or .webp: name it {path.stem}.png, or write "
                "another kind of file with image.save"
            )
        try:
            mark = mark_generated and self.opinion != "the photo"
            write_photo(path, self.photo, Output(kind, quality, strip_metadata, mark))
        except OSError as error:
            raise OutputError(
                f"{path} cannot be written ({error.strerror or error}): choose a folder that "
                "exists, with room in it"
            ) from error

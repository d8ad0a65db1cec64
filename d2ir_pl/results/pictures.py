"""The pictures of an output folder: what is written of a restored image beside its record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256

from PIL import Image
from torch import Tensor

from d2ir_pl.image_io import Output, Photo, is_draft, write_png
from d2ir_pl.image_io.png import replace_file
from d2ir_pl.image_io.writing import photo_bytes
from d2ir_pl.results.folder import RESTORED, ResultFolder, parent_made
from d2ir_pl.results.guards import MAPS
from d2ir_pl.results.record import Record

WHITE_STD = 0.1
"""The standard deviation in [0, 1] that is white in a picture of the uncertainty."""


@dataclass(frozen=True)
class Pictures:
    """What there is to see of one restored image.

    Attributes:
        restored: the restored photo, with what else its file has.
        degradation: `(h, w)` in [0, 1], such as a kernel.
        degraded: `(3, h, w)` in [-1, 1], the input where the program made it from a clean image.
        std: `(1, H, W)` standard deviation between samples in the units of [-1, 1].
        filled_in: `(1, H, W)` share in [0, 1] of the details that the prior has filled in.
        half_width: `(1, H, W)` half of each pixel's interval in the units of [-1, 1].
    """

    restored: Photo
    degradation: Tensor | None = None
    degraded: Tensor | None = None
    std: Tensor | None = None
    filled_in: Tensor | None = None
    half_width: Tensor | None = None


def write_result(
    folder: ResultFolder, record: Record, pictures: Pictures, output: Output | None = None
) -> None:
    """Write everything about one restored image; the restored picture comes last.

    Args:
        folder: the results.
        record: what is known of the image; the digest of the restored picture is added.
        pictures: what there is to see of it.
        output: how the restored picture is written; as PNG if None.

    Raises:
        OutputError: if a file cannot be written.
    """
    name = record.name
    with folder.writing(name):
        # What is left from other settings must not pass for the new record's.
        for suffix in RESTORED:
            folder.restored_as(name, suffix).unlink(missing_ok=True)
        for place in MAPS:
            (folder.root / place / f"{name}.png").unlink(missing_ok=True)
        if pictures.degradation is not None:
            kernel = pictures.degradation.expand(3, -1, -1) * 2 - 1
            write_png(parent_made(folder.picture(name)), kernel, grey=True)
        if pictures.std is not None:
            certainty = uncertainty_picture(pictures.std).expand(3, -1, -1) * 2 - 1
            write_png(parent_made(folder.uncertainty(name)), certainty, grey=True, bit_depth=16)
        if pictures.filled_in is not None:
            share = pictures.filled_in.expand(3, -1, -1) * 2 - 1
            write_png(parent_made(folder.filled_in(name)), share, grey=True)
        if pictures.half_width is not None:
            half = pictures.half_width.clamp(0, 2).expand(3, -1, -1) - 1
            write_png(parent_made(folder.interval(name)), half, grey=True, bit_depth=16)
        if pictures.degraded is not None:
            grey = pictures.restored.grey
            write_png(parent_made(folder.degraded(name)), pictures.degraded, grey=grey)
        output = output or Output()
        data = photo_bytes(pictures.restored, output)
        folder.write_record(replace(record, output_sha256=sha256(data).hexdigest()))
        path = folder.restored_as(name, output.suffix(pictures.restored))
        replace_file(parent_made(path), data)


def write_previews(
    folder: ResultFolder,
    name: str,
    before: Image.Image,
    steps: Image.Image | None,
    restored: Image.Image | None = None,
) -> None:
    """Write the pictures that the report shows beside the results.

    Args:
        folder: the results.
        name: of the image.
        before: the photo as it came in.
        steps: estimates of the image along the way, side by side; None if there are none.
        restored: the restored photo, where its own file is in other colours than sRGB.

    Raises:
        OutputError: if a file cannot be written.
    """
    with folder.writing(name):
        # What is left from other settings must not pass for the new result's.
        folder.remove_previews(name)
        before.save(parent_made(folder.preview(name)), quality=88)
        if steps is not None:
            steps.save(folder.film_strip(name), quality=88)
        if restored is not None:
            restored.save(folder.preview_restored(name), quality=88)


def sweep_pictures(folder: ResultFolder) -> None:
    """Remove pictures that a run which was killed has left half-written; call it under the lock."""
    with folder.writing():
        for place in ("restored", *MAPS):
            for path in (folder.root / place).rglob("*.tmp"):
                if is_draft(path):
                    path.unlink(missing_ok=True)


def uncertainty_picture(std: Tensor) -> Tensor:
    """A standard deviation in the units of [-1, 1] as a picture in [0, 1]: black is certain."""
    return (std / 2 / WHITE_STD).clamp(0, 1)

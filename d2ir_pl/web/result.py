"""What a visitor gets to see and to download of a restored photo."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from PIL import Image
from torch import Tensor

from d2ir_pl.image_io import Photo, as_picture, enlarged, read_image, resized, srgb_picture
from d2ir_pl.restoration import Step
from d2ir_pl.restoration.result import NO_INTERVALS
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.record import Record
from d2ir_pl.results.warnings import SECOND_OPINION, in_short, warnings
from d2ir_pl.web.liveliest import liveliest
from d2ir_pl.web.painting import part_of

SHOWN = 512
"""Longest side in pixels of the image that is shown at a step."""
DETAIL = 640
"""Side in pixels of the part that is shown pixel for pixel."""
_WRITTEN = ("format", "strip_metadata")
"""Options of the data that say how the restored photo is written."""
SMALL = 210
"""Longest side in pixels to which a kernel or map is enlarged."""


@dataclass(frozen=True)
class Comparison:
    """Pictures of one size and of the same place.

    Attributes:
        before: the photo.
        after: the restored photo.
        invented: bright where the prior has filled in the details of that; of any size, and None
            where that is not known.
    """

    before: Image.Image
    after: Image.Image
    invented: Image.Image | None = None


class Result:
    """A restored photo.

    Args:
        photo: name of the uploaded file.
        results: what the run has written.
        reasons: sentences that say why the photo was restored so.
        secret: files of the server, whose folders the visitor is not told.
        original: what the uploaded file holds; None if there is to be no detail of it.
    """

    def __init__(
        self,
        photo: str,
        results: ResultFolder,
        reasons: Sequence[str],
        secret: Sequence[Path],
        original: Photo | None = None,
    ) -> None:
        self.record: Record = results.records(results.names())[0]
        self._photo = photo
        self._results = results
        self._reasons = reasons
        self._secret = secret
        self._original = original

    def summary(self) -> str:
        """A line about the size and the time, and all warnings."""
        record = self.record
        text = f"Restored {record.width}x{record.height} pixels in {record.seconds:.0f} s."
        told = [w for w in warnings(record) if not w.startswith(NO_INTERVALS)]  # nobody asked
        found = (f"{short[:1].upper()}{short[1:]}." for short in map(in_short, told))
        return " ".join([text, *found])

    def found(self) -> list[str]:
        """Why the photo was restored so, and what a second opinion made of it."""
        opinions = [note for note in self.record.notes if note.startswith(SECOND_OPINION)]
        return [*self._reasons, *opinions]

    def before_and_after(self) -> Comparison:
        """The whole photo, before and after."""
        before = Image.open(self._results.preview(self.record.name))
        restored = read_image(self._results.restored(self.record.name))
        shown = resized(restored.pixels, (before.height, before.width))
        return Comparison(before, srgb_picture(shown, restored), self._invented())

    def detail(self, mask: Image.Image | None = None) -> Comparison | None:
        """A part, before and after, pixel for pixel; None for small photos.

        Where the photo was enlarged, so is its part.

        Args:
            mask: white where alone the photo was restored, of which the part is; the liveliest
                part of all if None.
        """
        restored = read_image(self._results.restored(self.record.name))
        size = restored.size
        if self._original is None or max(size) <= DETAIL:
            return None
        height, width = (min(DETAIL, side) for side in size)
        if mask is None:
            top, left = liveliest(restored.pixels, (height, width))
        else:
            top, left = part_of(mask.resize(size[::-1]), DETAIL)
        after = restored.pixels[:, top : top + height, left : left + width]
        before = self._original.pixels
        rows, columns = (a / b for a, b in zip(before.shape[-2:], size, strict=True))
        across = slice(round(left * columns), round((left + width) * columns))
        before = before[:, round(top * rows) : round((top + height) * rows), across]
        before = resized(before, (height, width))
        box = (left, top, left + width, top + height)
        pictures = srgb_picture(before, restored), srgb_picture(after, restored)
        return Comparison(*pictures, self._invented(box))

    def _invented(self, box: tuple[int, int, int, int] | None = None) -> Image.Image | None:
        """What was filled in of the photo, or of a part from left, top to right, bottom."""
        path = self._results.filled_in(self.record.name)
        if not path.is_file():
            return None
        with Image.open(path) as share:
            return share.copy() if box is None else share.crop(box)

    def degradation(self) -> Image.Image | None:
        """What the degradation looks like; None if it has no picture."""
        path = self._results.picture(self.record.name)
        return degradation_picture((read_image(path).pixels[0] + 1) / 2) if path.is_file() else None

    def downloads(self, folder: Path, mask: Path) -> list[Path]:
        """Write the restored picture, the settings that repeat it, and the report to a folder.

        Args:
            folder: the folder.
            mask: the mask of what was painted, which is added if it is there.
        """
        stem = Path(self._photo).stem
        folder.mkdir(exist_ok=True)
        restored = self._results.restored(self.record.name)
        picture = folder / f"{stem}-restored{restored.suffix}"
        settings = folder / f"{stem}.yaml"
        shutil.copyfile(restored, picture)
        settings.write_text(self.settings(mask), encoding="utf-8")
        # The report shows the settings, in which files of the server are named.
        page = self._results.report.read_text(encoding="utf-8")
        report = folder / f"{stem}-report.html"
        report.write_text(without_folders(page, self._secret), encoding="utf-8")
        if not mask.is_file():
            return [picture, settings, report]
        shutil.copyfile(mask, folder / mask.name)
        return [picture, settings, report, folder / mask.name]

    def settings(self, mask: Path) -> str:
        """A config of `predict` that gives the same result for the same photo.

        Args:
            mask: the mask of what was painted, which need not exist.
        """
        written = self._results.root / "config.yaml"
        config = yaml.safe_load(written.read_text(encoding="utf-8"))
        kept = {key: config[key] for key in ("seed", "model")}
        written_as = {k: v for k, v in config.get("data", {}).items() if k in _WRITTEN and v}
        kept |= {"data": written_as} if written_as else {}
        kept["trainer"] = {"precision": self.record.precision}
        lines = [f"# How the photo {self._photo!r} was restored; its noise depends on that name."]
        lines += [f"#   {reason}" for reason in self._reasons]
        lines += [
            "#   python cli.py predict --config THIS_FILE --data.inputs PHOTO --output results"
        ]
        if mask.is_file():
            lines += [f"# in the folder in which {mask.name} lies."]
        text = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)
        return "\n".join(lines) + "\n" + without_folders(text, self._secret)


def without_folders(text: str, files: Iterable[Path]) -> str:
    """Leave the folders of some files out of a text that names them."""
    folders = {str(path.parent) for path in files if len(path.parts) > 1}
    for folder in sorted(folders, key=len, reverse=True):  # one may lie in another
        text = text.replace(f"{folder}/", "")
    return text


def step_picture(step: Step) -> Image.Image:
    """The image as it is at a step, no larger than `SHOWN`."""
    x0 = step.x0()[0]
    height, width = x0.shape[-2:]
    scale = min(1.0, SHOWN / max(height, width))
    return as_picture(resized(x0, (max(1, round(height * scale)), max(1, round(width * scale)))))


def degradation_picture(picture: Tensor) -> Image.Image:
    """A kernel or map with pixels that one can see.

    Args:
        picture: `(h, w)` in [0, 1], as `Degradation.picture` makes it.
    """
    return as_picture(enlarged(picture, SMALL).expand(3, -1, -1) * 2 - 1)

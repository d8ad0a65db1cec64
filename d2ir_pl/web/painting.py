"""What a visitor paints on a photo, and the mask that it makes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from d2ir_pl.errors import UsageError

UNITS = 10_000
"""In so many parts the longer side of a photo is divided, in which the page tells positions."""

MOST_TEXT = 2_000_000
"""Most characters of all strokes."""


@dataclass(frozen=True)
class Stroke:
    """A line that was painted with a round brush.

    Attributes:
        width: diameter of the brush in `UNITS`.
        points: x and y of the line in `UNITS`, from the top left corner.
    """

    width: int
    points: tuple[tuple[int, int], ...]


def strokes(text: str) -> tuple[Stroke, ...]:
    """What the page tells of the strokes: `[[width, x, y, x, y, ...], ...]`, or nothing.

    Raises:
        UsageError: if it tells anything else.
    """
    if not text:
        return ()
    try:
        if len(text) > MOST_TEXT:
            raise ValueError
        return tuple(_stroke(numbers) for numbers in json.loads(text))
    except (ValueError, TypeError, RecursionError):
        raise UsageError("what was painted cannot be read: clear it and paint it again") from None


def _stroke(numbers: Sequence[int]) -> Stroke:
    plain = isinstance(numbers, list) and all(type(n) is int for n in numbers)
    if not plain or len(numbers) < 3 or len(numbers) % 2 == 0:
        raise ValueError
    width, *places = numbers
    if not 1 <= width <= UNITS or not all(-UNITS <= n <= 2 * UNITS for n in places):
        raise ValueError
    return Stroke(width, tuple(zip(places[::2], places[1::2], strict=True)))


def mask_of(painted: Sequence[Stroke], size: tuple[int, int]) -> Image.Image:
    """A mask of a photo's size, white where it was painted on.

    Args:
        painted: the strokes.
        size: height and width of the photo in pixels.

    Raises:
        UsageError: if they leave nothing of the photo, or lie beside it.
    """
    height, width = size
    mask = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(mask)
    scale = max(size) / UNITS
    for stroke in painted:
        brush = max(1.0, stroke.width * scale)
        line = [(x * scale, y * scale) for x, y in stroke.points]
        draw.line(line, fill=255, width=round(brush))
        for x, y in line:  # round ends and corners
            half = brush / 2
            draw.ellipse((x - half, y - half, x + half, y + half), fill=255)
    darkest, brightest = mask.getextrema()
    if brightest == 0:
        raise UsageError("what was painted lies beside the photo: paint on it, or clear it")
    if darkest == 255:
        raise UsageError("the whole photo is painted over: clear it and paint a part, or nothing")
    return mask


def part_of(mask: Image.Image, side: int) -> tuple[int, int]:
    """The top left corner of a part of a photo that holds the upper end of what was painted.

    Args:
        mask: white where the photo was painted on, of its size.
        side: height and width of the part, as far as the photo has them.
    """
    box = mask.getbbox()
    assert box is not None
    row = mask.crop((0, box[1], mask.width, box[1] + 1)).getbbox()
    assert row is not None
    return _corner(box[1], mask.height, side), _corner(row[0], mask.width, side)


def _corner(at: int, length: int, side: int) -> int:
    return max(0, min(at - side // 2, length - side))

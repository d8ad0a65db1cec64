"""Sizes that are read off the first bytes of files are those that the decoders find."""

import math
import random
from pathlib import Path
from typing import Any

import pytest
from photos import save
from PIL import Image

from d2ir_pl.image_io import image_size
from d2ir_pl.inputs.headers import pixels_within


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain.jpg", {}),
        ("progressive.jpg", {"progressive": True}),
        ("long.jpg", {"exif": b"Exif\0\0" + bytes(60_000), "icc_profile": bytes(200_000)}),
        ("photo.png", {}),
        ("photo.avif", {}),
    ],
)
def test_a_size_is_that_of_the_decoder(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    with Image.open(save(tmp_path / "source.png", 1, 90, 130)) as image:
        image.save(tmp_path / name, **options)
    assert pixels_within([tmp_path / name], 60) == math.prod(image_size(tmp_path / name))


def test_what_is_no_photo_has_no_size(tmp_path: Path) -> None:
    draw = random.Random(0)
    starts = (b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"\0\0\0\x18ftypheic", b"")
    with Image.open(save(tmp_path / "source.png", 1, 90, 130)) as image:
        image.convert("RGB").save(tmp_path / "good.jpg")
    good = (tmp_path / "good.jpg").read_bytes()
    paths = [tmp_path / "none.jpg", tmp_path]
    for number in range(100):
        path = tmp_path / f"{number}.jpg"
        body = good[: draw.randrange(200)] if number % 2 else draw.choice(starts)
        path.write_bytes(body + draw.randbytes(draw.randrange(8)))
        paths.append(path)
    assert pixels_within(paths, 60) < 1e12
    assert pixels_within([tmp_path / "none.jpg", tmp_path], 60) == 0


def test_many_photos_are_told_by_the_mean_of_some(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{i}.png", i, 20, 30) for i in range(5)]
    assert pixels_within(paths, 60) == 3000
    assert pixels_within(paths, -1) == 0

"""The steps that WebP and HEIC files tell, and those that files of an attacker do not."""

import random
import time
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from photos import photo as pixels
from PIL import Image

from d2ir_pl.image_io import as_picture, read_apart, read_image
from d2ir_pl.image_io.heif_step import heic_step
from d2ir_pl.image_io.photo_message import Header, header_of, photo_of, planes_of
from d2ir_pl.image_io.webp import AC_STEPS, step_of

PICTURE = as_picture(pixels(1, 48, 64))
QUALITIES = (20, 50, 70, 80, 90, 95)


def webp(path: Path, quality: int, **options: Any) -> Path:
    """A lossy WebP file."""
    PICTURE.save(path, quality=quality, **options)
    return path


def heic(path: Path, quality: int) -> Path:
    """A HEIC file."""
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(PICTURE).save(path, quality=quality)
    return path


def step(path: Path) -> float:
    """The step that a file tells."""
    found = read_image(path).step
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["webp", "heic"])
def test_a_better_quality_has_a_finer_step(kind: str, tmp_path: Path) -> None:
    write = webp if kind == "webp" else heic
    found = [step(write(tmp_path / f"{q}.{kind}", q)) for q in QUALITIES]
    assert all(coarse > fine for coarse, fine in pairwise(found))
    assert found[0] > 16
    assert found[-1] < 5


def test_the_best_webp_has_the_finest_step_of_the_table(tmp_path: Path) -> None:
    assert len(AC_STEPS) == 128
    assert step(webp(tmp_path / "best.webp", 100)) == AC_STEPS[0] / 2 == 2


def test_quality_50_of_the_encoder_x265_is_its_quantiser_22(tmp_path: Path) -> None:
    assert step(heic(tmp_path / "photo.heic", 50)) == pytest.approx(2 ** ((22 - 4) / 6))


def test_webp_files_with_more_than_a_frame_tell_their_step(tmp_path: Path) -> None:
    simple = step(webp(tmp_path / "simple.webp", 80))
    exif = webp(tmp_path / "exif.webp", 80, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0")
    assert step(exif) == simple
    moving = webp(tmp_path / "moving.webp", 80, save_all=True, append_images=[PICTURE.rotate(180)])
    assert step(moving) == pytest.approx(simple, rel=0.5)
    clear = PICTURE.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(tmp_path / "clear.webp", quality=80)
    assert read_image(tmp_path / "clear.webp").alpha is not None
    assert step(tmp_path / "clear.webp") == pytest.approx(simple, rel=0.5)


def test_files_without_such_a_step_tell_none(tmp_path: Path) -> None:
    exact = webp(tmp_path / "exact.webp", 80, lossless=True)
    photo = read_image(exact)
    assert (photo.codec, photo.step, photo.stored.lossless) == ("", None, True)
    PICTURE.save(tmp_path / "photo.avif", quality=80)
    assert read_image(tmp_path / "photo.avif").step is None
    lossy = read_image(webp(tmp_path / "lossy.webp", 80))
    assert lossy.restored(lossy.pixels).step is None


def test_the_step_comes_from_a_process_of_its_own(tmp_path: Path) -> None:
    path = webp(tmp_path / "photo.webp", 80)
    photo = read_image(path)
    assert read_apart(path).step == photo.step
    sent = photo_of(Header.read(header_of(photo)), [*planes_of(photo), b"", b""])
    assert sent.step == photo.step
    for wrong in (-1.0, 0.0, float("nan"), 1e9):
        with pytest.raises(ValueError, match=r"\w"):
            Header.read(header_of(replace(photo, step=wrong)))


def test_a_damaged_frame_tells_a_step_of_the_table_or_none(tmp_path: Path) -> None:
    data = webp(tmp_path / "photo.webp", 80).read_bytes()
    frame = data[data.index(b"VP8 ") + 8 :][:300]
    assert step_of(frame) is not None
    short = [step_of(frame[:n]) for n in range(len(frame))]
    assert short[:12] == [None] * 12
    assert set(short) == {None, step_of(frame)}
    draw = random.Random(0)
    for place in range(40):
        for _ in range(20):
            bad = bytearray(frame)
            bad[place] = draw.randrange(256)
            found = step_of(bytes(bad))
            assert found is None or 2 <= found <= 142
    assert step_of(bytes([frame[0] | 1]) + frame[1:]) is None, "no key frame"


def test_a_damaged_heic_file_tells_a_step_or_none(tmp_path: Path) -> None:
    data = heic(tmp_path / "photo.heic", 80).read_bytes()
    right = heic_step(BytesIO(data))
    assert right is not None
    end = data.index(b"mdat") + 40
    assert {heic_step(BytesIO(data[:n])) for n in range(end)} <= {None, right}
    draw = random.Random(0)
    begun = time.monotonic()
    for place in range(end):
        for value in (0, 255, draw.randrange(256), draw.randrange(256)):
            bad = bytearray(data)
            bad[place] = value
            found = heic_step(BytesIO(bytes(bad)))
            assert found is None or 0.6 < found < 230
    for place in range(0, end, 7):
        noise = data[:place] + draw.randbytes(64) + data[place + 64 :]
        found = heic_step(BytesIO(noise))
        assert found is None or 0.6 < found < 230
    assert time.monotonic() - begun < 30


def test_a_heic_file_that_announces_ever_more_is_left_at_once(tmp_path: Path) -> None:
    data = heic(tmp_path / "photo.heic", 80).read_bytes()
    place = data.index(b"iloc") + 4
    announced = b"\0\0\0\0" + b"\0\0" + b"\xff\xff" + (b"\0\x09\0\0\xff\xff" * 5000)
    iloc = (len(announced) + 8).to_bytes(4) + b"iloc" + announced
    meta = data.index(b"meta") - 4
    grown = bytearray(data[: place - 8] + iloc + data[place - 8 :])
    length = int.from_bytes(grown[meta : meta + 4]) + len(iloc)
    grown[meta : meta + 4] = length.to_bytes(4)
    begun = time.monotonic()
    heic_step(BytesIO(bytes(grown)))
    assert time.monotonic() - begun < 5

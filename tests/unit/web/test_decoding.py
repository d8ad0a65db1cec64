"""Photos of visitors are decoded where they can do no harm."""

import faulthandler
import json
import multiprocessing
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photos import save
from PIL import Image, ImageCms

from d2ir_pl.errors import ImageError
from d2ir_pl.image_io import FileTables, Photo, read_image
from d2ir_pl.image_io.photo_message import Header, header_of, photo_of
from d2ir_pl.web import decoding
from d2ir_pl.web.decoding import decoded

MAX_PIXELS = 128 * 128


def photos(folder: Path) -> Iterator[Path]:
    """Photos of which every field of `Photo` is set in one of them."""
    picture = Image.open(save(folder / "photo.png", 1, 40, 32)).convert("RGB")
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    about: dict[str, Any] = {
        "exif": exif,
        "icc_profile": profile,
        "dpi": (72, 72),
        "comment": b"of me",
    }
    picture.save(folder / "photo.jpg", quality=70, **about)
    yield folder / "photo.jpg"
    picture.convert("L").save(folder / "grey.webp", quality=70)
    yield folder / "grey.webp"
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save(folder / "alpha.png")
    yield folder / "alpha.png"


def test_a_photo_is_what_the_reader_makes_of_it(tmp_path: Path) -> None:
    found = set()
    for path in photos(tmp_path):
        here, there = read_image(path), decoded(path, MAX_PIXELS)
        for name, value in vars(here).items():
            assert same(value, getattr(there, name)), name
            if not same(value, getattr(Photo(here.pixels), name)):
                found.add(name)
    assert found >= vars(here).keys() - {"bit_depth", "grey", "mask", "notes", "pixels"}


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, tensors inside included."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, FileTables) and isinstance(other, FileTables):
        return all(same(getattr(one, name), getattr(other, name)) for name in vars(one))
    return bool(one == other)


HEADERS: dict[str, Any] = {
    "height": [0, -1, 128, 2**40, 1.5, "x"],
    "width": [0, 10**9, None],
    "planes": [[], [3], [0, 0, 0], [3, 1], [9, 0, 1], [3, 1, 1], "301"],
    "bit_depth": [0, 7, "8"],
    "icc_profile": ["no base64!", 3],
    "notes": ["x", [3]],
    "tables": [{}, {"tables": [1.0], "factors": [1, 1], "orientation": 1}],
    "metadata": [3, {"exif": "!"}],
    "stored": [{"kind": "JPEG", "tables": [[1]], "subsampling": 0, "lossless": False}],
    "codec": ["x"],
    "more": [1],
}


def test_a_message_of_an_attacker_is_a_photo_of_the_announced_size_or_nothing() -> None:
    about = {"mask": torch.zeros(1, 4, 5), "notes": ("one",), "bit_depth": 16, "grey": True}
    photo = Photo(torch.zeros(3, 4, 5), **about)  # type: ignore[arg-type]
    said = json.loads(header_of(photo))
    sound = Header.read(json.dumps(said).encode())
    whole = [bytes(size) for size in sound.sizes]
    assert all(
        same(value, getattr(photo_of(sound, whole), key)) for key, value in vars(photo).items()
    )
    for key, values in HEADERS.items():
        for value in values:
            with pytest.raises(ValueError, match=r"\w"):
                photo_of(Header.read(json.dumps(said | {key: value}).encode()), whole)
    for parts in ([], [b""] * 3, [whole[0][:-4], b"", whole[2]], [whole[0], b"\0" * 4, whole[2]]):
        with pytest.raises(ValueError, match="number of pixels"):
            photo_of(sound, parts)
    nan = np.full(60, np.nan, np.float32).tobytes()
    with pytest.raises(ValueError, match="no numbers"):
        photo_of(sound, [nan, b"", whole[2]])
    for text in (b"", b"[" * 100_000, b"3", b"\x80", pickle.dumps(photo)):
        with pytest.raises(ValueError, match=r"\w"):
            Header.read(text)


def test_what_the_reader_refuses_is_refused_in_its_words(tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"bad\.png is not a PNG"):
        decoded(bad, MAX_PIXELS)
    with pytest.raises(ImageError, match=r"large\.png has 129 x 128 = 16512 pixels"):
        decoded(save(tmp_path / "large.png", 1, 129, 128), MAX_PIXELS)


HOSTILE = {
    "memory": ("bytearray(3 * 10**9)", "does not fit into memory"),
    "time": ("[... for _ in iter(int, 1) if _]", "takes more memory or time"),
    "crash": ("__import__('os').kill(__import__('os').getpid(), 11)", "breaks the program"),
    "code": ("b'cos\\nmkdir\\n(Vran\\ntR.'", "breaks the program"),
    "silence": ("__import__('time').sleep(99)", "takes more memory or time"),
    "nothing": ('b\'{"refused": "no %d"}\' % max_pixels', "^no 16384$"),
}
"""What a decoder does, and what is said then; the last one shows that it is this one."""


@pytest.mark.skipif(not Path("/proc").exists(), reason="limits are those of Linux")
@pytest.mark.parametrize("what", HOSTILE)
def test_a_decoder_that_goes_wrong_costs_its_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:

    def read_image(path: Path, *, max_pixels: int) -> Any:
        faulthandler.disable()  # which would tell of a crash at length
        return eval(HOSTILE[what][0], {"max_pixels": max_pixels})

    # The process is a copy of this one, whose reader does that.
    monkeypatch.setattr(decoding, "read_image", read_image)
    monkeypatch.setattr(decoding, "header_of", bytes)
    monkeypatch.setattr(decoding, "SECONDS", 1)
    monkeypatch.setattr(decoding, "_context", lambda: multiprocessing.get_context("fork"))
    monkeypatch.chdir(tmp_path)
    if what == "silence":
        monkeypatch.setattr(decoding, "PATIENCE", 4.0)
    begun = time.monotonic()
    with pytest.raises(ImageError, match=HOSTILE[what][1]):
        decoded(tmp_path / "photo.png", MAX_PIXELS)
    assert time.monotonic() - begun < 60
    assert not Path("ran").exists()

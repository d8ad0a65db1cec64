"""Photos of visitors are decoded where they can do no harm."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch
from photos import save
from PIL import Image
from repository import ROOT

from d2ir_pl.errors import ImageError
from d2ir_pl.image_io import read_image
from d2ir_pl.web import decoding
from d2ir_pl.web.decoding import decoded

MAX_PIXELS = 128 * 128


def test_a_photo_is_what_the_reader_makes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.open(save(tmp_path / "photo.png", 1, 40, 32)).convert("RGB").save(path, quality=70)
    here, there = read_image(path), decoded(path, MAX_PIXELS)
    assert torch.equal(here.pixels, there.pixels)
    assert (here.sha256, here.bit_depth, here.notes) == (there.sha256, there.bit_depth, there.notes)
    assert here.tables is not None
    assert there.tables is not None


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
    "nothing": ("str(max_pixels)", "^16384$"),
}
"""What a decoder does, and what is said then; the last one shows that it is this one."""


@pytest.mark.skipif(not Path("/proc").exists(), reason="limits are those of Linux")
@pytest.mark.parametrize("what", HOSTILE)
def test_a_decoder_that_goes_wrong_costs_its_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    # The process has a reader of its own, which does that for a file of this name.
    hostile = tmp_path / "sitecustomize.py"
    hostile.write_text(
        "from d2ir_pl.web import decoding\n"
        f"def read_image(path, *, max_pixels):\n    return {HOSTILE[what][0]}\n"
        "decoding.read_image = read_image\n"
        "decoding.SECONDS = 1\n"
    )
    monkeypatch.setattr(decoding, "_context", lambda: multiprocessing.get_context("spawn"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    begun = time.monotonic()
    with pytest.raises(ImageError, match=HOSTILE[what][1]):
        decoded(tmp_path / "photo.png", MAX_PIXELS)
    assert time.monotonic() - begun < 60

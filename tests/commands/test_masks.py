"""Masks and holes as people have them, from the files to the restored photo."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from program import pixels, predict
from repository import ROOT

CONFIG = ("--config", "inpainting", "--report", "false", "--tensorboard", "false")
HOLE = np.zeros((48, 48), bool)
HOLE[16:32, 20:36] = True


def crop() -> np.ndarray:
    """A part of a photograph that is nowhere black."""
    image = Image.open(ROOT / "examples" / "clean" / "chelsea.png").convert("RGB")
    return np.asarray(image).clip(8, 255)[96:144, 96:144]


def test_holes_are_filled_whether_they_are_transparent_or_marked_by_a_mask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, masks = tmp_path / "in", tmp_path / "masks"
    photos.mkdir()
    masks.mkdir()
    x = crop()
    white = np.where(HOLE[..., None], 255, x).astype(np.uint8)
    alpha = np.where(HOLE, 0, 255).astype(np.uint8)
    Image.fromarray(np.dstack([white, alpha])).save(photos / "clear.png")
    assert predict(photos, tmp_path / "out", *CONFIG) == 0
    Image.fromarray(white).save(photos / "white.png")
    Image.fromarray(HOLE.astype(np.uint8)).save(masks / "white.png")
    Image.fromarray(np.dstack([x, alpha])).save(masks / "clear.png")
    source = ("--model.degradation.source", str(masks))
    assert predict(photos, tmp_path / "masked", *CONFIG, *source) == 0
    assert "its bright pixels are taken for missing" in capsys.readouterr().err
    for name in (
        "out/restored/clear.png",
        "masked/restored/clear.png",
        "masked/restored/white.png",
    ):
        restored = pixels(tmp_path / name).astype(int)
        assert (np.abs(restored[..., :3] - white)[HOLE].mean() > 30).all(), name
        assert np.abs(restored[..., :3] - x)[~HOLE].mean() < 2, name
        assert restored.shape[2] == 3 or (restored[..., 3] == 255).all()
    record = json.loads((tmp_path / "masked" / "degradation" / "white.json").read_text())
    assert "single colour" in record["reasons"][0]


def test_a_photo_of_which_nothing_is_missing_fails_with_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(crop()).save(tmp_path / "whole.png")
    assert predict(tmp_path / "whole.png", tmp_path / "out", *CONFIG) == 1
    assert "failed: whole: no pixel is missing" in capsys.readouterr().err

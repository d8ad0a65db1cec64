"""By what a result is known to be made by the same settings: their values and declared files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photos import save

from d2ir_pl.prediction import fingerprint as made
from d2ir_pl.prediction.fingerprint import settings_fingerprint

BLUR, MASK = "d2ir_pl.degradations.Blur", "d2ir_pl.degradations.Mask"


def config(*parts: dict[str, Any], **model: Any) -> dict[str, Any]:
    chain = {"class_path": "d2ir_pl.degradations.Compose", "init_args": {"parts": [*parts]}}
    degradation = parts[0] if len(parts) == 1 else chain
    return {
        "model": {"degradation": degradation, "prior": "natural-small", **model},
        "data": {"degrade": False},
        "trainer": {"precision": "32-true"},
    }


def part(class_path: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": class_path, "init_args": arguments}


def test_texts_that_are_no_files_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    read: list[Path] = []

    def watched(path: Path) -> str:
        read.append(path)
        return ""

    monkeypatch.setattr(made, "file_digest", watched)
    for name in ("extend", "auto", "linear", "edges"):
        save(tmp_path / name)
    flags = {"channel_mult": "", "attention_resolutions": "", "noise_schedule": "linear"}
    blur = part(BLUR, border="extend", start="edges", kernel="", convention="auto")
    settings_fingerprint(config(blur, prior_flags=flags, tile="auto", about="n" * 300, other="\0"))
    assert {path.name for path in read} == {"natural_small.safetensors"}


@pytest.mark.parametrize("chained", [False, True])
def test_declared_files_count_by_their_contents(tmp_path: Path, chained: bool) -> None:
    kernel, masks = tmp_path / "k.npy", tmp_path / "masks"
    np.save(kernel, np.ones((3, 3)))
    save(masks / "sub" / "a.png")
    parts = [part(BLUR, kernel=str(kernel)), part(MASK, source=str(masks))]

    def now() -> list[str]:
        configs = [config(*parts)] if chained else [config(one) for one in parts]
        return [settings_fingerprint(one) for one in configs]

    before = now()
    save(tmp_path / "beside.png")
    assert now() == before
    np.save(kernel, np.eye(3))
    save(masks / "sub" / "a.png", 1)
    assert not set(now()) & set(before)


def test_a_file_that_is_gone_or_too_long_is_no_error(tmp_path: Path) -> None:
    for name in ("gone.npy", "n" * 300, "[0, 0, 4, 4]"):
        assert len(settings_fingerprint(config(part(BLUR, kernel=str(tmp_path / name))))) == 64

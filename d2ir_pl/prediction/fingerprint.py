"""The fingerprint of settings, by which a result is known to be made by the same ones."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import d2ir_pl
from d2ir_pl.inputs.digest import file_digest
from d2ir_pl.priors.registry import prior_files


def settings_fingerprint(config: dict[str, Any]) -> str:
    """Digest of everything that decides what all restored images look like.

    What an image alone depends on, such as its file and the phi that it starts from, is left out.
    What is only said or logged of it, and how many images are restored, is no part of it.

    Args:
        config: the options of `model`, `data` and `trainer` as a tree of plain values.
    """
    data = config["data"]
    if "class_path" in data:  # of the user's own
        data = {"degrade": False, **(data.get("init_args") or {})}
    model = {name: value for name, value in config["model"].items() if name != "start"}
    if config["model"].get("start") is not None:
        model["start"] = True
    prior = config["model"].get(
        "prior", "natural-small"
    )  # a module of one's own may have no choice
    settings = {
        "model": model,
        "degrade": [data["degrade"], data.get("degrade_noise")] if data["degrade"] else None,
        "precision": str(config["trainer"]["precision"]),
        "prior": [file_digest(path) for path in prior_files(prior)],
        "version": d2ir_pl.__version__,
    }
    text = json.dumps(settings, sort_keys=True, default=str)
    text += "".join(file_digest(path) for path in _files(settings["model"]))
    return hashlib.sha256(text.encode()).hexdigest()


def _files(tree: Any) -> list[Path]:
    """The files that settings name, and those in folders that they name, such as masks."""
    if isinstance(tree, dict):
        return [path for key, value in tree.items() if key != "prior" for path in _files(value)]
    if isinstance(tree, list):
        return [path for value in tree for path in _files(value)]
    if not isinstance(tree, str) or not Path(tree).exists():
        return []
    named = Path(tree)
    return [named] if named.is_file() else sorted(p for p in named.rglob("*") if p.is_file())

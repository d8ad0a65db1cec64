"""The fingerprint of settings, by which a result is known to be made by the same ones."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import d2ir_pl
from d2ir_pl.inputs.digest import file_digest
from d2ir_pl.priors.registry import prior_files

_AS_WRITTEN = {"format": "png", "quality": None, "strip_metadata": False, "mark_generated": True}
"""Options that decide how restored photos are written, and how they are where nobody has a say."""

_WHOLE = {"strength": 1.0, "keep_grain": 0.0, "region": None}
"""Options that keep a part of a restoration, and their values that keep all of it."""


def settings_fingerprint(config: dict[str, Any], prior: Sequence[str] | None = None) -> str:
    """Digest of everything that decides what all restored images look like.

    What an image alone depends on, such as its file and the phi that it starts from, is left out.
    What is only said or logged of it, and how many images are restored, is no part of it.

    Args:
        config: the options of `model`, `data` and `trainer` as a tree of plain values.
        prior: its `prior_digests`, where they are known: they take seconds for files of gigabytes.
    """
    data = config["data"]
    if "class_path" in data:  # of the user's own
        data = {"degrade": False, **(data.get("init_args") or {})}
    model = {
        name: value
        for name, value in config["model"].items()
        if name != "start" and not (name in _WHOLE and value == _WHOLE[name])
    }
    if config["model"].get("start") is not None:
        model["start"] = True
    settings = {
        "model": model,
        "degrade": [data["degrade"], data.get("degrade_noise")] if data["degrade"] else None,
        "precision": str(config["trainer"]["precision"]),
        "prior": prior_digests(config) if prior is None else prior,
        "version": d2ir_pl.__version__,
    }
    if data["degrade"] and data.get("degrade_photons") is not None:
        settings["photons"] = data["degrade_photons"]
    written = {name: data.get(name, usual) for name, usual in _AS_WRITTEN.items()}
    if written != _AS_WRITTEN:
        settings["written"] = written
    text = json.dumps(settings, sort_keys=True, default=str)
    region = model.get("region")
    masks = _named(region) if isinstance(region, str) else []
    text += "".join(file_digest(path) for path in [*_files(settings["model"]), *masks])
    return hashlib.sha256(text.encode()).hexdigest()


def prior_name(config: dict[str, Any]) -> str:
    """The prior that settings name; a module of one's own may have no choice."""
    return str(config["model"].get("prior", "natural-small"))


def prior_digests(config: dict[str, Any]) -> list[str]:
    """The digests of its files."""
    return [file_digest(path) for path in prior_files(prior_name(config))]


def _files(tree: Any) -> list[Path]:
    """The files that settings name, and those in folders that they name, such as masks.

    Which settings do, their class declares as `file_settings`: no text is taken for a path because
    a file happens to be called so.
    """
    if isinstance(tree, dict):
        found = [path for value in tree.values() for path in _files(value)]
        arguments = tree.get("init_args")
        for name in _file_settings(tree.get("class_path")):
            value = arguments.get(name) if isinstance(arguments, dict) else None
            found += _named(value) if isinstance(value, str) and value else []
        return found
    if isinstance(tree, list):
        return [path for value in tree for path in _files(value)]
    return []


def _file_settings(class_path: object) -> tuple[str, ...]:
    """The settings of a class that name files, which it declares; none if it is not known."""
    module, _, name = str(class_path).rpartition(".")
    cls = getattr(sys.modules.get(module), name, None) if module else None
    return tuple(getattr(cls, "file_settings", ()))


def _named(path: str) -> list[Path]:
    """A file, or those below a folder, in their order."""
    if not os.path.isdir(path):
        return [Path(path)]
    return sorted(file for file in Path(path).rglob("*") if os.path.isfile(file))

"""The degradation and the method that a shipped config describes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from d2ir_pl.degradations import Degradation
from d2ir_pl.errors import UsageError
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.construction import Settings, construct
from d2ir_pl.shipped.files import config_file

STANDARD: Settings = {
    "degradation": {"class_path": "d2ir_pl.degradations.GaussianBlur"},
    "method": {"class_path": "d2ir_pl.restoration.D2IR"},
}
"""What `predict` restores with where a config names no other class."""


@dataclass(frozen=True)
class Setup:
    """What restores a photo, beside the prior.

    Attributes:
        degradation: the family of degradations that explains the photo.
        method: how the photo is restored.
    """

    degradation: Degradation
    method: RestorationMethod


def shipped_model(name: str) -> Settings:
    """What a shipped config has under `model`, and nothing else.

    Raises:
        InputError: if there is no config of that name.
    """
    model = yaml.safe_load(config_file(name).read_text(encoding="utf-8")).get("model", {})
    assert isinstance(model, dict)
    return model


def layered(*layers: Settings) -> Settings:
    """Settings over each other, the last on top.

    A class that replaces another starts from its own defaults: no argument is handed on to it.
    """
    merged: Settings = {}
    for layer in layers:
        for key, value in layer.items():
            below: Any = merged.get(key)
            merged[key] = value if _replaces(value, below) else layered(below, value)
    return merged


def setup_settings(name: str, overrides: Settings | None = None) -> Settings:
    """The settings of the degradation and the method of a shipped config.

    Args:
        name: a file in `configs/` without its extension, such as `jpeg`.
        overrides: settings that replace those of the config, in a tree like that under its `model`.

    Raises:
        InputError: if there is no config of that name.
        UsageError: if it names no degradation and no method, or leaves them to be chosen.
    """
    shipped = shipped_model(name)
    if not STANDARD.keys() & shipped.keys():
        raise UsageError(f"config {name} has no degradation and no method: it is no restoration's")
    settings = layered(STANDARD, shipped, overrides or {})
    pair = {key: settings[key] for key in STANDARD}
    for key, value in pair.items():
        if value == "auto":
            raise UsageError(f"config {name} has no {key}: it is chosen for each photo")
    return pair


def load(name: str, overrides: Settings | None = None) -> Setup:
    """Make the degradation and the method of a shipped config.

    Args:
        name: a file in `configs/` without its extension, such as `jpeg`.
        overrides: settings that replace those of the config, in a tree like that under its `model`.

    Raises:
        InputError: if there is no config of that name.
        UsageError: if a setting is wrong, or the config names no degradation or method.
        ValueError: if a setting is outside its range.
    """
    return construct(Setup, setup_settings(name, overrides))


def _replaces(over: Any, below: Any) -> bool:
    """Whether a setting has nothing of the one that it lies over."""
    if not isinstance(over, dict) or not isinstance(below, dict):
        return True
    known = below.get("class_path")
    return bool(over.get("class_path", known) != known)

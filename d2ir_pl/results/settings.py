"""The settings of a run as one flat table, from the `config.yaml` in its folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Setting = str | int | float
Settings = dict[str, Setting]

# Options that decide what a run shows and where it writes, and nothing of its results.
_HOUSEKEEPING = {"output", "overwrite", "tensorboard", "progress", "report", "seed_everything"}
_HOUSEKEEPING |= {"data.num_workers"}


def read_settings(folder: Path) -> Settings:
    """Names of options and their values; a class by its bare name, and its arguments below it.

    Of the trainer, only the precision is there. Empty if the folder has no readable settings.
    """
    try:
        tree = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    if not isinstance(tree, dict):
        return {}
    # Where null, it is left out of the file.
    found: Settings = {"model.sigma_y": "estimated", **dict(_flat(tree, ""))}
    return {
        name: value
        for name, value in found.items()
        if name not in _HOUSEKEEPING
        and (not name.startswith("trainer.") or name == "trainer.precision")
    }


def differences(base: Settings, new: Settings) -> dict[str, tuple[Setting | None, Setting | None]]:
    """Settings that differ, without those of a class that is another one in the other run."""
    found: dict[str, tuple[Setting | None, Setting | None]] = {}
    for name in [*base, *(n for n in new if n not in base)]:
        above = name.split(".")
        owners = {".".join(above[:i]) for i in range(1, len(above))}
        if base.get(name) != new.get(name) and not owners & found.keys():
            found[name] = base.get(name), new.get(name)
    return found


def _flat(tree: dict[str, Any], prefix: str) -> Iterator[tuple[str, Setting]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and "class_path" in value:
            yield name, str(value["class_path"]).rpartition(".")[2]
            yield from _flat(value.get("init_args") or {}, f"{name}.")
        elif isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            yield name, value
        else:
            yield name, json.dumps(_bare(value))


def _bare(value: Any) -> Any:
    """A list of classes (the parts of a chain) by their bare names."""
    if isinstance(value, list):
        return [_bare(v) for v in value]
    if isinstance(value, dict):
        return {k: str(v).rpartition(".")[2] if k == "class_path" else v for k, v in value.items()}
    return value

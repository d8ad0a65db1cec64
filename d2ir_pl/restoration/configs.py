"""Where the shipped settings lie."""

from __future__ import annotations

from pathlib import Path


def configs_folder() -> Path:
    """Where the shipped YAML files lie: inside an installed package, or beside a checkout's."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"

"""The shipped configs, and what is in them."""

from collections.abc import Iterator
from typing import Any

import yaml

from d2ir_pl.commands.predict import RestorationCLI
from d2ir_pl.shipped.files import configs_folder

SHIPPED = sorted(path.stem for path in configs_folder().glob("*.yaml"))
TRAINING = [name for name in SHIPPED if name.startswith("train_")]
PRESETS = ["best", "fast"]
"""Those that go over the config of a task."""
CONFIGS = [name for name in SHIPPED if name not in TRAINING]


def contents(name: str) -> dict[str, Any]:
    """What a shipped config says."""
    file = configs_folder() / f"{name}.yaml"
    tree: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return tree


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """All values of a config with the keys that lead to them."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    elif isinstance(tree, list) and any(isinstance(value, dict) for value in tree):
        for index, value in enumerate(tree):
            yield from leaves(value, (*path, index))
    else:
        yield path, tree


def settings(cli: RestorationCLI) -> dict[str, Any]:
    """All options but the name of the file that they come from."""
    config: dict[str, Any] = cli.config.as_dict()
    del config["config"]
    return config

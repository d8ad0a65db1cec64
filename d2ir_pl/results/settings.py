"""The settings of a run as one flat table, from the `config.yaml` in its folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from d2ir_pl.errors import OutputError, UsageError
from d2ir_pl.schema import read_yaml

Setting = str | int | float
Settings = dict[str, Setting]

# Options that decide what a run shows and where it writes, and nothing of its results.
_HOUSEKEEPING = {"output", "overwrite", "tensorboard", "progress", "report", "seed_everything"}
_HOUSEKEEPING |= {"data.num_workers"}
_ACCOUNTS = ("trainer.logger", "trainer.profiler", "trainer.callbacks")


class TakesSettings(Protocol):
    """What takes the settings of a run, as a logger of Lightning does."""

    def log_hyperparams(self, params: Any) -> None:
        """Take numbers and strings by their names."""


def log_settings(loggers: Iterable[TakesSettings], folder: Path, trainer: bool = False) -> None:
    """Hand the settings of a run to its loggers, under the names of the options.

    Args:
        loggers: loggers of Lightning.
        folder: the output folder, with the settings in `config.yaml`.
        trainer: whether all options of the trainer are settings, as those of a training are.

    Raises:
        UsageError: if a logger cannot begin, as without a key for its service.
    """
    for logger in loggers:
        try:
            logger.log_hyperparams(read_settings(folder, trainer))
        except Exception as error:  # loggers raise what the libraries behind them do
            reason = " ".join(str(error).split())
            name = type(logger).__name__
            raise UsageError(f"--trainer.logger {name} cannot begin: {reason:.300}") from error


def read_settings(folder: Path, trainer: bool = False) -> Settings:
    """Names of options and their values; a class by its bare name, and its arguments below it.

    Empty if the folder has no settings.

    Args:
        folder: the output folder, with the settings in `config.yaml`.
        trainer: whether all options of the trainer are there, and not its precision alone.

    Raises:
        OutputError: if the settings are there, and damaged.
    """
    found: Settings = dict(_flat(settings_tree(folder), ""))
    if "model.method" in found:  # where the noise is null, it is left out of the file
        found = {"model.sigma_y": "estimated", **found}
    return {
        name: value
        for name, value in found.items()
        if name not in _HOUSEKEEPING
        and (trainer or not name.startswith("trainer.") or name == "trainer.precision")
        and not name.startswith(_ACCOUNTS)
    }


def settings_tree(folder: Path) -> dict[str, Any]:
    """The settings in an output folder as YAML has them; empty if there are none.

    Raises:
        OutputError: if they are there, and damaged.
    """
    path = folder / "config.yaml"
    if not os.path.lexists(path):
        return {}
    try:
        tree = read_yaml(path)
    except ValueError as error:
        raise OutputError(f"{path} {error}: get an intact copy, or move it away") from None
    return {str(key): value for key, value in tree.items()} if isinstance(tree, dict) else {}


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
            inner = value.get("init_args")
            yield from _flat(inner if isinstance(inner, dict) else {}, f"{name}.")
        elif isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            yield name, value
        else:
            yield name, json.dumps(_bare(value), default=str)


def _bare(value: Any) -> Any:
    """A list of classes (the parts of a chain) by their bare names."""
    if isinstance(value, list):
        return [_bare(v) for v in value]
    if isinstance(value, dict):
        bare = {"class_path": str(value.get("class_path")).rpartition(".")[2]}
        return {str(k): bare.get(k, v) for k, v in value.items()}
    return value

"""The files that `--config` names, of which the shipped ones are known by their names."""

from __future__ import annotations

from pathlib import Path

from d2ir_pl.restoration.configs import config_file


def find_configs(arguments: list[str]) -> list[str]:
    """Replace the names of shipped configs in the arguments of a command by their paths.

    `--config blind_deblur` becomes `--config .../configs/blind_deblur.yaml`, unless the working
    directory has a file of that name.

    Raises:
        InputError: if a config is neither a file nor a shipped one.
    """
    found = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if argument.startswith("--config="):
            found.append(f"--config={_path(argument.removeprefix('--config='))}")
        else:
            found.append(_path(argument) if before == "--config" else argument)
    return found


def _path(name: str) -> str:
    return name if Path(name).exists() else str(config_file(name))

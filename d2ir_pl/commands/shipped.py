"""The files that `--config` names, of which the shipped ones are known by their names."""

from __future__ import annotations

import difflib
from pathlib import Path

from d2ir_pl.errors import InputError
from d2ir_pl.restoration.configs import configs_folder


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
    if Path(name).exists():
        return name
    folder = configs_folder()
    shipped = folder / f"{Path(name).stem}.yaml"
    if Path(name).parent in (Path("."), Path("configs")) and shipped.is_file():
        return str(shipped)
    known = sorted(p.stem for p in folder.glob("*.yaml"))
    near = difflib.get_close_matches(Path(name).stem, known, 1, 0.7)
    if near:
        raise InputError(f"config {name} does not exist: did you mean {near[0]}?")
    raise InputError(
        f"config {name} does not exist: {', '.join(known[:4])} and {len(known) - 4} more lie in "
        f"{folder}"
    )

"""The YAML files that come with the package. Nothing here needs PyTorch or reads YAML."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from d2ir_pl.errors import InputError


def configs_folder() -> Path:
    """The folder of the shipped YAML files: in an installed package, or beside a checkout's."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def config_names() -> list[str]:
    """Names of the shipped configs, in their order."""
    return sorted(path.stem for path in configs_folder().glob("*.yaml"))


def config_file(name: str) -> Path:
    """The file of a shipped config.

    Args:
        name: `jpeg`, or also `jpeg.yaml` or `configs/jpeg.yaml`.

    Raises:
        InputError: if there is none of that name; the message has the nearest one.
    """
    known = config_names()
    path = Path(name)
    if path.stem in known and path.parent in (Path("."), Path("configs")):
        return configs_folder() / f"{path.stem}.yaml"
    near = difflib.get_close_matches(path.stem, known, 1, 0.7)
    if near:
        raise InputError(f"config {name} does not exist: did you mean {near[0]}?")
    raise InputError(
        f"config {name} does not exist: {', '.join(known[:4])} and {len(known) - 4} more lie in "
        f"{configs_folder()}"
    )


def config_about(name: str) -> str:
    """What a shipped config is for: the beginning of the comment at its top, without a full stop.

    Args:
        name: one of `config_names`.

    Raises:
        InputError: if there is no config of that name.
    """
    lines = config_file(name).read_text(encoding="utf-8").splitlines()
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line[1:].strip())
    return re.split(r"[.;:](?= |$)", " ".join(comment), maxsplit=1)[0]

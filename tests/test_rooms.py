"""The rooms of the package: which may import which, name by name."""

import ast
from pathlib import Path

import pytest

import d2ir_pl

PACKAGE = Path(d2ir_pl.__file__).parent

FOUNDATION = {"errors", "randomness", "console", "compat", "stages"}
"""Modules that every room may import."""

ROOMS: dict[str, set[str]] = {
    "image_io": set(),
    "operators": {"image_io"},
    "inputs": {"image_io"},
    "estimators": {"operators", "image_io"},
    "diffusion": {"operators"},
    "degradations": {"estimators", "operators", "image_io"},
    "priors": {"diffusion", "operators"},
    "results": {"image_io", "estimators"},
    "restoration": {"degradations", "diffusion", "estimators", "operators"},
    "diagnosis": {"restoration", "degradations", "estimators", "operators", "image_io"},
    "api": {
        "diagnosis",
        "restoration",
        "priors",
        "degradations",
        "diffusion",
        "image_io",
    },
    "training": {"priors", "diffusion", "results", "inputs", "operators", "image_io"},
    "reports": {"results", "inputs", "image_io"},
    "prediction": {
        "image_io",
        "operators",
        "inputs",
        "estimators",
        "diffusion",
        "degradations",
        "priors",
        "results",
        "restoration",
        "diagnosis",
        "reports",
    },
    "web": {
        "prediction",
        "image_io",
        "degradations",
        "restoration",
        "diagnosis",
        "results",
        "priors",
    },
    "commands": {
        "image_io",
        "operators",
        "inputs",
        "estimators",
        "diffusion",
        "degradations",
        "priors",
        "results",
        "restoration",
        "diagnosis",
        "api",
        "training",
        "reports",
        "prediction",
        "web",
    },
    "cli": {"commands"},
    "__main__": {"cli"},
    "__init__": {"api"},
}
"""Each room, and the rooms that it may import beside itself and the foundation."""

LIBRARIES = {
    "pytorch_lightning": {"training", "prediction", "commands", "web", "compat"},
    "lightning": set(),
    "jsonargparse": {"commands", "compat"},
    "tensorboard": {"reports", "prediction", "compat"},
    "gradio": {"web"},
    "torchvision": set(),
}
"""Libraries, and the rooms that may import them."""

FILES = {
    "guided_diffusion": {"priors/guided_diffusion.py"},
    "diffusers": {"priors/diffusers.py"},
}
"""Libraries, and the only files that know them."""

MODULES = sorted(p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py"))


def imports(module: str) -> set[str]:
    """The full names of the modules that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} uses a relative import"
            assert node.module is not None
            found.add(node.module)
            if node.module == "d2ir_pl":
                found |= {f"d2ir_pl.{alias.name}" for alias in node.names}
    return found


def room(module: str) -> str:
    """The room of a file: `priors/registry.py` lies in `priors`."""
    return module.partition("/")[0].removesuffix(".py")


def target(name: str) -> str | None:
    """The room that a full name belongs to: `d2ir_pl.priors.registry` belongs to `priors`."""
    package, _, rest = name.partition(".")
    first = rest.partition(".")[0]
    return first if package == "d2ir_pl" and first in {*ROOMS, *FOUNDATION} else None


def test_every_module_lies_in_a_room() -> None:
    assert {room(m) for m in MODULES} <= {*ROOMS, *FOUNDATION}


def test_the_rule_has_no_circle() -> None:
    done: set[str] = set()
    while len(done) < len(ROOMS):
        free = {name for name, below in ROOMS.items() if name not in done and below <= done}
        assert free, f"these rooms import each other: {sorted(ROOMS.keys() - done)}"
        done |= free


@pytest.mark.parametrize("module", MODULES)
def test_every_import_has_a_direction(module: str) -> None:
    own = room(module)
    allowed = FOUNDATION | ROOMS.get(own, set()) | {own}
    wrong = sorted(
        name for name in imports(module) if (t := target(name)) is not None and t not in allowed
    )
    assert not wrong, f"{module} imports {wrong}"


@pytest.mark.parametrize("module", MODULES)
def test_libraries_stay_in_their_rooms(module: str) -> None:
    names = {name.replace("torch.utils.tensorboard", "tensorboard") for name in imports(module)}
    for library in {name.partition(".")[0] for name in names}:
        if library in LIBRARIES:
            assert room(module) in LIBRARIES[library], f"{module} imports {library}"
        if library in FILES:
            assert module in FILES[library], f"{module} imports {library}"


@pytest.mark.parametrize("module", MODULES)
def test_baselines_are_reached_through_configs_only(module: str) -> None:
    if not module.startswith("restoration/baselines/"):
        assert not [name for name in imports(module) if "baselines" in name]

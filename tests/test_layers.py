"""Imports go down only: every part can be understood, and used, without those above it."""

import ast
from pathlib import Path

import pytest

import d2ir_pl

PACKAGE = Path(d2ir_pl.__file__).parent
LAYERS = (
    {"schedules", "memory", "noise", "padding", "precision", "spectrum", "image_io", "metrics"},
    {"degradations", "priors"},
    {"sampling"},
    {"restoration"},
    {"measurements"},
    {"proposal"},
    {"api"},
    {
        "data",
        "module",
        "attempts",
        "phi_trace",
        "process_watch",
        "callbacks",
        "records",
        "settings",
        "hparams",
        "comparison",
        "comparison_pictures",
        "results",
        "chart",
        "report",
        "prior_data",
        "prior_training",
    },
    {"commands", "web"},
    {"cli"},
)
WITHOUT_LIGHTNING = set().union(*LAYERS[:7])
MODULES = sorted(p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py"))


def imports(module: str) -> set[str]:
    """Full names of the modules that a file imports, those inside functions included."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} uses a relative import"
            assert node.module is not None
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part(name: str) -> str | None:
    """The part of the package that a module belongs to: `d2ir_pl.priors.registry` is `priors`."""
    package, _, rest = name.partition(".")
    return rest.partition(".")[0] if package == "d2ir_pl" and rest else None


def own_part(module: str) -> str:
    return module.partition("/")[0].removesuffix(".py")


def layer(part: str) -> int:
    return next(i for i, parts in enumerate(LAYERS) if part in parts)


def test_every_module_has_a_layer() -> None:
    parts = {own_part(m) for m in MODULES} - {"__init__"}
    assert parts <= set().union(*LAYERS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    own = own_part(module)
    level = layer(own) if own != "__init__" else len(LAYERS)
    for name in imports(module):
        other = part(name)
        if other is None or other == own or not any(other in parts for parts in LAYERS):
            continue  # another package, the same part, or a name that d2ir_pl/__init__.py defines
        assert layer(other) <= level, f"{module} imports {name}"


@pytest.mark.parametrize("module", [m for m in MODULES if own_part(m) in WITHOUT_LIGHTNING])
def test_methods_do_not_need_lightning(module: str) -> None:
    roots = {name.partition(".")[0] for name in imports(module)}
    assert not roots & {"pytorch_lightning", "lightning", "jsonargparse", "tensorboard"}


@pytest.mark.parametrize("module", MODULES)
def test_baselines_are_reached_through_configs_only(module: str) -> None:
    if not module.startswith("restoration/baselines/"):
        assert not [name for name in imports(module) if "baselines" in name]


@pytest.mark.parametrize("module", MODULES)
def test_one_file_knows_the_unet_package(module: str) -> None:
    roots = {name.partition(".")[0] for name in imports(module)}
    assert ("guided_diffusion" in roots) == (module == "priors/guided_diffusion.py")


@pytest.mark.parametrize("module", MODULES)
def test_one_file_knows_the_diffusers_library(module: str) -> None:
    roots = {name.partition(".")[0] for name in imports(module)}
    assert ("diffusers" in roots) == (module == "priors/diffusers.py")


@pytest.mark.parametrize("module", MODULES)
def test_no_file_needs_torchvision(module: str) -> None:
    assert "torchvision" not in {name.partition(".")[0] for name in imports(module)}

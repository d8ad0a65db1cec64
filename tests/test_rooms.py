"""The rooms of the package: which may import which, name by name; and how long anything may be."""

import ast
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest

import d2ir_pl

PACKAGE = Path(d2ir_pl.__file__).parent

FOUNDATION = {"errors", "console", "compat", "schema", "stages", "stopping"}
"""Modules that every room may import."""

ROOMS: dict[str, set[str]] = {
    "shipped": set(),
    "image_io": set(),
    "operators": {"image_io"},
    "inputs": {"image_io"},
    "estimators": {"operators", "image_io"},
    "diffusion": {"operators"},
    "degradations": {"estimators", "operators", "image_io"},
    "priors": {"diffusion", "operators"},
    "results": {"image_io", "estimators"},
    "restoration": {"degradations", "diffusion", "estimators", "operators", "shipped"},
    "diagnosis": {"restoration", "degradations", "estimators", "operators", "image_io"},
    "batches": {
        "diagnosis",
        "restoration",
        "priors",
        "degradations",
        "estimators",
        "diffusion",
        "operators",
        "inputs",
        "image_io",
    },
    "api": {
        "batches",
        "restoration",
        "priors",
        "degradations",
        "inputs",
        "image_io",
    },
    "training": {"priors", "diffusion", "results", "inputs", "operators", "image_io"},
    "reports": {"results", "inputs", "image_io"},
    "prediction": {
        "batches",
        "image_io",
        "operators",
        "inputs",
        "degradations",
        "priors",
        "results",
        "restoration",
        "reports",
        "shipped",
    },
    "web": {
        "prediction",
        "image_io",
        "degradations",
        "restoration",
        "diagnosis",
        "results",
        "priors",
        "shipped",
        "reports",
    },
    "commands": {
        "shipped",
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
    "huggingface_hub": {"priors/hub.py"},
}
"""Libraries, and the only files that know them."""

MODULES = sorted(p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py"))


@cache
def source(module: str) -> str:
    return (PACKAGE / module).read_text(encoding="utf-8")


@cache
def nodes(module: str) -> list[ast.AST]:
    """All parts of a file's code."""
    return list(ast.walk(ast.parse(source(module))))


def imports(module: str) -> set[str]:
    """The full names of the modules that a file imports, also inside functions."""
    found = set()
    for node in nodes(module):
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


BY_ROOM = {name: list(modules) for name, modules in groupby(sorted(MODULES, key=room), room)}
in_every_room = pytest.mark.parametrize("modules", BY_ROOM.values(), ids=BY_ROOM)


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


@in_every_room
def test_every_import_has_a_direction(modules: list[str]) -> None:
    for module in modules:
        own = room(module)
        allowed = FOUNDATION | ROOMS.get(own, set()) | {own}
        wrong = sorted(
            name for name in imports(module) if (t := target(name)) is not None and t not in allowed
        )
        assert not wrong, f"{module} imports {wrong}"


@in_every_room
def test_libraries_stay_in_their_rooms(modules: list[str]) -> None:
    for module in modules:
        names = {name.replace("torch.utils.tensorboard", "tensorboard") for name in imports(module)}
        for library in {name.partition(".")[0] for name in names}:
            if library in LIBRARIES:
                assert room(module) in LIBRARIES[library], f"{module} imports {library}"
            if library in FILES:
                assert module in FILES[library], f"{module} imports {library}"


@in_every_room
def test_baselines_are_reached_through_configs_only(modules: list[str]) -> None:
    for module in modules:
        if not module.startswith("restoration/baselines/"):
            assert not [name for name in imports(module) if "baselines" in name]


LONGEST_FILE, LONGEST_FUNCTION, LONGEST_PREDICT_STEP, FILES_OF_THE_ROOT = 300, 60, 30, 8
"""Limits in lines; for a function, those of its code without docstring and blank lines."""


def functions(module: str) -> list[ast.FunctionDef]:
    return [node for node in nodes(module) if isinstance(node, ast.FunctionDef)]


def lines_of_code(function: ast.FunctionDef, text: str) -> int:
    """Lines from `def` to the end, without the docstring and blank lines."""
    assert function.end_lineno is not None
    lines = set(range(function.lineno, function.end_lineno + 1))
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        assert docstring.end_lineno is not None
        lines -= set(range(docstring.lineno, docstring.end_lineno + 1))
    written = text.splitlines()
    return sum(bool(written[number - 1].strip()) for number in lines)


def test_few_files_lie_in_the_root() -> None:
    assert len([m for m in MODULES if "/" not in m]) <= FILES_OF_THE_ROOT


@in_every_room
def test_files_fit_their_readers(modules: list[str]) -> None:
    for module in modules:
        count = len(source(module).splitlines())
        assert count <= LONGEST_FILE, f"split {module}: {count} lines"


@in_every_room
def test_functions_fit_a_screen(modules: list[str]) -> None:
    for module in modules:
        for function in functions(module):
            limit = LONGEST_PREDICT_STEP if function.name == "predict_step" else LONGEST_FUNCTION
            count = lines_of_code(function, source(module))
            assert count <= limit, f"split {function.name} of {module}: {count} lines of code"


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def is_condition(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) in ("bool", "isinstance")
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not)
    return isinstance(node, ast.Compare | ast.BoolOp)


@in_every_room
def test_text_is_not_multiplied_by_a_condition(modules: list[str]) -> None:
    for module in modules:
        for node in nodes(module):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
                for text, factor in ((node.left, node.right), (node.right, node.left)):
                    wrong = is_text(text) and is_condition(factor)
                    assert not wrong, f"{module}:{node.lineno}: write `text if condition else ''`"

"""The documentation says what the program has; `.ci/run` builds it and so checks its links."""

import importlib
import inspect
import pkgutil
import re

import pytest
import torch
import yaml
from gaussian_prior import GaussianPrior
from PIL import Image
from repository import DOCS

import d2ir_pl
from d2ir_pl import degradations
from d2ir_pl.degradations import Degradation, GaussianBlur, Identity, LinearDegradation
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.restoration import (
    D2IR,
    BlindDenoising,
    LatentOptimization,
    PosteriorMean,
    Problem,
    RestorationMethod,
    baselines,
)
from d2ir_pl.shipped.files import configs_folder

DEGRADATIONS = [
    cls
    for cls in vars(degradations).values()
    if inspect.isclass(cls) and issubclass(cls, Degradation) and not inspect.isabstract(cls)
]
METHODS = [
    D2IR,
    BlindDenoising,
    PosteriorMean,
    *(getattr(baselines, name) for name in baselines.__all__),
]


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def sections(page: str) -> dict[str, str]:
    """The text under each heading of the second level."""
    parts = re.split(r"^## (.+)$", text_of(page), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("cls", DEGRADATIONS, ids=lambda cls: cls.__name__)
def test_every_degradation_is_in_the_gallery(cls: type[Degradation]) -> None:
    text = sections("degradations.md")[cls.__name__]
    (picture,) = re.findall(r"\]\((gallery/.+?)\)", text)
    with Image.open(DOCS / picture) as image:
        assert image.height == 160
    assert "$$" in text
    shown = re.search(r"`(\w+)`[^`]*\(shown\)", text)
    assert shown is not None
    named = yaml.safe_load((configs_folder() / f"{shown[1]}.yaml").read_text(encoding="utf-8"))
    path = named["model"].get("degradation", {}).get("class_path", "GaussianBlur")
    assert path.rpartition(".")[2] == cls.__name__


@pytest.mark.parametrize("page", ["degradations.md", "methods.md"])
def test_configs_in_code_spans_of_lists_and_tables_exist(page: str) -> None:
    text = text_of(page)
    shipped = {path.stem for path in configs_folder().glob("*.yaml")}
    lists = re.findall(r"^- Configs?:(.+?)(?=^- |^$)", text, re.MULTILINE | re.DOTALL)
    column = re.findall(r"^\| \[.*\| `(\w+)` \|$", text, re.MULTILINE)
    named = {name for entry in lists for name in re.findall(r"`(\w+)`", entry)} | set(column)
    assert named - {"BlindDenoising", "PosteriorMean"} <= shipped
    assert len(named) > 6


@pytest.mark.parametrize("file", ["examples/own_method.py", "docs/own_method.md"])
def test_a_method_of_ones_own_needs_nothing_but_the_faces_of_rooms(file: str) -> None:
    text = (DOCS.parent / file).read_text(encoding="utf-8")
    assert not re.findall(r"(?:from|import) d2ir_pl(?:\.\w+){2,}", text)
    assert not re.findall(r"`_\w+`", text)


@pytest.mark.parametrize("cls", METHODS, ids=lambda cls: cls.__name__)
def test_every_method_is_compared(cls: type[RestorationMethod]) -> None:
    assert "$$" in sections("methods.md")[cls.__name__]


def test_degradations_that_are_not_linear_are_named() -> None:
    text = text_of("methods.md")
    line = re.search(r"\*Linear\* are all degradations but (.+?)\.", text, re.DOTALL)
    assert line is not None
    others = {cls.__name__ for cls in DEGRADATIONS if not issubclass(cls, LinearDegradation)}
    assert set(re.findall(r"`(\w+)`", line[1])) == others


@pytest.mark.parametrize("cls", METHODS, ids=lambda cls: cls.__name__)
def test_evaluations_are_those_of_the_defaults(cls: type[RestorationMethod]) -> None:
    row = re.search(rf"^\| \[{cls.__name__}\].+?\| (\d+)", text_of("methods.md"), re.M)
    assert row is not None
    y = torch.zeros(1, 3, 32, 32) + torch.linspace(-0.5, 0.5, 32)
    degradation: Degradation = GaussianBlur(5, width=1.0)
    if issubclass(cls, PosteriorMean):
        degradation = Identity()
    if cls.__name__ in ("FastDiffusionEM", "GibbsDDRM"):
        degradation = degradations.Blur(5)
    sigma = torch.full((1,), 0.5)  # enough for stage 2 to have nothing to do
    method = cls()
    # What evaluates nothing is left short.
    if isinstance(method, baselines.DAPS):
        method.langevin_steps = 1
    if isinstance(method, baselines.GibbsDDRM):
        method.kernel_iterations = 1
    found = method.restore(
        Problem.of(y, degradation, [image_generator(0, "")], sigma), GaussianPrior()
    )
    assert found.nfe == [int(row[1])]


def test_evaluations_of_stage_2_are_at_most_those_that_are_named() -> None:
    found = re.search(r"up to (\d+) where stage 2 runs", text_of("methods.md"))
    assert found is not None
    method = D2IR(latent=LatentOptimization(discrepancy=0))
    y = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.5
    result = method.restore(
        Problem.of(y, GaussianBlur(5), [image_generator(0, "")]), GaussianPrior()
    )
    assert result.nfe == [int(found[1])]


def test_the_import_rule_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS)
    rooms = importlib.import_module("make_rooms")
    remedy = "run python docs/make_rooms.py"
    assert rooms.DIAGRAM.read_text(encoding="utf-8") == rooms.diagram(), remedy
    for page in rooms.PAGES:
        text = page.read_text(encoding="utf-8")
        assert rooms.table() in text, remedy


FACES = [
    name
    for name in ("d2ir_pl", *(m.name for m in pkgutil.walk_packages(d2ir_pl.__path__, "d2ir_pl.")))
    if hasattr(importlib.import_module(name), "__all__")
]


def shown(path: str) -> object:
    """What an entry of the page names."""
    module, _, name = path.rpartition(".")
    found: object = getattr(importlib.import_module(module), name)
    return found


@pytest.mark.parametrize("face", FACES)
def test_every_public_name_is_explained(face: str) -> None:
    entries = re.findall(r"^\.\. auto\w+:: (\S+)$", text_of("api.md"), re.MULTILINE)
    module = importlib.import_module(face)
    for name in set(module.__all__) - {"__version__"}:
        same = [path for path in entries if path.rpartition(".")[2] == name]
        assert any(shown(path) is getattr(module, name) for path in same), f"{face}.{name}"
    assert ":members:" not in text_of("api.md")  # conf.py shows all that have a docstring

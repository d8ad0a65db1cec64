"""Versions and names that stand in several files agree."""

import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from repository import ROOT

import d2ir_pl

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
NEEDED = [Requirement(text) for text in PROJECT["dependencies"]]
OPTIONAL = [Requirement(text) for texts in EXTRAS.values() for text in texts]


def pinned(file: str) -> dict[str, Version]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pairs = (line.split(" --hash")[0].split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def lower_bound(requirement: Requirement) -> Version | None:
    found = [s.version for s in requirement.specifier if s.operator in (">=", "==")]
    return Version(found[0]) if found else None


@pytest.mark.parametrize("requirement", [*NEEDED, *OPTIONAL], ids=str)
def test_the_known_good_environment_meets_every_requirement(requirement: Requirement) -> None:
    if requirement.name == "d2ir_pl":  # an extra that is made of others
        return
    version = pinned("constraints.txt")[canonicalize_name(requirement.name)]
    assert version in requirement.specifier
    assert version.local is None, "a build of one machine"


def test_the_lowest_environment_has_the_lower_bounds() -> None:
    lowest = pinned("constraints-lowest.txt")
    assert lowest.keys() >= {canonicalize_name(r.name) for r in NEEDED}
    for requirement in [*NEEDED, *OPTIONAL]:
        name = canonicalize_name(requirement.name)
        if name in lowest and name != "torch":
            assert lowest[name] == lower_bound(requirement), requirement.name


def test_malicious_releases_of_lightning_are_excluded() -> None:
    (lightning,) = [r for r in NEEDED if r.name == "pytorch-lightning"]
    assert [v for v in ("2.6.1", "2.6.2", "2.6.3", "2.6.6") if v in lightning.specifier] == [
        "2.6.1",
        "2.6.6",
    ]


def test_pythons_are_the_same_everywhere() -> None:
    marker = "Programming Language :: Python :: 3."
    classified = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if c.startswith(marker)]
    workflow = yaml.safe_load((ROOT / ".github/workflows/checks.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["tests"]["strategy"]["matrix"]["python"] == classified
    assert PROJECT["requires-python"] == f">={classified[0]}"


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == d2ir_pl.__version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\]", changes, re.MULTILINE)
    assert headings[:2] == ["Unreleased", d2ir_pl.__version__]


def test_addresses_are_the_same_everywhere() -> None:
    home = PROJECT["urls"]["Homepage"]
    assert all(address.startswith(home) for address in PROJECT["urls"].values())
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["repository-code"] == home


def test_the_pinned_files_are_those_of_the_known_good_environment() -> None:
    text = (ROOT / "constraints-hashed.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"\S+==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
    assert "://" not in text, "an address of a server"
    hashed, known = pinned("constraints-hashed.txt"), pinned("constraints.txt")
    assert hashed.items() <= known.items()
    needed = [*NEEDED, *(Requirement(t) for name in ("demo", "photos") for t in EXTRAS[name])]
    assert {canonicalize_name(r.name) for r in needed} - {"torch"} <= hashed.keys()


@pytest.mark.slow
def test_a_wheel_that_is_built_twice_is_the_same_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = pytest.importorskip("hatchling.builders.wheel").WheelBuilder
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    built = []
    for name in ("one", "two"):
        tree = tmp_path / name / "tree"
        ignored = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", "results", "build")
        for part in ("d2ir_pl", "configs"):
            shutil.copytree(ROOT / part, tree / part, ignore=ignored)
        for file in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copyfile(ROOT / file, tree / file)  # with another time
        if name == "two":  # by someone with other habits
            for path in tree.rglob("*"):
                path.chmod(0o700 if path.is_dir() else 0o600)
        (wheel,) = builder(str(tree)).build(directory=str(tmp_path / name / "dist"))
        built.append(Path(wheel))
    assert built[0].name == built[1].name
    assert built[0].read_bytes() == built[1].read_bytes()

"""The Python of the documentation runs word for word, page by page, as its readers would run it.

A page's blocks share their names, in order. One that cannot run here has the comment
`<!-- not run: REASON -->` before it; one that is a program of its own, which starts other
processes, has `<!-- program -->`. Notebooks are run by the build of the documentation.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from forks import Programs
from photos import save, save_all
from PIL import Image
from repository import DOCS, EXAMPLES, ROOT

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *EXAMPLES.glob("*.md")])
}
MARKS = ("not run", "program")
SIZE = (16, 24)
"""Height and width of the photos that the blocks find."""


@dataclass(frozen=True)
class Block:
    """A fenced block of Python, the line it begins on, and what the comment before it says."""

    code: str
    line: int
    mark: str


def blocks_of(text: str) -> list[Block]:
    pattern = r"^(?:<!-- (.+?) -->\n)?( *)```python\n(.*?)^\2```$"
    return [
        Block(
            re.sub(rf"^{match[2]}", "", match[3], flags=re.MULTILINE),
            text[: match.start(3)].count("\n") + 1,
            (match[1] or "").partition(":")[0],
        )
        for match in re.finditer(pattern, text, re.MULTILINE | re.DOTALL)
    ]


BLOCKS = {page: found for page, text in PAGES.items() if (found := blocks_of(text))}
GIVEN: dict[str, dict[str, Any]] = {
    "docs/priors.md": {"x_t": torch.randn(1, 3, 32, 32, generator=torch.manual_seed(0)), "t": 300},
}
"""Names that a page introduces in words."""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files that the blocks name, and the examples within reach."""
    save(tmp_path / "photo.png", 1, *SIZE)
    Image.open(tmp_path / "photo.png").save(tmp_path / "photo.jpg")
    save_all(tmp_path / "photos", ["first.png", "second.png", "third.png"], *SIZE)
    save_all(tmp_path / "clean", ["first.png", "second.png", "third.png"], *SIZE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    return tmp_path


def test_every_block_of_python_is_found_and_marked_rightly() -> None:
    for page, text in PAGES.items():
        found = BLOCKS.get(page, [])
        assert len(found) == len(re.findall(r"^ *```python$", text, re.MULTILINE)), page
        assert {block.mark for block in found} <= {"", *MARKS}, page


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=pytest.mark.slow) if "lightning" in p else p for p in BLOCKS],
)
def test_the_blocks_of_a_page_run_and_write_what_they_say(page: str, desk: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__", **GIVEN.get(page, {})}
    run = [block for block in BLOCKS[page] if not block.mark]
    for block in run:
        place = "\n" * (block.line - 1)  # so that a traceback names the line of the page
        exec(compile(place + block.code, str(ROOT / page), "exec"), names)
    code = "".join(block.code for block in run)
    for name in re.findall(r'\.save\("([^{}]+?)"\)', code):
        with Image.open(desk / name) as image:
            assert image.size == SIZE[::-1]
    for value, said in re.findall(r"^(\S.*)  # (\d+|True|False): ", code, re.MULTILINE):
        assert str(eval(value, names)) in (said, f"tensor({said})"), value


@pytest.mark.distributed
@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "block"),
    [(page, b) for page, found in BLOCKS.items() for b in found if b.mark == "program"],
)
def test_programs_of_the_documentation_end_well(
    page: str, block: Block, desk: Path, programs: Programs
) -> None:
    program = desk / "program.py"
    program.write_text(block.code, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(EXAMPLES)])}
    done = programs.run([program], env=environment, cwd=desk, timeout=300, spare=1)
    assert done.returncode == 0, done.stderr
    for photo in (desk / "photos").iterdir():  # none is lost, none is restored twice
        assert done.stdout.count(photo.stem) == 1

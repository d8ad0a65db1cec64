"""A command is loaded without a search for garbage, and leaves Python as it was."""

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from d2ir_pl.commands.loading import loading


@pytest.fixture(autouse=True)
def _collecting() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_garbage_is_looked_for_again_afterwards_but_not_in_what_was_loaded() -> None:
    with loading("stopped"):
        assert not gc.isenabled()
        loaded: list[list[int]] = [[] for _ in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= len(loaded)


def test_a_module_that_is_missing_leaves_python_as_it_was() -> None:
    with pytest.raises(ImportError, match="none"), loading("stopped"):
        raise ImportError("none")
    assert gc.isenabled()


def test_who_looks_for_no_garbage_is_left_so() -> None:
    gc.disable()
    before = gc.get_freeze_count()
    with loading("stopped"):
        pass
    assert not gc.isenabled()
    assert gc.get_freeze_count() == before


def test_the_program_loads_its_commands_so() -> None:
    code = "from d2ir_pl.cli import main; import gc; main(['compare', 'no', 'folders']); "
    code += "print(gc.isenabled(), gc.get_freeze_count() > 10_000)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True True"

"""What holds for every test: its markers, its seed, and the prior that is part of the package."""

from pathlib import Path

import pytest
import torch

from d2ir_pl.priors import load_prior
from d2ir_pl.priors.network import NetworkPrior

HERE = Path(__file__).parent
FOLDERS = {"browser", "distributed"}  # each is the name of the marker of the tests in it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder; a browser and several processes are slow to start."""
    for item in items:
        if item.path.is_relative_to(HERE):
            for name in FOLDERS.intersection(item.path.relative_to(HERE).parts):
                item.add_marker(name)
        if any(item.get_closest_marker(name) for name in FOLDERS):
            item.add_marker("slow")


def pytest_runtest_setup() -> None:
    """PyTorch draws the same numbers for a test, in whatever order the tests run."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def natural_small() -> NetworkPrior:
    """The prior that is part of the package; whoever changes it loads another."""
    prior = load_prior()
    assert isinstance(prior, NetworkPrior)
    return prior

from typing import Any, cast

import numpy as np
import pytest
import torch

from d2ir_pl.operators.padding import pad, pad_adjoint

NUMPY_MODES: dict[str, Any] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@pytest.mark.parametrize("mode", NUMPY_MODES)
@pytest.mark.parametrize("shape", [(5, 7), (1, 4), (2, 2)])
def test_margins_equal_those_of_numpy_even_beyond_the_image(
    mode: Any, shape: tuple[int, ...]
) -> None:
    x = torch.randn(2, *shape)
    ours = pad(x, (9, 4), (3, 11), mode)
    theirs = np.pad(x.numpy(), ((0, 0), (9, 4), (3, 11)), NUMPY_MODES[mode])
    assert np.array_equal(ours.numpy(), theirs)


@pytest.mark.parametrize("mode", NUMPY_MODES)
def test_adjoint(mode: Any) -> None:
    x = torch.randn(1, 2, 5, 4, dtype=torch.float64)
    padded = pad(x, (7, 3), (1, 6), mode)
    g = torch.randn_like(padded)
    back = pad_adjoint(g, (7, 3), (1, 6), mode)
    assert float((padded * g).sum()) == pytest.approx(float((x * back).sum()), rel=1e-12)


def test_unknown_border_is_refused() -> None:
    with pytest.raises(ValueError, match="mirror"):
        pad(torch.zeros(4, 4), (1, 1), (1, 1), cast(Any, "mirror"))

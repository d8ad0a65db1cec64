"""A picture is tinted as much as a share says."""

import numpy as np
from PIL import Image

from d2ir_pl.results.tint import DENSEST, TINT, tint


def test_a_pixel_mixes_the_picture_and_the_tint_by_its_share() -> None:
    share = np.array([[0, 64, 255]], dtype=np.uint8)
    picture = np.full((1, 3, 3), 40, dtype=np.uint8)
    found = Image.fromarray(picture).convert("RGBA")
    found.alpha_composite(tint(Image.fromarray(share)))
    mixed = DENSEST * share[..., None] / 255
    expected = (1 - mixed) * picture + mixed * np.array(TINT)
    np.testing.assert_allclose(np.asarray(found)[..., :3], expected, atol=1)

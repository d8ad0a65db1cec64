"""A picture is tinted as much as a share says."""

import numpy as np
from PIL import Image

from d2ir_pl.results.tint import DENSEST, TINT, tinted


def test_a_pixel_mixes_the_picture_and_the_tint_by_its_share() -> None:
    share = np.array([[0, 64, 255]], dtype=np.uint8)
    picture = np.full((1, 3, 3), 40, dtype=np.uint8)
    found = tinted(Image.fromarray(picture), Image.fromarray(share))
    mixed = DENSEST * share[..., None] / 255
    expected = (1 - mixed) * picture + mixed * np.array(TINT)
    np.testing.assert_allclose(np.asarray(found), expected, atol=1)


def test_without_a_picture_or_of_another_size_there_is_nothing_to_tint() -> None:
    picture, share = Image.new("RGB", (4, 3)), Image.new("L", (3, 4))
    assert tinted(picture, None) is None
    assert tinted(None, share) is None
    assert tinted(picture, share) is None

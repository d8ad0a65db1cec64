"""Missing pixels: which they are, what fills them, how much noise is left, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from photos import photo

from d2ir_pl.degradations import Mask, Phi
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.estimators.observed_pixels import estimate_sigma_of_observed, not_black, pull_push
from d2ir_pl.image_io import Photo, write_png
from d2ir_pl.restoration import data_step, mean_square

SIGMA = torch.full((1,), 0.02)


def bright(count: int = 2, height: int = 24, width: int = 32) -> torch.Tensor:
    """Photos without a black pixel."""
    images = torch.stack([photo(seed, height, width) for seed in range(count)])
    return images.clamp_min(-0.8)


def drawn(degradation: Mask, like: torch.Tensor) -> Phi:
    return degradation.draw([image_generator(0, str(i)) for i in range(len(like))], like)


def seen(height: int = 24, width: int = 32) -> Photo:
    return Photo(photo(0, height, width), None, 8, False, None, ())


def save_mask(path: Path, mask: torch.Tensor) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, (2 * mask - 1).expand(3, -1, -1))
    return path


# ---- The equation ----


def test_observed_pixels_are_kept_and_missing_ones_are_black() -> None:
    x = bright()
    phi = drawn(Mask(missing=0.7), x)
    y = Mask()(x, phi)
    kept = phi["mask"].expand_as(x) == 1
    assert torch.equal(y[kept], x[kept])
    assert bool((y[~kept] == -1).all())


def test_the_preconditioner_is_the_inverse_of_the_normal_equations() -> None:
    x = torch.randn(2, 3, 24, 32, dtype=torch.float64)
    operator = Mask().operator(drawn(Mask(), x), (24, 32))
    rho = torch.full((2, 1, 1, 1), 0.03, dtype=x.dtype)
    g = operator.adjoint(operator.forward(x)) + rho * x
    assert torch.allclose(operator.precondition(g, rho), x, atol=1e-12)


def test_one_data_step_is_the_weighted_mean_and_leaves_missing_pixels_alone() -> None:
    x = bright()
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    phi = drawn(Mask(), x)
    operator, residual = Mask().linearize(Mask()(x, phi), z, phi)
    solved, _ = data_step(operator, residual, z, torch.full((2, 1, 1, 1), 0.25), 1)
    expected = torch.where(phi["mask"] == 1, (x + 0.25 * z) / 1.25, z)
    assert torch.allclose(solved, expected, atol=1e-6)


def test_the_mean_square_residual_of_the_truth_is_that_of_the_noise() -> None:
    x = bright(2, 64, 64)
    phi = drawn(Mask(missing=0.8), x)
    n = 0.1 * normal_like(x, [image_generator(1, str(i)) for i in range(2)])
    y = Mask()(x, phi) + n
    residual = Mask().residual(y, Mask()(x, phi), phi)
    assert bool((residual[phi["mask"].expand_as(x) == 0] == 0).all())
    explained = mean_square(residual) / Mask().share(phi)
    assert torch.allclose(explained, torch.tensor(0.01), rtol=0.1)
    assert torch.allclose(Mask().share(phi), torch.tensor(0.2), atol=0.03)


# ---- Where the mask comes from ----


def test_black_pixels_of_an_eight_bit_photo_are_missing() -> None:
    x = bright()
    phi = drawn(Mask(), x)
    y = ((Mask()(x, phi) + 1) * 127.5).round() / 127.5 - 1
    assert torch.equal(Mask().init(y, SIGMA)["mask"], phi["mask"])


def test_a_pixel_with_one_channel_above_black_is_observed() -> None:
    y = bright(1)
    y[0, :, 5, 5] = torch.tensor([-1.0, -1 + 2 / 255, -1.0])
    assert float(not_black(y).min()) == 1


def test_a_black_pixel_in_a_dark_part_of_the_photo_is_observed_and_in_a_bright_one_missing() -> (
    None
):
    y = bright(1)
    y[..., :8, :8] = -1 + 4 / 255
    y[..., 3, 3] = -1
    y[..., 15, 20] = -1
    mask = not_black(y)
    assert mask[0, 0, 3, 3] == 1
    assert mask[0, 0, 15, 20] == 0
    assert float(mask.sum()) == mask.numel() - 1


def test_a_box_is_missing_or_with_invert_all_but_the_box() -> None:
    y = bright(1)
    mask = Mask([2, 3, 5, 7]).init(y, SIGMA)["mask"]
    assert float((1 - mask).sum()) == 5 * 7
    assert float(mask[0, 0, 2:7, 3:10].max()) == 0
    outside = Mask([2, 3, 5, 7], invert=True).init(y, SIGMA)["mask"]
    assert torch.equal(outside, 1 - mask)
    assert torch.equal(drawn(Mask([2, 3, 5, 7]), y)["mask"], mask)


def test_a_mask_file_is_white_where_observed_and_serves_every_image(tmp_path: Path) -> None:
    mask = (torch.rand(1, 24, 32, generator=torch.Generator().manual_seed(0)) > 0.4).float()
    file = str(save_mask(tmp_path / "mask.png", mask))
    y = bright(2)
    assert torch.equal(Mask(file).init(y, SIGMA)["mask"], mask.expand(2, 1, -1, -1))
    assert torch.equal(Mask(file, invert=True).init(y, SIGMA)["mask"][1], 1 - mask)


def test_the_masks_of_a_folder_follow_the_names_of_the_images(tmp_path: Path) -> None:
    masks, keys = {}, ["a/one.jpg", "b/one.png", "two.v2.png"]
    for seed, key in enumerate(keys):
        generator = torch.Generator().manual_seed(seed)
        masks[key] = (torch.rand(1, 24, 32, generator=generator) > 0.5).float()
        save_mask((tmp_path / "masks" / key).with_suffix(".png"), masks[key])
    folder = Mask(str(tmp_path / "masks"))
    chosen = folder.for_images([seen()] * 3, keys[::-1])
    found = chosen.init(bright(3), SIGMA)["mask"]
    assert torch.equal(found, torch.stack([masks[key] for key in keys[::-1]]))
    with pytest.raises(ValueError, match="for_images"):
        folder.init(bright(3), SIGMA)


@pytest.mark.parametrize("missing", [0.0, 0.5, 0.92])
def test_a_drawn_share_of_the_pixels_is_missing(missing: float) -> None:
    mask = drawn(Mask(missing=missing), torch.zeros(2, 3, 128, 128))["mask"]
    assert set(mask.flatten().tolist()) <= {0.0, 1.0}
    assert torch.allclose(1 - mask.mean((1, 2, 3)), torch.tensor(missing), atol=0.02)
    few = drawn(Mask(missing=0.9999), torch.zeros(20, 3, 2, 2))["mask"]
    assert bool((few.sum((1, 2, 3)) >= 1).all())


# ---- Filling and noise ----


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (24, 31)])
def test_filling_keeps_what_is_observed_and_stays_in_its_range(size: tuple[int, int]) -> None:
    y = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mask = drawn(Mask(missing=0.8), y)["mask"]
    filled = pull_push(y, mask)
    assert torch.equal(filled * mask, y * mask)
    for b in range(2):
        seen = y[b][:, mask[b, 0] == 1]
        assert bool((filled[b].amax((1, 2)) <= seen.amax(1) + 1e-5).all())
        assert bool((filled[b].amin((1, 2)) >= seen.amin(1) - 1e-5).all())


@pytest.mark.parametrize("degradation", [Mask(missing=0.9), Mask([8, 8, 16, 16])])
def test_filling_is_far_closer_to_a_smooth_image_than_one_colour(degradation: Mask) -> None:
    rows, columns = torch.meshgrid(2 * torch.arange(48) / 47, torch.arange(48) / 16, indexing="ij")
    x = 0.5 * torch.stack([rows.sin(), columns.cos(), (rows + columns).sin()])[None]
    phi = drawn(degradation, x)
    missing = 1 - phi["mask"]
    error = (missing * (degradation.lift(degradation(x, phi), phi) - x)).square().sum()
    plain = (missing * (x.mean((2, 3), keepdim=True) - x)).square().sum()
    assert float(error) < 0.1 * float(plain)


@pytest.mark.parametrize(("missing", "tolerance"), [(0.0, 0.1), (0.5, 0.1), (0.92, 0.3)])
@pytest.mark.parametrize("sigma", [0.04, 0.1])
def test_the_noise_level_is_read_off_between_the_holes(
    missing: float, tolerance: float, sigma: float
) -> None:
    x = bright(2, 160, 160)
    phi = drawn(Mask(missing=missing), x)
    n = sigma * normal_like(x, [image_generator(1, str(i)) for i in range(2)])
    y = torch.where(phi["mask"] == 1, x + n, -1.0)
    # The photos carry noise of 0.03 of their own.
    truth = torch.full((2,), (sigma**2 + 0.03**2) ** 0.5)
    assert torch.allclose(Mask().estimate_sigma(y), truth, rtol=tolerance)


def test_the_noise_of_a_grey_photo_and_of_pixels_far_apart_is_read_as_well() -> None:
    grey = 0.1 * torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    every_second = torch.zeros(1, 1, 64, 64)
    every_second[..., ::2, ::2] = 1
    sigma = estimate_sigma_of_observed(grey.expand(-1, 3, -1, -1), every_second)
    assert float(sigma) == pytest.approx(0.1, rel=0.15)


def test_no_two_observed_pixels_give_no_noise() -> None:
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 3, 3] = 1
    assert float(estimate_sigma_of_observed(torch.rand(1, 3, 8, 8), mask)) == 0


# ---- What is refused ----


def test_sizes_that_do_not_fit_are_named(tmp_path: Path) -> None:
    hole = torch.ones(1, 10, 12)
    hole[:, 2:5] = 0
    file = save_mask(tmp_path / "mask.png", hole)
    with pytest.raises(ValueError, match=r"10x12 pixels and its image 24x32"):
        Mask(str(file)).init(bright(1), SIGMA)
    with pytest.raises(ValueError, match=r"ends at 30x10 pixels, beyond the image of 24x32"):
        Mask([20, 0, 10, 10]).init(bright(1), SIGMA)
    (tmp_path / "masks").mkdir()
    save_mask(tmp_path / "masks" / "photo.png", hole)
    with pytest.raises(ValueError, match=r"photo.png has 10x12 pixels and its image 24x32"):
        Mask(str(tmp_path / "masks")).for_images([seen()], ["photo.png"])


def test_an_image_without_a_mask_or_with_two_is_named(tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    with pytest.raises(ValueError, match=r"image photo\.png has no mask in .*masks"):
        Mask(str(masks)).for_images([seen()], ["photo.png"])
    for name in ("photo.png", "photo.bmp"):
        save_mask(masks / name, torch.ones(1, 24, 32))
    with pytest.raises(ValueError, match=r"image photo\.png has 2 masks"):
        Mask(str(masks)).for_images([seen()], ["photo.png"])


def test_an_image_of_which_nothing_is_observed_is_refused() -> None:
    y = bright(2)
    y[1] = -1
    with pytest.raises(ValueError, match="no pixel of image 2 of the batch of 2 is observed"):
        Mask().init(y, SIGMA)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "nowhere.png"}, "'nowhere.png' is no mask file or folder"),
        ({"source": [1, 2, 3]}, r"\[top, left, height, width\]"),
        ({"source": [0, 0, 0, 4]}, r"\[top, left, height, width\]"),
        ({"missing": 1.0}, "missing 1.0 must be at least 0 and below 1"),
        ({"invert": True}, "invert needs a mask file or a box"),
    ],
)
def test_settings_that_make_no_mask_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mask(**arguments)

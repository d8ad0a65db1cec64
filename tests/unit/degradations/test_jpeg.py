import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photos import photo
from PIL import Image

from d2ir_pl.degradations import Jpeg, Phi
from d2ir_pl.degradations.jpeg_operator import WhitenedCoefficients
from d2ir_pl.estimators.jpeg_tables import SUBSAMPLINGS, estimate_quality, quantization_variance
from d2ir_pl.image_io import read_image, write_png
from d2ir_pl.operators.jpeg_transform import (
    Coefficients,
    analyze,
    analyze_adjoint,
    block_dct,
    block_idct,
    standard_tables,
    synthesize,
)
from d2ir_pl.operators.orientation import stored, upright
from d2ir_pl.restoration.data_step import data_step
from d2ir_pl.results.metrics import psnr

PILLOW = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
SIZES = [(48, 64), (41, 53)]
every_subsampling = pytest.mark.parametrize("subsampling", PILLOW)


def scene(size: tuple[int, int] = (48, 64), seed: int = 0) -> torch.Tensor:
    """Noise with the 1/f^2 power of photographs, in 8 bits."""
    h, w = size
    noise = torch.randn(3, h, w, generator=torch.Generator().manual_seed(seed))
    fy, fx = torch.fft.fftfreq(h)[:, None], torch.fft.rfftfreq(w)
    falling = 1 / torch.hypot(fy, fx).clamp_min(1 / max(h, w))
    image: torch.Tensor = torch.fft.irfft2(torch.fft.rfft2(noise) * falling, s=(h, w))
    image = image + 2 * image.mean(0, keepdim=True)
    return (0.3 * image / image.std()).clamp(-0.95, 0.95).add(1).mul(127.5).round() / 127.5 - 1


def encoded(x: torch.Tensor, quality: int, subsampling: str, **options: object) -> bytes:
    pixels = ((x + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(
        buffer, "jpeg", quality=quality, subsampling=PILLOW[subsampling], **options
    )
    return buffer.getvalue()


def pillow(x: torch.Tensor, quality: int, subsampling: str) -> torch.Tensor:
    """Compressed and decompressed by libjpeg."""
    image = Image.open(io.BytesIO(encoded(x, quality, subsampling)))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1


# ---- The model against libjpeg ----


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("quality", [8, 30, 75, 92])
@every_subsampling
def test_it_does_what_libjpeg_does(size: tuple[int, int], quality: int, subsampling: Any) -> None:
    x = scene(size)
    jpeg = Jpeg(quality, subsampling)
    ours = jpeg(x[None], jpeg.init(x[None], torch.zeros(1)))[0]
    theirs = pillow(x, quality, subsampling)
    # Sums of whole numbers are often just between two multiples of a step, and rounded either way.
    error, difference = (theirs - x).square().mean(), (ours - theirs).square().mean()
    assert float(difference.sqrt()) < 3 / 127.5
    assert float(difference) < 0.1 * float(error)
    assert float(psnr(ours[None], x[None])) == pytest.approx(
        float(psnr(theirs[None], x[None])), abs=0.5
    )


@pytest.mark.parametrize("quality", [1, 12, 49, 50, 51, 75, 99, 100])
def test_the_tables_are_those_of_libjpeg(quality: int) -> None:
    image: Any = Image.open(io.BytesIO(encoded(scene(), quality, "4:2:0")))
    theirs = torch.tensor([image.quantization[0], image.quantization[1]]).view(2, 8, 8)
    assert torch.equal(standard_tables(torch.tensor(quality)), theirs)


# ---- The transforms ----


def test_the_block_transform_is_orthonormal() -> None:
    planes = torch.randn(2, 24, 16, dtype=torch.float64)
    coefficients = block_dct(planes)
    assert torch.allclose(block_idct(coefficients), planes)
    assert torch.allclose(coefficients.square().sum(), planes.square().sum())
    assert torch.allclose(
        coefficients[..., 0, 0] / 8, planes.unfold(1, 8, 8).unfold(2, 8, 8).mean((3, 4))
    )


@pytest.mark.parametrize("factors", SUBSAMPLINGS.values())
@pytest.mark.parametrize("size", SIZES)
def test_the_coefficients_of_a_decoded_image_are_found_again(
    factors: tuple[int, int], size: tuple[int, int]
) -> None:
    x = scene(size).double()
    tables = standard_tables(torch.tensor(30)).double()
    stored_ones = analyze(x, factors).quantize(tables)
    # Blocks that the image does not fill hold what the decoder threw away.
    whole = size[0] // 16, size[1] // 16
    found = analyze(synthesize(stored_ones, size, factors), factors, decoded=True)
    for a, b in ((found.luma, stored_ones.luma), (found.chroma, stored_ones.chroma)):
        a, b = (c[..., : whole[0], : whole[1], :, :] for c in (a, b))
        assert torch.allclose(a, b, atol=1e-2)


@pytest.mark.parametrize("factors", [*SUBSAMPLINGS.values(), (2, 1)])
@pytest.mark.parametrize("size", SIZES)
def test_the_adjoint_of_the_analysis_is_its_transpose(
    factors: tuple[int, int], size: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, *size, dtype=torch.float64, generator=generator)
    zero, forward = analyze(torch.zeros_like(x), factors), analyze(x, factors)
    r = Coefficients(
        *(torch.randn(c.shape, dtype=c.dtype, generator=generator) for c in vars(zero).values())
    )
    left = sum(
        ((getattr(forward, k) - getattr(zero, k)) * getattr(r, k)).sum() for k in ("luma", "chroma")
    )
    right = (x * analyze_adjoint(r, size, factors)).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-9)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_files_are_stored_turned(orientation: int, tmp_path: Path) -> None:
    """What the reader of photos turns upright, `stored` turns back."""
    x = scene()
    file = stored(x, orientation)
    assert torch.equal(upright(file, orientation), x)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    path.write_bytes(encoded(file, 100, "4:4:4", exif=exif))
    assert float((read_image(path).pixels - x).abs().max()) < 0.1
    tables = read_image(path).tables
    assert tables is not None
    assert tables.orientation == orientation


# ---- Linearisation ----


@pytest.mark.parametrize("contrast", [1, 5])
def test_rounding_and_clipping_pass_gradients_straight_through(contrast: int) -> None:
    x = contrast * scene((16, 16))[None].double()
    phi = Jpeg().draw([torch.Generator().manual_seed(0)], x)
    for transform in (torch.func.jvp, torch.func.vjp):
        f = lambda image: Jpeg()(image, phi)  # noqa: E731
        if transform is torch.func.jvp:
            change = torch.func.jvp(f, (x,), (torch.ones_like(x),))[1]
            assert torch.allclose(change, torch.ones_like(x), atol=1e-6)
        else:
            (gradient,) = torch.func.vjp(f, x)[1](torch.ones_like(x))
            assert float(gradient.sum()) == pytest.approx(x.numel(), rel=1e-6)


def test_the_linearised_residual_counts_rounding_errors() -> None:
    """The truth is off by about a uniform error of each coefficient with steps below the signal."""
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) / 4
    jpeg = Jpeg(90, "4:4:4", noise=0)
    phi = jpeg.init(x, torch.zeros(1))
    y = jpeg(x.clamp(-1, 1), phi)
    operator, residual = jpeg.linearize(y, x.clamp(-1, 1), phi)
    ratio = residual.square().sum() / jpeg.estimate_sigma(y)[0] ** 2 / x.numel()
    assert float(ratio) == pytest.approx(1, rel=0.15)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)) / 10
    moved = jpeg.linearize(y, x.clamp(-1, 1) + direction, phi)[1]
    assert torch.allclose(residual - moved, operator.forward(direction), atol=1e-3)


def operator_of(factors: tuple[int, int], size: tuple[int, int]) -> WhitenedCoefficients:
    phi = Phi(
        tables=standard_tables(torch.tensor([12])).double(),
        factors=torch.tensor([factors]),
        orientation=torch.tensor([1]),
        noise=torch.tensor([1.0]).double(),
    )
    return WhitenedCoefficients(phi, torch.tensor([0.1]).double(), size)


@pytest.mark.parametrize("rho", [1e-3, 0.05, 2.0])
@pytest.mark.parametrize("size", [(32, 48), (41, 53), (24, 33), (7, 16), (5, 3)])
@pytest.mark.parametrize("factors", [*SUBSAMPLINGS.values(), (2, 1)])
def test_the_data_step_is_solved_exactly(
    factors: tuple[int, int], size: tuple[int, int], rho: float
) -> None:
    """x - z = A^T u with (A A^T + rho) u = y - D(z), whatever the blocks at the border lack."""
    operator, x = operator_of(factors, size), scene(size)[None].double()
    noise = torch.randn(operator.forward(x).shape, generator=torch.Generator().manual_seed(1))
    residual = operator.forward(x)
    residual = residual + noise * (residual != 0)  # zeros follow the coefficients
    weight = torch.full((1, 1, 1, 1), rho).double()
    change, left = data_step(operator, residual, 0 * x, weight, 1)
    assert torch.allclose(residual - operator.forward(change), left, atol=1e-9)
    assert torch.allclose(operator.adjoint(left), weight * change, atol=1e-9)


@every_subsampling
def test_the_preconditioner_is_the_inverse_of_the_normal_equations(subsampling: Any) -> None:
    size = (41, 53)
    operator, x = operator_of(SUBSAMPLINGS[subsampling], size), scene(size)[None].double()
    rho = torch.full((1, 1, 1, 1), 0.05).double()
    g = operator.adjoint(operator.forward(x)) + rho * x
    assert torch.allclose(operator.precondition(g, rho), x, atol=1e-8)


def test_images_of_many_kinds_are_solved_as_each_by_itself() -> None:
    y = torch.stack([scene((32, 48), seed) for seed in range(3)])
    phi = Phi(
        tables=standard_tables(torch.tensor([12, 50, 90])).float(),
        factors=torch.tensor([(2, 2), (1, 1), (2, 2)]),
        orientation=torch.tensor([1, 1, 2]),
        noise=torch.ones(3),
    )
    rho = torch.tensor([0.01, 0.1, 1.0])[:, None, None, None]
    z = 0.9 * y
    together = data_step(*Jpeg().linearize(y, z, phi), z, rho, 1)[0]
    for b in range(3):
        row = slice(b, b + 1)
        one = phi.replace(**{name: value[row] for name, value in phi.items()})
        alone = data_step(*Jpeg().linearize(y[row].clone(), z[row], one), z[row], rho[row], 1)[0]
        assert torch.allclose(together[row], alone, atol=1e-5)


# ---- What is read off files and pixels ----


@pytest.mark.parametrize("quality", [5, 12, 37, 75, 90])
@every_subsampling
def test_the_quality_is_found_in_the_pixels(quality: int, subsampling: Any) -> None:
    assert estimate_quality(pillow(scene((96, 96)), quality, subsampling)) == quality


@pytest.mark.parametrize("quality", [12, 50, 75])
@every_subsampling
def test_the_subsampling_is_found_in_the_pixels(quality: int, subsampling: Any) -> None:
    y = pillow(scene((96, 96)), quality, subsampling)[None]
    (row,) = Jpeg().describe(Jpeg().init(y, torch.zeros(1)))
    assert (row["quality"], row["subsampling"]) == (quality, subsampling)


def test_a_photo_that_never_was_a_jpeg_file_comes_out_near_the_best_quality() -> None:
    assert estimate_quality(scene((96, 96))) >= 98
    assert estimate_quality(torch.zeros(3, 16, 16)) == 100


@every_subsampling
def test_the_tables_of_a_file_are_used(subsampling: Any, tmp_path: Path) -> None:
    steps = [list(range(1, 65)), [7] * 64]
    (tmp_path / "a.jpg").write_bytes(encoded(scene(), 50, subsampling, qtables=steps))
    decoded = pillow(scene(), 20, subsampling)
    write_png(tmp_path / "b.png", decoded)
    photos = [read_image(tmp_path / name) for name in ("a.jpg", "b.png")]
    jpeg = Jpeg().for_images(photos, ["", ""])
    y = torch.stack([photos[0].pixels, decoded])
    first, second = jpeg.describe(jpeg.init(y, torch.zeros(2)))
    assert sorted(step for row in first["tables"][0] for step in row) == steps[0]
    assert first["tables"][1] == [[7] * 8] * 8
    assert first["quality"] is None
    assert first["subsampling"] == second["subsampling"] == subsampling
    assert second["quality"] == 20


def test_grey_files_have_one_table(tmp_path: Path) -> None:
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(
        tmp_path / "grey.jpg", quality=40
    )
    found = read_image(tmp_path / "grey.jpg").tables
    assert found is not None
    assert torch.equal(found.tables[0], standard_tables(torch.tensor(40))[0].float())
    assert found.factors == (1, 1)


def test_images_with_different_subsampling_share_a_batch() -> None:
    jpeg = Jpeg()
    y = torch.stack([pillow(scene((96, 96), s), 30, k) for s, k in enumerate(PILLOW)])
    phi = jpeg.init(y, torch.zeros(3))
    z = torch.stack([scene((96, 96), s) for s in range(3)])
    rho = torch.full((3, 1, 1, 1), 0.05)
    x = data_step(*jpeg.linearize(y, z, phi), z, rho, 3)[0]
    for b in range(3):
        one = jpeg.linearize(y[b : b + 1], z[b : b + 1], phi.select([b]))
        alone = data_step(*one, z[b : b + 1], rho[:1], 3)[0]
        assert torch.allclose(x[b], alone[0], atol=1e-4)


# ---- The noise before the compression ----


@pytest.mark.parametrize("quality", [75, 95])
@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_the_noise_before_the_compression_is_found_or_told(quality: int, noise: float) -> None:
    x = torch.nn.functional.avg_pool2d(scene((192, 192))[None], 9, 1, 4)  # no fine texture
    n = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    y = pillow((x + 2 * noise * n)[0], quality, "4:4:4")[None]
    (found,) = Jpeg().describe(Jpeg().init(y, torch.zeros(1)))
    assert found["noise"] == pytest.approx(noise, rel=0.3)
    (told,) = Jpeg(noise=noise).describe(Jpeg(noise=noise).init(y, torch.zeros(1)))
    assert told["noise"] == pytest.approx(noise, abs=1e-4)


def test_noise_takes_weight_from_the_finest_steps() -> None:
    """The weighed error of noise that was rounded is that of rounding and noise together."""
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) / 8
    noise = 0.02
    n = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    y = pillow((x + 2 * noise * n)[0], 95, "4:4:4")[None]
    jpeg = Jpeg(95, "4:4:4", noise=noise)
    phi = jpeg.init(y, torch.zeros(1))
    residual = jpeg.linearize(y, x, phi)[1]
    ratio = residual.square().sum() / jpeg.estimate_sigma(y)[0] ** 2 / x.numel()
    assert float(ratio) == pytest.approx(1, rel=0.2)


# ---- The error that rounding leaves ----


@pytest.mark.parametrize("scale", [3.0, 30.0])
def test_the_error_is_that_of_laplacian_coefficients(scale: float) -> None:
    k = torch.arange(8.0)
    b = 20 * scale / torch.hypot(k[:, None], k[None, :]).clamp_min(1) ** 1.5
    uniform = torch.rand(4000, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    c = -b * uniform.sign() * (1 - 2 * uniform.abs()).clamp_min(1e-6).log()
    tables = standard_tables(torch.tensor(20)).float()
    exact = Coefficients(c.view(50, 80, 8, 8), c.view(2, 50, 40, 8, 8))
    rounded = exact.quantize(tables)
    found = quantization_variance(rounded, tables)
    truth = (rounded.luma - exact.luma).square().mean((0, 1))
    assert torch.allclose(found[0].flatten()[1:].sum(), truth.flatten()[1:].sum(), rtol=0.15)


@pytest.mark.parametrize("quality", [10, 40, 80])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_sigma_is_near_the_rms_error_of_the_pixels(quality: int, subsampling: Any) -> None:
    x = scene((96, 96))[None]
    jpeg = Jpeg(quality, subsampling, noise=0)
    y = pillow(x[0], quality, subsampling)[None]
    error = y - x
    if subsampling == "4:2:0":  # what subsampling loses is no noise
        fine = jpeg.init(x, torch.zeros(1)).replace(tables=torch.full((1, 2, 8, 8), 1e-3))
        error = y - jpeg(x, fine)
    assert float(jpeg.estimate_sigma(y)) == pytest.approx(
        float(error.square().mean().sqrt()), rel=0.5
    )


# ---- Settings ----


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("quality", {"quality": 0}),
        ("quality", {"quality": 101}),
        ("draw_quality", {"draw_quality": (40, 10)}),
        ("subsampling", {"subsampling": "4:1:1"}),
    ],
)
def test_settings_out_of_range_are_refused(name: str, arguments: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Jpeg(**arguments)


def test_a_photo_that_shows_no_rounding_keeps_its_colours() -> None:
    """Such as one that was compressed as red, green and blue, or cropped off the grid of blocks."""
    grey = photo(0, 64, 64).mean(0, keepdim=True).expand(3, -1, -1)
    y = (grey + 0.05 * torch.tensor([1.0, 0.0, -1.0]).view(3, 1, 1))[None]
    y = ((y.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    (row,) = Jpeg().describe(Jpeg().init(y, torch.zeros(1)))
    assert row["quality"] == 100
    assert row["subsampling"] == "4:4:4"

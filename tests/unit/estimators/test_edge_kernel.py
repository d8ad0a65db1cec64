import pytest
import torch
from photos import photo
from repository import EXAMPLES
from shaken import blurred, corner, discs, drawn
from torch import Tensor

from d2ir_pl.degradations import Blur, GaussianBlur
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.estimators.edge_kernel import _periodic, edge_kernel
from d2ir_pl.estimators.kernel_search import spectral_misfit
from d2ir_pl.estimators.spectrum import gaussian_covariance
from d2ir_pl.image_io import read_image
from d2ir_pl.operators.kernels import kernel_centroid
from d2ir_pl.results.metrics import kernel_similarity


def assert_same_start(one: Blur, other: Blur, y: Tensor, sigma: Tensor) -> None:
    """The kernels are the same, but for what a Gaussian has beyond three widths."""
    a, b = (blur.kernel(blur.init(y, sigma)) for blur in (one, other))
    assert float((a - b).abs().max()) < 0.02 * float(b.max())


def test_the_path_of_a_shake_is_found_from_edges() -> None:
    found = edge_kernel(blurred(discs(), corner(), 0.01)[0], 21)
    assert found is not None
    # Eight images of discs give 0.83 to 0.97, this one 0.974; the spectrum alone stays below 0.8.
    assert float(kernel_similarity(found, corner())) > 0.92


def test_a_kernel_is_on_the_simplex_and_centred() -> None:
    found = edge_kernel(blurred(photo(0, 120, 140), corner(), 0.02)[0], 21)
    assert found is not None
    assert found.shape == (21, 21)
    assert float(found.min()) >= 0
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)
    # By as much as it is off the middle, the restored picture lies beside the photo.
    assert float(kernel_centroid(found[None]).abs().max()) <= 0.03
    assert int(found.eq(0).sum()) > 200


def test_brightness_and_contrast_do_not_matter() -> None:
    y = blurred(discs(), corner(), 0.01)[0]
    bright, dim = edge_kernel(y, 21), edge_kernel(0.3 * y - 0.5, 21)
    assert bright is not None
    assert dim is not None
    assert torch.allclose(bright, dim, atol=1e-3)


@pytest.mark.parametrize("y", [torch.rand(3, 62, 200), torch.full((3, 100, 100), 0.3)])
def test_small_and_flat_images_say_nothing(y: Tensor) -> None:
    assert edge_kernel(y, 21) is None
    blur = Blur(21)
    sigma = torch.tensor([0.02])
    spectrum = Blur(21, start="spectrum")
    assert_same_start(blur, spectrum, y[None], sigma)


def test_a_free_kernel_starts_at_the_edges_or_the_spectrum_whichever_explains_the_photo() -> None:
    """A shake is found from edges; a Gaussian blur under noise is left to the spectrum."""
    sigma = torch.tensor([0.02])
    shaken = blurred(discs(), corner(), 0.01)
    free, spectrum = Blur(21), Blur(21, start="spectrum")
    kernels = [d.kernel(d.init(shaken, sigma)) for d in (free, spectrum)]
    assert float(kernel_similarity(kernels[0][0], corner())) > 0.9
    assert float(kernel_similarity(kernels[1][0], corner())) < 0.8

    gaussian = GaussianBlur(21, width=2.0)
    image = photo(1, 148, 148)[None]
    y = gaussian(image, gaussian.init(image, sigma))
    y = y + 0.1 * normal_like(y, [image_generator(0, "n")])
    assert_same_start(free, spectrum, y, torch.tensor([0.1]))


def test_the_start_of_an_image_does_not_depend_on_the_batch() -> None:
    ys = torch.cat([blurred(photo(i, 64, 64), corner(), 0.02) for i in range(2)])
    sigma = torch.full((2,), 0.02)
    together = Blur(11).init(ys, sigma)["logits"]
    for b in range(2):
        alone = Blur(11).init(ys[b : b + 1], sigma[b : b + 1])["logits"][0]
        assert torch.allclose(alone.softmax(-1), together[b].softmax(-1), atol=1e-5)


def test_the_misfit_is_least_for_the_kernel_that_made_the_spectrum() -> None:
    g = torch.Generator().manual_seed(0)
    f = torch.fft.fftfreq(256)
    power_law = (f[:, None] ** 2 + f[None] ** 2).clamp_min(1e-5) ** -0.6
    image = torch.fft.ifft2(torch.fft.fft2(torch.randn(1, 256, 256, generator=g)) * power_law).real
    image = 0.3 * (image / image.std()).expand(3, -1, -1)
    y = blurred(image, corner(), 0.01)
    others = [
        corner().T,
        corner().flip(1),
        torch.roll(corner(), 2, 0),
        torch.full((21, 21), 1 / 441),
    ]
    misfit = spectral_misfit(y, torch.tensor([0.01]), torch.stack([corner(), *others])[None])[0]
    assert int(misfit.argmin()) in (0, 3)  # a shift cannot be seen
    assert float(misfit[0]) == pytest.approx(float(misfit[3]), rel=1e-4)
    assert float(misfit[0]) < 0.9 * float(misfit[[1, 2, 4]].min())


def test_a_margin_leads_back_to_the_beginning() -> None:
    x = torch.arange(12.0)[None].expand(10, -1) + torch.arange(10.0)[:, None]
    closed = _periodic(x, 6)
    assert closed.shape == (16, 18)
    assert torch.equal(closed[:10, :12], x)
    steps = (torch.roll(closed, -1, 1) - closed).abs()
    assert float(steps.max()) < 4  # no jump of 11 from the end to the beginning
    assert torch.allclose(closed[:, -1], closed[:, 0], atol=0.1)


def test_a_shake_over_two_pixels_is_found_from_edges() -> None:
    """Its spectrum is little wider than that of a sharp photo."""
    path = torch.zeros(21, 21)
    path[10, 10:12] = 1
    kernel = drawn(path, 0.5)
    y, sigma = blurred(discs(), kernel, 0.02), torch.tensor([0.02])
    width = torch.linalg.eigvalsh(gaussian_covariance(y, sigma, isotropic=False))[0, 1].sqrt()
    assert 0.65 < float(width) < 0.95  # eight images of discs give 0.74 to 0.83
    free, spectrum = Blur(21), Blur(21, start="spectrum")
    found, gaussian = (
        float(kernel_similarity(d.kernel(d.init(y, sigma))[0], kernel)) for d in (free, spectrum)
    )
    assert found > gaussian + 0.01  # by 0.04 here; eight images of discs give 0 to 0.04


def test_a_sharp_photo_has_no_shake() -> None:
    """Whatever its edges look like, nothing in its spectrum is missing."""
    examples = EXAMPLES / "clean"
    photos = torch.stack(
        [read_image(examples / f"{n}.png").pixels[:, :90, :90] for n in ("coffee", "chelsea")]
    )
    sigma = torch.full((2,), 0.01)
    spectrum = Blur(11, start="spectrum")
    assert_same_start(Blur(11), spectrum, photos, sigma)

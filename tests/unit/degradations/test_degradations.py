"""What every degradation promises, whatever it does to an image."""

import json

import pytest
import torch
from degradation_examples import CLEAN, every_degradation, every_linear_one, scene

from d2ir_pl.degradations import (
    Compose,
    Degradation,
    GaussianBlur,
    Jpeg,
    LinearDegradation,
)
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.operators.linear import Jacobian, size_of


@every_degradation
def test_sizes_fit_together(degradation: Degradation) -> None:
    clean, x, phi, y = scene(degradation)
    observed = size_of(y)
    assert degradation.frame.output_size(observed) == CLEAN
    assert degradation.frame.image_size(observed) == size_of(x)
    assert degradation.lift(y, phi).shape == x.shape
    assert torch.equal(degradation.frame.crop(x), clean)


@every_degradation
def test_images_of_a_batch_are_independent(degradation: Degradation) -> None:
    _, x, phi, y = scene(degradation)
    sigma = torch.full((3,), 0.02, dtype=y.dtype)
    start = degradation.init(y, sigma)
    for b in range(3):
        one = degradation(x[b : b + 1], phi.select([b]))
        assert torch.allclose(one[0], y[b], atol=1e-10)
        alone = degradation.init(y[b : b + 1], sigma[b : b + 1])
        for name, value in alone.items():
            assert torch.allclose(value[0], start[name][b], atol=1e-6), name


@every_degradation
def test_change_is_how_far_each_image_has_moved(degradation: Degradation) -> None:
    _, _, phi, _ = scene(degradation)
    free = degradation.free(phi)
    if not free:
        pytest.skip("nothing is estimated")
    assert torch.equal(degradation.change(phi, phi), torch.zeros(3, dtype=torch.float64))
    # A step for the second image, and one twice as long for the third.
    length = torch.tensor([0.0, 1e-4, 2e-4], dtype=torch.float64)
    moved = phi.replace()
    for name in free:
        direction = torch.randn_like(phi[name])
        direction[2] = direction[1]
        moved[name] = phi[name] + length.view(3, *[1] * (phi[name].ndim - 1)) * direction
    change = degradation.change(moved, phi)
    assert change[0] == 0
    assert (change[1:] > 0).all()
    assert (change < 0.01).all()
    for b in range(3):
        alone = degradation.change(moved.select([b]), phi.select([b]))
        assert torch.allclose(alone[0], change[b], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("degradation", [GaussianBlur(21), Compose([GaussianBlur(21), Jpeg(80)])])
def test_change_of_a_width_does_not_depend_on_the_width(degradation: Degradation) -> None:
    name = "log_width" if isinstance(degradation, GaussianBlur) else "0.log_width"
    _, _, phi, _ = scene(degradation, 2)
    width = torch.tensor([[1.5], [2.5]], dtype=torch.float64).log().expand_as(phi[name])
    then, now = (phi.replace(**{name: width + step}) for step in (0.0, 0.01))
    # Of a Gaussian in two dimensions that is one percent wider.
    assert degradation.change(now, then) == pytest.approx(0.01 * 2**0.5, rel=0.05)


@every_degradation
def test_the_truth_leaves_no_residual(degradation: Degradation) -> None:
    _, x, phi, y = scene(degradation)
    assert float(degradation.residual(y, degradation(x, phi), phi).abs().max()) == 0
    share = degradation.share(phi)
    assert share.shape == (3,)
    assert bool(((share > 0) & (share <= 1)).all())


@every_degradation
def test_the_linearisation_is_the_derivative(degradation: Degradation) -> None:
    if isinstance(degradation, Jpeg):
        pytest.skip("rounding has no useful derivative: see test_jpeg.py for what stands for it")
    _, x, phi, y = scene(degradation)
    operator, residual = degradation.linearize(y + 0.1, x, phi)
    assert torch.allclose(residual, degradation.residual(y + 0.1, y, phi), atol=1e-9)
    direction = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    small = 1e-6
    change = (degradation(x + small * direction, phi) - y) / small
    assert torch.allclose(operator.forward(direction), change, atol=1e-4)


@every_degradation
def test_the_adjoint_of_the_linearisation_is_its_transpose(degradation: Degradation) -> None:
    _, x, phi, y = scene(degradation)
    operator, _ = degradation.linearize(y, x, phi)
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(x.shape, dtype=x.dtype, generator=generator)
    forward = operator.forward(a)
    b = torch.randn(forward.shape, dtype=y.dtype, generator=generator)
    assert float((forward * b).sum()) == pytest.approx(
        float((a * operator.adjoint(b)).sum()), rel=1e-9
    )


@every_degradation
def test_the_preconditioner_is_symmetric_and_positive(degradation: Degradation) -> None:
    _, x, phi, y = scene(degradation)
    operator, _ = degradation.linearize(y, x, phi)
    rho = torch.full((3, 1, 1, 1), 0.1, dtype=x.dtype)
    generator = torch.Generator().manual_seed(2)
    a, b = (torch.randn(x.shape, dtype=x.dtype, generator=generator) for _ in range(2))
    forth, back = (
        (a * operator.precondition(b, rho)).sum(),
        (b * operator.precondition(a, rho)).sum(),
    )
    assert float(forth) == pytest.approx(float(back), rel=1e-9)
    assert bool(((a * operator.precondition(a, rho)).sum((1, 2, 3)) > 0).all())


@every_linear_one
def test_linear_ones_are_linear_but_for_the_offset(degradation: LinearDegradation) -> None:
    _, x, phi, y = scene(degradation)
    black = degradation(torch.zeros_like(x), phi)
    assert torch.allclose(degradation(2 * x, phi) - black, 2 * (y - black), atol=1e-9)


@every_linear_one
def test_the_written_out_adjoint_is_that_of_automatic_differentiation(
    degradation: LinearDegradation,
) -> None:
    _, x, phi, y = scene(degradation)
    automatic = Jacobian(lambda image: degradation(image, phi), x)
    operator, _ = degradation.linearize(y, x, phi)
    assert torch.allclose(operator.adjoint(y), automatic.adjoint(y), atol=1e-9)


@every_degradation
def test_free_parameters_have_a_gradient(degradation: Degradation) -> None:
    _, x, phi, y = scene(degradation)
    free = phi.leaves(degradation.free(phi))
    if not free:
        return
    target = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(3))
    loss = (degradation(x, phi.replace(**free)) * target).sum()
    for gradient in torch.autograd.grad(loss, list(free.values())):
        assert bool(gradient.isfinite().all())
        assert float(gradient.abs().max()) > 0


@every_degradation
def test_descriptions_are_json_and_pictures_are_pictures(degradation: Degradation) -> None:
    _, _, phi, _ = scene(degradation)
    described = degradation.describe(phi)
    assert len(json.loads(json.dumps(described))) == 3
    picture = degradation.picture(phi)
    if picture is not None:
        assert picture.ndim == 3
        assert len(picture) == 3
        assert 0 <= float(picture.min()) <= float(picture.max()) <= 1


@every_degradation
def test_what_is_drawn_depends_on_the_generator_alone(degradation: Degradation) -> None:
    like = torch.zeros(2, 3, *CLEAN)
    first, second = (
        degradation.draw([image_generator(0, "a"), image_generator(0, "b")], like) for _ in range(2)
    )
    for name, value in first.items():
        assert torch.equal(value, second[name])
        assert len(value) == 2


@every_degradation
def test_the_start_is_its_own_representative_and_at_the_anchor(degradation: Degradation) -> None:
    _, _, _, y = scene(degradation, dtype=torch.float32)
    start = degradation.init(y, torch.full((3,), 0.02))
    again = degradation.canonicalize(start)
    for name, value in start.items():
        assert torch.allclose(again[name].double(), value.double(), atol=1e-5), name
    assert float(degradation.anchor(start, start).abs().max()) < 1e-6

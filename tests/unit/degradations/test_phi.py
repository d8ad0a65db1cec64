import torch

from d2ir_pl.degradations import Phi


def phi_of(count: int) -> Phi:
    return Phi(width=torch.arange(2.0 * count).view(count, 2), angle=torch.arange(float(count)))


def test_the_parts_of_a_batch_join_to_the_batch() -> None:
    phi = phi_of(4)
    parts = [phi.select([0]), phi.select(slice(1, 3)), phi.select(torch.tensor([3]))]
    assert [part.count for part in parts] == [1, 2, 1]
    joined = Phi.join(parts)
    assert joined.keys() == phi.keys()
    assert all(torch.equal(joined[name], phi[name]) for name in phi)


def test_repeated_parameters_of_an_image_lie_side_by_side() -> None:
    assert phi_of(2).repeat(3)["angle"].tolist() == [0, 0, 0, 1, 1, 1]


def test_replacing_leaves_the_original_as_it_was() -> None:
    phi = phi_of(2)
    other = phi.replace(angle=torch.ones(2))
    assert isinstance(other, Phi)
    assert other["width"] is phi["width"]
    assert phi["angle"].tolist() == [0, 1]
    assert other["angle"].tolist() == [1, 1]


def test_leaves_are_copies_that_take_gradients_until_they_are_detached() -> None:
    phi = phi_of(2)
    free = phi.leaves(["angle"])
    assert list(free) == ["angle"]
    assert free["angle"].is_leaf
    assert free["angle"].requires_grad
    with torch.no_grad():
        free["angle"].add_(1)
    assert phi["angle"].tolist() == [0, 1]
    assert not phi.replace(**free).detach()["angle"].requires_grad


def test_a_phi_changes_its_dtype_as_a_whole() -> None:
    assert {value.dtype for value in phi_of(2).to(torch.float64).values()} == {torch.float64}


def test_parameters_of_no_values_still_tell_the_number_of_images() -> None:
    assert Phi(none=torch.empty(3, 0)).count == 3

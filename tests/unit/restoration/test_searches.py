"""Whether searches that ask together are answered as if each asked alone."""

from dataclasses import replace

import pytest
import torch
from gaussian_prior import GaussianPrior
from shaken import blurred, corner, discs
from torch import Tensor

from d2ir_pl.degradations import Blur
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.operators.kernels import padded
from d2ir_pl.operators.noise_shape import NoiseShape
from d2ir_pl.restoration import Problem, searches
from d2ir_pl.restoration.searches import (
    Fit,
    Search,
    Walk,
    Walked,
    answered,
    fitted,
    side_by_side,
    walked,
)

FAMILY = Blur(21)


def photo(seed: int, size: int = 84) -> Problem:
    y = blurred(discs(size, seed), corner(), 0.01)
    return Problem.of(y, FAMILY, [image_generator(0, str(seed))], torch.tensor([0.01]))


def alike(a: Walked, b: Walked) -> bool:
    one, other = (torch.tensor([own.unlikely, own.left]) for own in (a, b))
    return torch.allclose(a.x, b.x, atol=1e-4) and torch.allclose(one, other, atol=1e-3)


def hidden(problem: Problem) -> Problem:
    observed = torch.ones_like(problem.y[:, :1])
    observed[..., :20] = 0
    return replace(problem, observed=observed)


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    """How many questions are answered together from now on, by the function of a name."""
    asked: list[int] = []
    answer = getattr(searches, name)

    def counting(own: list[Walk | Fit], *rest: object) -> object:
        asked.append(len(own))
        return answer(own, *rest)

    monkeypatch.setattr(searches, name, counting)
    return asked


def test_walks_of_several_photos_are_those_of_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With kernels of several sides, errors of their own, and what only some of them have."""
    one, two, other = photo(1), photo(2), photo(3, 90)
    walks = [(one, 15, 0.02), (two, 13, 0.01), (hidden(one), 15, 0.01), (other, 13, 0.02)]
    walks += [(hidden(two), 17, 0.01), (one, 19, 0.02)]
    asked = counted(monkeypatch, "_walk")
    prior = GaussianPrior()

    def searches_of() -> list[Search[Walked]]:
        return [walked(problem, corner(side), error) for problem, side, error in walks]

    together = answered(side_by_side(searches_of()), prior)
    assert sorted(asked) == [1, 1, 2, 2]
    for search, found in zip(searches_of(), together, strict=True):
        assert alike(answered(search, prior), found)


def test_every_kernel_of_a_walk_gets_the_same_noise() -> None:
    one = photo(1)
    twice = [walked(one, corner(15), 0.02) for _ in range(2)]
    first, second = answered(side_by_side(twice), GaussianPrior())
    assert torch.allclose(first.x, second.x, atol=1e-5)
    assert first.x.shape == second.x.shape == one.y.shape
    again = answered(walked(one, corner(15), 0.02), GaussianPrior())
    assert torch.allclose(first.x, again.x, atol=1e-5)


def test_what_is_left_is_that_of_observed_pixels() -> None:
    """A sharp kernel leaves the noise alone, in units of [0, 1], wherever half is hidden."""
    sharp = padded(torch.ones(1, 1), 3)
    one = photo(1)
    whole, part = (
        answered(walked(problem, sharp, 0.2), GaussianPrior()).left
        for problem in (one, hidden(one))
    )
    assert 0.005 < whole < 0.2
    assert part == pytest.approx(whole, rel=0.3)


def test_noise_that_is_not_white_stays_that_of_its_photo() -> None:
    """Beside a photo whose noise is white."""
    falling = torch.linspace(2, 0.5, 17).expand(1, 3, -1)
    asked = [replace(photo(1), shape=NoiseShape(falling / falling.mean())), photo(2)]

    def each(problems: list[Problem]) -> list[Walked]:
        found = [walked(problem, corner(15), 0.02) for problem in problems]
        return answered(side_by_side(found), GaussianPrior())

    for problem, found in zip(asked, each(asked), strict=True):
        assert alike(each([problem])[0], found)


def test_fits_of_several_photos_are_those_of_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    grey = [(blurred(discs(84, seed), corner(), 0.01)[0].mean(0) + 1) / 2 for seed in range(3)]
    asked = counted(monkeypatch, "_fit")
    fits = [(grey[0], grey[1], 15, 0.5), (grey[1], grey[2], 21, 0.0), (grey[2], grey[0], 41, 1.0)]

    def searches_of() -> list[Search[Tensor]]:
        return [fitted(x, y, padded(corner(15), side), own) for x, y, side, own in fits]

    together = answered(side_by_side(searches_of()), GaussianPrior())
    assert sorted(asked) == [1, 2]
    for search, found in zip(searches_of(), together, strict=True):
        assert torch.allclose(answered(search, GaussianPrior()), found, atol=2e-4)


def test_searches_of_any_length_go_on_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each gets its own answers, and one that asks for nothing waits for none."""
    rounds = []

    def answers(asked: list[str], _: object) -> list[str]:
        rounds.append(asked)
        return [question.upper() for question in asked]

    def spelled(word: str) -> Search[str]:
        told = ""
        for letter in word:
            (more,) = yield [letter]  # type: ignore[list-item]
            told += more
        return told

    def pairs(word: str) -> Search[str]:
        both = yield from side_by_side([spelled(word), spelled(word[::-1])])
        return "".join(both)

    monkeypatch.setattr(searches, "_answers", answers)
    words = [spelled("ab"), spelled(""), pairs("cde"), spelled("f")]
    assert answered(side_by_side(words), GaussianPrior()) == ["AB", "", "CDEEDC", "F"]
    assert rounds == [["a", "c", "e", "f"], ["b", "d", "d"], ["e", "c"]]


@pytest.mark.parametrize(("room", "parts"), [(2, [2, 2, 1]), (0.5, [1, 1, 1, 1, 1])])
def test_no_more_is_asked_at_once_than_fits(
    monkeypatch: pytest.MonkeyPatch, room: float, parts: list[int]
) -> None:
    one = photo(1)
    asked = counted(monkeypatch, "_walk")
    monkeypatch.setattr(searches, "AT_ONCE", room * one.y[0, 0].numel())
    many = [walked(one, corner(15), 0.02) for _ in range(5)]
    found = answered(side_by_side(many), GaussianPrior())
    assert asked == parts
    assert [own.x.shape for own in found] == [one.y.shape] * 5

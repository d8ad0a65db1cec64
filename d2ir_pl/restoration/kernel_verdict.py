"""What a contest between kernels has found of a photo: which one wins, and how sure it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from d2ir_pl.degradations.blur_guesses import Guess
from d2ir_pl.estimators.kernel_shapes import likeness
from d2ir_pl.restoration.result import KernelEvidence
from d2ir_pl.restoration.searches import WALK

# Settings were chosen on photographs with synthetic shakes (docs/experiments.md).
RIVAL = 0.1
"""Lead below which the rounds decide between two kernels of edges."""
SAME_SHAPE = 0.9
"""Likeness above which two kernels are taken for one in what is said of how sure one is."""
TEMPERATURE = 0.1
"""Difference of scores that makes a guess e times less likely."""
UNBELIEVED = 3
"""Kernels of edges that are refined where a Gaussian is no likelier."""
UNSURE = 0.45
"""Weight of a guess of another shape beside the winner's from which its image counts as well."""


@dataclass(frozen=True)
class Verdict:
    """What a contest between kernels has found of one photo.

    Attributes:
        guesses: kernels that took part.
        images: how unlikely the image is that each leads to.
        against: what speaks against each before one looks at its image.
    """

    guesses: list[Guess]
    images: list[float]
    against: list[float]

    @property
    def scores(self) -> list[float]:
        """How unlikely each guess is in all; the least one wins."""
        return [image + more for image, more in zip(self.images, self.against, strict=True)]

    @property
    def order(self) -> list[int]:
        """The places of the guesses, best first."""
        return sorted(range(len(self.guesses)), key=self.scores.__getitem__)

    @property
    def winner(self) -> Guess:
        """The kernel that leads to the best image."""
        return self.guesses[self.order[0]]

    @property
    def contenders(self) -> list[Guess]:
        """The winner, and the next kernel of edges where both are of edges and about as likely."""
        if self.winner.source != "edges":
            return [self.winner]
        least = min(self.scores)
        near = [i for i in self.order if self.scores[i] < least + RIVAL]
        return [self.guesses[i] for i in near if self.guesses[i].source == "edges"][:2]

    @property
    def unbelieved(self) -> list[Guess]:
        """Kernels of edges of other shapes than the winner's, those with the best images first."""
        edges = [i for i in self._others() if self.guesses[i].source == "edges"]
        return [self.guesses[i] for i in sorted(edges, key=self.images.__getitem__)][:UNBELIEVED]

    @property
    def nfe(self) -> int:
        """Number of network evaluations that the contest took."""
        return WALK.steps * len(self.guesses) if len(self.guesses) > 1 else 0

    def evidence(self) -> KernelEvidence:
        """How sure the winner's shape is, as probabilities exp(-score / `TEMPERATURE`) have it."""
        least, others = min(self.scores), [self.scores[i] for i in self._others()]
        odds = math.fsum(math.exp((least - score) / TEMPERATURE) for score in others)
        lead = others[0] - least if others else None
        return KernelEvidence(self.winner.source, len(self.guesses), lead, 1 / (1 + odds))

    @property
    def doubt(self) -> float:
        """Probability of the shapes that the rounds do not try.

        Of a Gaussian it is that by the images alone. Kernels of edges that do not agree are no good
        bet, but what they do not agree on is the blur of that photo, which is then no Gaussian.
        """
        tried = {id(guess) for guess in self.contenders}
        scores = self.images if self.winner.source == "gaussian" else self.scores
        lead = [scores[i] - scores[self.order[0]] for i in range(len(scores))]
        others = [lead[i] for i in self._others() if id(self.guesses[i]) not in tried]
        return 1 - 1 / (1 + math.fsum(math.exp(-by / TEMPERATURE) for by in others))

    def rival(self) -> tuple[Guess, float] | None:
        """The best guess of another shape, and its weight beside the winner; None if it is small.

        A guess that is one of `contenders` has lost against the winner in the rounds.
        """
        tried = self.contenders
        for i in self._others():
            weight = 1 / (1 + math.exp((self.scores[i] - min(self.scores)) / TEMPERATURE))
            if all(self.guesses[i] is not guess for guess in tried):
                return (self.guesses[i], weight) if weight >= UNSURE else None
        return None

    def _others(self) -> list[int]:
        """The places of the guesses of other shapes than the winner's, best first."""
        winner, kernel = self.order[0], self.winner.kernel
        return [
            i
            for i in self.order
            if i != winner and likeness(self.guesses[i].kernel, kernel) < SAME_SHAPE
        ]

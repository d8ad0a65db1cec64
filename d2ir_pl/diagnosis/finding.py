"""What a photo shows of one kind of damage."""

from __future__ import annotations

from dataclasses import dataclass, field

from d2ir_pl.restoration.configs import setup_settings
from d2ir_pl.restoration.construction import Settings


@dataclass(frozen=True)
class Finding:
    """What a photo shows of one kind of damage.

    Attributes:
        sentence: the measured value, and what it is compared with.
        config: the shipped config for photos with this damage alone; empty where there is none.
        known: arguments of its degradation that the photo shows.
        confidence: probability, in [0, 1], that the finding is right.
    """

    sentence: str
    config: str = ""
    known: Settings = field(default_factory=dict)
    confidence: float = 1.0

    @property
    def override(self) -> Settings:
        """Settings that replace those of the degradation in the config."""
        return {"degradation": {"init_args": self.known}}

    @property
    def degradation(self) -> Settings:
        """The settings of the degradation."""
        degradation: Settings = setup_settings(self.config, self.override)["degradation"]
        return degradation

    @property
    def told(self) -> str:
        """The sentence, and in words how sure it is."""
        if self.confidence > SURE:
            return self.sentence
        word = "likely" if self.confidence > LIKELY else "perhaps"
        return f"{self.sentence} ({word}; confidence {self.confidence:.0%})"


SURE, LIKELY = 0.97, 0.6
"""Confidences above which a finding is told without one, and above which it is called likely."""

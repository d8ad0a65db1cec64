"""Sentences for the owner of a photo about how its parameters were taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from d2ir_pl.degradations.blur import DECISIVE


def remarks(description: Mapping[str, Any]) -> list[str]:
    """What there is to say of parameters that may have been meant otherwise.

    Args:
        description: parameters of one image, as `Degradation.describe` gives them.
    """
    parts = description.get("parts", [description])
    told = [_convention(p["mirror_evidence"]) for p in parts if "mirror_evidence" in p]
    return [sentence for sentence in told if sentence]


def _convention(evidence: float) -> str:
    """A sentence about how a kernel was taken, unless it is as its owner may expect."""
    if evidence > DECISIVE:
        return (
            "the kernel explains the photo as a point spread function and not as a correlation, so "
            "it was mirrored: with convention correlation it is left as it is"
        )
    if evidence > -DECISIVE:
        return (
            "the photo does not tell whether the kernel is a correlation, as it was taken, or a "
            "point spread function: with convention psf it is mirrored"
        )
    return ""

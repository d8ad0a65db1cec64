"""The parts of a restoration and the reasons why it ends: what methods report and records keep."""

from __future__ import annotations

from typing import Literal, get_args

Stage = Literal["estimation", "latent"]
"""A part of a method: `estimation` walks the reverse diffusion, `latent` optimises x_T."""

STAGES: tuple[Stage, ...] = get_args(Stage)

StoppedBy = Literal["steps", "iterations", "discrepancy"]
"""Why an image is finished: the walk took its last step, the optimisation its last iteration, or
the image explains the photo to its noise."""

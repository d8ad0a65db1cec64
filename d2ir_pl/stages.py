"""The parts of a restoration and the reasons why it ends: what methods report and records keep."""

from __future__ import annotations

from typing import Literal, get_args

Stage = Literal["estimation", "latent"]
"""A part of a method. `estimation` walks the reverse diffusion, and `latent` optimises x_T."""

STAGES: tuple[Stage, ...] = get_args(Stage)

StoppedBy = Literal["steps", "iterations", "discrepancy", "opinion"]
"""The reason why an image is finished. The walk took its last step (`steps`), the optimisation took
its last iteration (`iterations`), the image explains the photo to its noise (`discrepancy`), or a
second opinion has left the photo as it is (`opinion`)."""

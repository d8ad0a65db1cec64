"""`propose`: say what happened to a photo, as a config that restores it."""

from __future__ import annotations

from pathlib import Path

import yaml

from d2ir_pl.commands.plain import PlainParser
from d2ir_pl.console import plain
from d2ir_pl.diagnosis.observed import observed_pixels
from d2ir_pl.diagnosis.proposal import propose as propose_for
from d2ir_pl.image_io import read_image


def propose_parser() -> PlainParser:
    """The options of the command."""
    parser = PlainParser(
        "propose",
        description="Look at a photo for blur, darkness, JPEG and noise, and print a config that "
        "restores it; 'd2ir predict --config auto' does so for each photo of a folder.",
    )
    parser.add_argument("photo", type=Path, help="an image file")
    return parser


def propose(arguments: list[str]) -> int:
    """Print a config for a photo, with the reasons as comments."""
    photo = read_image(propose_parser().parse_args(arguments).photo)
    seen = observed_pixels(photo, photo.pixels)
    proposal = propose_for(photo.pixels, photo.tables, None, seen.mask, photo.codec, photo.step)
    for reason in (*proposal.reasons, *seen.findings):
        print(plain(f"# {reason}"))
    print(yaml.safe_dump(proposal.settings(), sort_keys=False), end="")
    return 0

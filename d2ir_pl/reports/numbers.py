"""What the page says of a photo in numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from d2ir_pl.results.record import Record


def numbers(record: Record) -> list[tuple[str, object]]:
    """Names and values of what is known about a photo, without those that it does not have."""
    found: list[tuple[str, object]] = [
        ("size", f"{record.width}x{record.height}"),
        ("noise", formatted(record.sigma_y, ".4f", " of the range")),
        ("residual / noise", formatted(record.residual_over_sigma, ".2f")),
        ("PSNR", formatted(record.psnr, ".2f", " dB")),
        ("before", formatted(record.input_psnr, ".2f", " dB")),
        ("SSIM", formatted(record.ssim, ".4f")),
        ("reblur PSNR", formatted(record.reblur_psnr, ".2f", " dB")),
        ("sharpness", _before(record.sharpness, record.input_sharpness, ".3f")),
        ("BRISQUE", _before(record.brisque, record.input_brisque, ".1f")),
        ("lights brighter than white", _lights(record)),
        ("U-Net evaluations", record.nfe),
        ("samples", record.num_samples if record.num_samples > 1 else None),
        ("mean width of intervals", formatted(record.interval_width, ".3f", " of the range")),
        ("tile", formatted(record.tile, "d", " pixels")),
        ("stopped by", record.stopped_by),
        ("precision", record.precision),
        ("model", record.prior),
        ("d2ir_pl", record.version),
        ("seed", record.seed),
        ("seconds", record.seconds),
    ]
    return [(name, value) for name, value in found if value not in (None, "")]


def sizes(record: Record) -> list[tuple[str, str, str]]:
    """What is known of details of each size."""
    rows = zip_longest(record.filled_in_by_size, record.residual_by_size)
    return [
        (f"{2 ** (k + 1)} to {2 ** (k + 2)} px", formatted(share, ".0%"), formatted(left, ".2f"))
        for k, (share, left) in enumerate(rows)
    ]


def files(record: Record) -> list[tuple[str, str]]:
    """Names of files, and their SHA-256 digests."""
    found = [
        ("photo", record.input_sha256),
        ("restored", record.output_sha256),
        (f"model {record.prior}", ", ".join(record.prior_sha256)),
    ]
    return [(name, digest) for name, digest in found if digest]


def formatted(value: float | None, form: str, unit: str = "") -> str:
    """A number as it is written; empty if there is none."""
    return "" if value is None else format(value, form) + unit


def _lights(record: Record) -> str:
    """How many lights brighter than white were found, and what they hide; empty if none were."""
    count, hidden, left = (record.lights.get(key, 0.0) for key in ("count", "hidden", "left"))
    if not (hidden or left):
        return ""
    more = f", {left:.0f} more left as they are" if left else ""
    return f"{count:.0f}, which hide {hidden:.1%} of the photo{more}"


def _before(value: float | None, photo: float | None, form: str) -> str:
    """A score of the restored photo, and that of the photo before."""
    if value is None:
        return ""
    return formatted(value, form) + (", before " + formatted(photo, form) if photo else "")


def readable(phi: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and numbers of a degradation; tables such as a kernel are left to its picture."""
    for name, value in phi.items():
        if isinstance(value, dict):
            if "dtype" not in value:  # as a large table has
                yield from readable(value, f"{prefix}{name}.")
        elif name == "parts" and isinstance(value, list):
            for i, part in enumerate(value):
                yield from readable(part if isinstance(part, dict) else {}, f"{i + 1}. ")
        elif not isinstance(value, list):
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            yield prefix + name.replace("_", " "), text
        elif len(value) <= 4 and not any(isinstance(v, list | dict) for v in value):
            yield prefix + name.replace("_", " "), ", ".join(map(str, value))


def last_change(changes: Sequence[float | None]) -> list[tuple[str, str]]:
    """Name and value of how far the degradation still moved in the last step."""
    last = changes[-1] if changes else None
    return [] if last is None else [("change in the last step", f"{100 * last:.2g}%")]

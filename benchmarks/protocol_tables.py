"""The tables of the field's protocols: what was found, what papers report, and what there is."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from benchmarks import tables
from benchmarks.protocols import PROTOCOLS, Protocol
from benchmarks.reported import Reported
from benchmarks.scores import Row, fid


def found(
    title: str, told: bool, rows: Mapping[str, Row], pictures: Sequence[Tensor], clean: Tensor
) -> dict[str, str]:
    """The line of a method in the table of a protocol, by its titles.

    Args:
        title: title of the method.
        told: whether it was told everything about the degradation.
        rows: the scores by image.
        pictures: the restored images `(3, H, W)` in [-1, 1].
        clean: `(B, 3, H, W)` in [-1, 1], what they should have been.
    """
    values = list(rows.values())
    worst = min(rows, key=lambda image: gain(rows[image]))
    distance = fid(torch.stack(list(pictures)), clean)
    return {
        "method": title,
        "told the degradation": "yes" if told else "no",
        "photos": str(len(rows)),
        "input dB": _mean(values, "input", ".2f"),
        "PSNR dB": _mean(values, "psnr", ".2f"),
        "best shift": _mean(values, "aligned", ".2f"),
        "worst photo": f"{worst} {gain(rows[worst]):+.2f}",
        "SSIM": _mean(values, "ssim", ".3f"),
        "LPIPS": _mean(values, "lpips", ".3f"),
        "FID": "" if distance is None else f"{distance:.1f}",
        "kernel RMSE": "" if told else _mean(values, "kernel_rmse", ".1e"),
        "MNC": "" if told else _mean(values, "similarity", ".3f"),
        "evaluations": _mean(values, "nfe", ".0f"),
        "s": _mean(values, "seconds", ".0f"),
    }


def gain(row: Row) -> float:
    """By how many dB the restored image is better than the degraded one."""
    return float(row["psnr"]) - float(row["input"])


def _mean(rows: Sequence[Row], column: str, form: str) -> str:
    values = [float(row[column]) for row in rows if row.get(column) is not None]
    return format(statistics.fmean(values), form) if values else ""


def reported(protocol: Protocol) -> str:
    """What papers report of a protocol; empty if nothing is known."""
    return tables.of([_reported(line) for line in protocol.reported])


def _reported(line: Reported) -> dict[str, str]:
    scores = {
        "PSNR dB": (line.psnr, ".2f"),
        "SSIM": (line.ssim, ".3f"),
        "LPIPS": (line.lpips, ".3f"),
        "FID": (line.fid, ".2f"),
        "kernel RMSE": (line.kernel_rmse, ".1e"),
        "MNC": (line.mnc, ".3f"),
    }
    return {
        "method": line.method,
        "source": line.source,
        "prior and photos": line.prior,
        **{name: "" if v is None else format(v, form) for name, (v, form) in scores.items()},
        "remark": line.remark,
        "": "not run here",
    }


def listing() -> str:
    """The protocols, one a line."""
    return tables.of(
        [
            {
                "protocol": name,
                "degradation": protocol.about,
                "noise": f"{protocol.noise:g}",
                "used by": ", ".join(protocol.papers),
            }
            for name, protocol in PROTOCOLS.items()
        ]
    )

"""What is known about each restored image, and the means of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from d2ir_pl.schema import Within, checked, read_json
from d2ir_pl.stages import STAGES, Stage, StoppedBy

METRICS: tuple[str, ...] = ("psnr", "ssim", "lpips", "input_psnr", "gain", "reblur_psnr")
METRICS += ("sharpness", "brisque", "residual_over_sigma", "nfe", "seconds")
"""What a run is judged by: attributes of `Record`, and the names they have in TensorBoard."""

Count = Annotated[int, Within(0, 2**63)]
Amount = Annotated[float, Within(0)]
Unbounded = Annotated[float, Within(finite=False)]


@dataclass
class Record:
    """What `degradation/<name>.json` says about one image; noise and losses refer to [0, 1].

    Attributes:
        name: relative path without extension (with it where two inputs differ only in that).
        status: `restored` or `failed`.
        fingerprint: digest of all settings and of the prior.
        input_sha256: digest of the input file.
        output_sha256: digest of the file of the restored image.
        prior: name of the prior, or of its file.
        prior_sha256: digests of the files of its weights.
        version: version of the program.
        reference_sha256: digest of the clean image of the scores; empty if there is none.
        reason: sentence on why the image could not be restored.
        trace: traceback of the error behind that, for whoever looks for the fault.
        height: height of the restored image in pixels.
        width: width of the restored image in pixels.
        seed: number from which the noise was drawn, beside the image's name.
        sigma_y: standard deviation of the photo's noise.
        model_error: standard deviation of what the degradation was taken not to express, beside the
            noise.
        kernel: how sure a kernel is that was chosen among several guesses: the `source` of the
            chosen one, the number of `guesses` that were compared, its `lead` over the best guess
            of another shape, how `sure` it is, a probability, and how like the kernels of `places`
            are to the others', and those of their `halves`; empty where none were.
        lights: lights brighter than white in a photo whose blur was undone: the `count` of those
            that count, the share of the photo that they have `hidden`, which is filled in, and the
            number of others that are `left` as they are; empty where there are none.
        residual: mean square of what is left unexplained of the photo.
        stopped_by: what ended the restoration.
        nfe: number of network evaluations.
        num_samples: number of restorations, whose mean this is.
        std: root mean square of the standard deviation between samples, if there are several.
        interval_level: probability with which a pixel's interval holds the truth, where intervals
            are known.
        interval_width: mean width of the intervals.
        filled_in: share of the image's details that the prior has filled in, in [0, 1]: the photo
            tells the others.
        filled_in_by_size: the same for details of 2 to 4 pixels, and for each size twice as large.
        residual_by_size: root mean square of what is left unexplained of the photo, over its noise,
            by the same sizes as far as the photo has them: 1 where it is explained to its noise.
        precision: name of what the prior computed in, also where the settings say `auto`.
        tile: largest side in pixels that the prior saw at once, if the image was larger.
        seconds: time spent on the image.
        psnr: PSNR in dB of the restored image, if there is a reference.
        ssim: structural similarity to the reference.
        lpips: perceptual distance to the reference.
        input_psnr: PSNR in dB of the photo itself.
        reblur_psnr: PSNR in dB of the degraded result against the photo.
        sharpness: how much blurring would take from the restored image, in [0, 1].
        input_sharpness: the same of the photo itself.
        brisque: how unnatural the restored image looks, where the library for that is installed.
        input_brisque: the same of the photo itself.
        losses: residual at each step, by stage.
        phi: parameters of the degradation, as `Degradation.describe` tells them.
        degradation: the family of degradations as a config writes it, and under `phi` its
            parameters to float precision, from which another run can start.
        start: file that phi was taken from, where it was not estimated here.
        start_sha256: digest of what that file holds of phi.
        phi_change: share by which phi moved at each step of stage 1 after the first, see
            `Degradation.change`.
        true_phi: parameters with which the program itself degraded a clean image.
        notes: sentences on the file, and on what had to be done differently.
        reasons: sentences on why the program chose this degradation, where it did.
        opinion: what a second opinion has chosen: `agreed` where nothing was against the result,
            `weaker` for a weaker blur and more noise, `no blur`, or `the photo` itself; empty
            where there was none.
    """

    name: str
    status: Literal["restored", "failed"]
    fingerprint: str
    input_sha256: str
    output_sha256: str = ""
    prior: str = ""
    prior_sha256: list[str] = field(default_factory=list)
    version: str = ""
    reference_sha256: str = ""
    reason: str = ""
    height: Count | None = None
    width: Count | None = None
    seed: Count | None = None
    sigma_y: Amount | None = None
    model_error: Amount | None = None
    kernel: dict[str, Any] = field(default_factory=dict)
    lights: dict[str, Amount] = field(default_factory=dict)
    residual: Amount | None = None
    stopped_by: StoppedBy | Literal[""] = ""
    nfe: Count | None = None
    num_samples: Count = 1
    std: Amount | None = None
    interval_level: Amount | None = None
    interval_width: Amount | None = None
    filled_in: Amount | None = None
    filled_in_by_size: list[Amount] = field(default_factory=list)
    residual_by_size: list[Amount] = field(default_factory=list)
    precision: str = ""
    tile: Count | None = None
    seconds: Amount | None = None
    psnr: float | None = None
    ssim: float | None = None
    lpips: float | None = None
    input_psnr: float | None = None
    reblur_psnr: float | None = None
    sharpness: float | None = None
    input_sharpness: float | None = None
    brisque: float | None = None
    input_brisque: float | None = None
    losses: dict[Stage, list[Unbounded]] = field(default_factory=dict)
    phi: dict[str, Any] = field(default_factory=dict)
    degradation: dict[str, Any] = field(default_factory=dict)
    start: str = ""
    start_sha256: str = ""
    phi_change: list[Unbounded | None] = field(default_factory=list)
    true_phi: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    opinion: str = ""
    trace: str = ""

    @classmethod
    def read(cls, path: Path, name: str) -> Record:
        """Read the record of an image; the name is that of the file, whatever it says itself.

        Args:
            path: its file.
            name: name by which the file was found.

        Raises:
            ValueError: if it is no such record; the message is a phrase that follows its name.
        """
        return replace(checked(cls, read_json(path)), name=name)

    @property
    def brief(self) -> Record:
        """The same without its tables and curves, of which a run of many photos has too many."""
        single = {name: value for name, value in self.phi.items() if isinstance(value, int | float)}
        none: dict[str, Any] = {"losses": {}, "degradation": {}, "kernel": {}, "true_phi": None}
        return replace(self, phi=single, trace="", **none)

    def row(self) -> dict[str, Any]:
        """The image's row of `metrics.csv`."""
        row: dict[str, Any] = {"name": self.name, "status": self.status, "reason": self.reason}
        for key in ("height", "width", "seed", "sigma_y", "model_error"):
            row[key] = getattr(self, key)
        for stage in STAGES:
            losses: list[float] | list[None] = self.losses.get(stage) or [None]
            row[f"{stage}_first_loss"], row[f"{stage}_last_loss"] = losses[0], losses[-1]
        account = ("residual", "stopped_by", "nfe", "num_samples", "std", "filled_in", "tile")
        scores = ("seconds", "psnr", "ssim", "lpips")
        for key in (*account, "interval_level", "interval_width", *scores):
            row[key] = getattr(self, key)
        blind = ("sharpness", "input_sharpness", "brisque", "input_brisque")
        for key in ("input_psnr", "reblur_psnr", *blind):
            row[key] = getattr(self, key)
        return row

    @property
    def gain(self) -> float | None:
        """PSNR after minus before, in dB."""
        if self.psnr is None or self.input_psnr is None:
            return None
        return self.psnr - self.input_psnr

    @property
    def residual_over_sigma(self) -> float | None:
        """RMS of what is unexplained over the noise; 1 where the photo is explained to it."""
        if self.residual is None or not self.sigma_y:
            return None
        return math.sqrt(self.residual) / self.sigma_y


def means(records: Iterable[Record], names: Sequence[str]) -> dict[str, float]:
    """The means of attributes of records, each over the images that have it.

    Args:
        records: the images.
        names: attributes of `Record`, such as `psnr`.
    """
    columns: dict[str, list[float]] = {name: [] for name in names}
    for record in records:
        for name, values in columns.items():
            if (value := getattr(record, name)) is not None:
                values.append(float(value))
    return {name: sum(values) / len(values) for name, values in columns.items() if values}

"""The diffusion methods of the quality table, and what each of them is told of a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.tasks import Task
from d2ir_pl.degradations import Blur, Degradation
from d2ir_pl.degradations.convolutional_blur import ConvolutionalBlur
from d2ir_pl.operators.convolution import Border
from d2ir_pl.restoration import D2IR, RestorationMethod
from d2ir_pl.restoration.baselines import (
    BIRD,
    DAPS,
    DDNM,
    DDRM,
    DPS,
    GDP,
    DiffPIR,
    FastDiffusionEM,
    GibbsDDRM,
    PiGDM,
    REDDiff,
)
from d2ir_pl.restoration.configs import load

LIGHT = ("low_light", "hdr")
"""Tasks whose degradation GDP estimates itself."""


@dataclass(frozen=True)
class Entry:
    """A row of the table.

    Attributes:
        title: title of the row.
        method: the method for a task; None where the pair makes no sense.
        knows: whether the method is told phi.
        slow: whether the method takes so long that it is run on a few images only.
        samples: number of restorations that the result is the mean of.
    """

    title: str
    method: Callable[[Task], RestorationMethod | None]
    knows: bool = True
    slow: bool = False
    samples: int = 1


def shipped(task: Task) -> RestorationMethod:
    """The method of the task's shipped config."""
    return load(task.config).method


def asked(task: Task, name: str = "d2ir") -> Degradation:
    """The family of degradations as a method has to find it, with nothing known of phi."""
    family = task.unknown or load(task.config).degradation
    if name in ("paper", "fast_em", "gibbs_ddrm", "gibbs_ddrm_late") and task.name.startswith(
        "blur"
    ):
        border: Border = "reflect" if name == "paper" else "extend"
        side = task.unknown.kernel_size if isinstance(task.unknown, ConvolutionalBlur) else 21
        return Blur(side, border, start="spectrum")
    return family


def _changed(
    stages: Literal["both", "estimation", "latent"] = "both", **settings: float
) -> Callable[[Task], RestorationMethod | None]:
    """The shipped method with some of its stages, or other settings of stage 1."""

    def method(task: Task) -> RestorationMethod | None:
        both = shipped(task)
        if not isinstance(both, D2IR):
            return None
        estimation = replace(both.estimation, **settings)  # type: ignore[arg-type]
        return D2IR(estimation, both.latent, stages, both.model_error)

    return method


def _informed(task: Task) -> RestorationMethod:
    """The shipped method for one who knows phi: nothing is left that it cannot express."""
    method = shipped(task)
    return D2IR(method.estimation, method.latent) if isinstance(method, D2IR) else method


def _gdp(variant: Literal["x0", "xt"]) -> Callable[[Task], RestorationMethod]:
    scales = {"super_resolution_x4": 2000.0, "inpainting_random": 4000.0, "inpainting_box": 4000.0}
    scales |= dict.fromkeys(LIGHT, 80_000.0)
    return lambda task: GDP(variant, scales.get(task.name, 6000.0))


def _bird(task: Task) -> RestorationMethod:
    # Tasks without published settings see all of an image, as a blur does.
    if task.name.startswith("blur") or task.name in ("colorization", "jpeg", "old_photo"):
        return BIRD()
    if task.name.startswith("super_resolution"):
        return BIRD(lr=1e-3)
    return BIRD(iterations=200, lr=1e-2)


def _paper(task: Task) -> RestorationMethod | None:
    if not task.name.startswith("blur") and task.name != "super_resolution_x2_blind":
        return None
    return load("d2ir_paper").method


ENTRIES: dict[str, Entry] = {
    "d2ir": Entry("D2IR (shipped config)", shipped, knows=False),
    "fast": Entry("D2IR, config fast", _changed(steps=5, start=80), knows=False),
    "best": Entry("D2IR, config best", _changed(temperature=0.6), knows=False, samples=4),
    "sample": Entry("D2IR, one sample", _changed(temperature=1.0), knows=False),
    "samples": Entry("D2IR, mean of 8 samples", _changed(temperature=1.0), knows=False, samples=8),
    "d2ir_known": Entry("D2IR, degradation known", _informed),
    "estimation": Entry("D2IR, stage 1 alone", _changed("estimation"), knows=False),
    "latent": Entry("D2IR, stage 2 alone", _changed("latent"), knows=False),
    "paper": Entry("D2IR, published settings", _paper, knows=False, slow=True),
    "gdp_x0": Entry("GDP-x0, degradation known", _gdp("x0"), slow=True),
    "gdp_blind": Entry(
        "GDP-x0, blind",
        lambda task: _gdp("x0")(task) if task.name in LIGHT else None,
        knows=False,
        slow=True,
    ),
    "gdp_xt": Entry("GDP-xt, degradation known", _gdp("xt"), slow=True),
    "dps": Entry("DPS, degradation known", lambda _: DPS(), slow=True),
    "bird": Entry("BIRD, degradation known", _bird, slow=True),
    "ddrm": Entry("DDRM, degradation known", lambda _: DDRM()),
    "diffpir": Entry("DiffPIR, degradation known", lambda _: DiffPIR()),
    "ddnm": Entry("DDNM+, degradation known", lambda _: DDNM()),
    "pigdm": Entry("PiGDM, degradation known", lambda _: PiGDM()),
    "red_diff": Entry("RED-diff, 100 steps, degradation known", lambda _: REDDiff(100)),
    "daps": Entry("DAPS-100, degradation known", lambda _: DAPS(50, 2)),
    "gibbs_ddrm": Entry(
        "GibbsDDRM",
        lambda task: GibbsDDRM() if task.name.startswith("blur") else None,
        knows=False,
        slow=True,
    ),
    "gibbs_ddrm_late": Entry(
        "GibbsDDRM, kernel in the last fifth",
        lambda task: GibbsDDRM(kernel_start=0.2) if task.name.startswith("blur") else None,
        knows=False,
        slow=True,
    ),
    "fast_em": Entry(
        "Fast Diffusion EM",
        lambda task: FastDiffusionEM() if task.name.startswith("blur") else None,
        knows=False,
    ),
}

# With fewer steps the walk starts lower, or they would be too far apart.
_STEPS: dict[int, Callable[[Task], RestorationMethod | None]] = {
    **{n: _changed(steps=n, start=80) for n in (5, 6)},
    **{n: _changed(steps=n) for n in (8, 12, 20)},
}
SWEEP = {f"steps_{n}": Entry(f"D2IR, {n} steps", m, knows=False) for n, m in _STEPS.items()}
SWEEP |= {
    f"samples_{n}": Entry(f"D2IR, mean of {n}", _changed(temperature=0.6), knows=False, samples=n)
    for n in (2, 4, 8, 16)
}
"""The presets `fast`, `balanced` and `best`, and what lies between them."""

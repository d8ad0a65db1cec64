"""Two folders of results side by side: which images got better, and by what settings."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from d2ir_pl.errors import OutputError
from d2ir_pl.inputs.digest import file_digest
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.record import METRICS, Record, means
from d2ir_pl.results.settings import Setting, Settings, differences, read_settings

# Settings that name files, of which the digests tell more.
_NOT_COMPARED = {"data.inputs", "data.references", "data.scenes", "data.limit"}
TIED = 0.005
"""Differences in dB below this are ties: half of the last digit that is shown."""


@dataclass(frozen=True)
class Pair:
    """An image as two runs restored it: what each knows about the result."""

    base: Record
    new: Record

    @property
    def gain(self) -> float | None:
        """How much better the new one is, in dB; None where that cannot be told.

        It is the gain in PSNR, or without a reference that by which the residual came nearer to the
        noise.
        """
        if self.base.psnr is not None and self.new.psnr is not None:
            return self.new.psnr - self.base.psnr
        ratios = self.base.residual_over_sigma, self.new.residual_over_sigma
        if not all(ratios):
            return None
        base, new = (abs(20 * math.log10(ratio)) for ratio in ratios if ratio)
        return base - new


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same images.

    Attributes:
        task: path of both folders below those that the user named, `.` if they are these.
        base: the folder of the old results.
        new: the folder of the new results.
        pairs: the images that both have restored.
        alone: names of images that only one of them has restored.
        settings: the settings that differ, with their values in base and new.
        same_fingerprint: whether all images were made by the same settings, prior and version.
    """

    task: str
    base: ResultFolder
    new: ResultFolder
    pairs: list[Pair]
    alone: list[str]
    settings: dict[str, tuple[Setting | None, Setting | None]]
    same_fingerprint: bool

    @property
    def degradation(self) -> str:
        """The class of the degradation, or those of both runs where they differ."""
        names = [
            str(read_settings(f.root).get("model.degradation", "")) for f in (self.base, self.new)
        ]
        return " → ".join(dict.fromkeys(names))

    def scores(self) -> dict[str, tuple[float, float]]:
        """The means of base and new, each over the images for which both have the metric."""
        found = {}
        for name in METRICS:
            shared = [
                pair
                for pair in self.pairs
                if None not in (getattr(pair.base, name), getattr(pair.new, name))
            ]
            base = means((pair.base for pair in shared), [name])
            new = means((pair.new for pair in shared), [name])
            if shared:
                found[name] = base[name], new[name]
        return found

    def gains(self) -> dict[str, float]:
        """How much better each image got, in dB, by its name, the worst first."""
        gains = {p.base.name: gain for p in self.pairs if (gain := p.gain) is not None}
        return dict(sorted(gains.items(), key=lambda item: item[1]))

    @property
    def by_psnr(self) -> bool:
        """Whether images are judged by their references, and not by their residuals."""
        return any(None not in (p.base.psnr, p.new.psnr) for p in self.pairs)


def compare(base: Path, new: Path) -> list[Comparison]:
    """Compare two runs, or every run below one folder with that of the same path below another.

    Args:
        base: the folder of the old results, or one that holds several such folders.
        new: the same of the new results.

    Returns:
        A comparison of each pair of runs.

    Raises:
        OutputError: with one sentence, if there is nothing to compare, or images have the same
            names but are not the same.
    """
    old, now = runs(base), runs(new)
    shared = [task for task in old if task in now]
    if len(old) == len(now) == 1:
        return [_compare(".", *old.values(), *now.values())]
    if not shared:
        raise OutputError(
            f"{base} and {new} have no run at the same path below them ({next(iter(old))} and "
            f"{next(iter(now))}, for example): name the folders of single runs"
        )
    return [_compare(task, old[task], now[task]) for task in shared]


def runs(root: Path) -> dict[str, ResultFolder]:
    """The folder itself if it holds results, else all below it that do, by their paths.

    Raises:
        OutputError: if there are none.
    """
    if os.path.isfile(root / "config.yaml") or ResultFolder(root).names():
        found = [root]
    else:
        found = sorted(path.parent for path in root.rglob("config.yaml"))
    results = {str(p.relative_to(root)): ResultFolder(p) for p in found if ResultFolder(p).names()}
    if not results:
        raise OutputError(f"{root} holds no results: name the --output of a run, or a folder of it")
    return results


def _compare(task: str, base: ResultFolder, new: ResultFolder) -> Comparison:
    old, now = _restored(base), _restored(new)
    pairs = [Pair(old[name], now[name]) for name in old if name in now]
    if not pairs:
        raise OutputError(
            f"{base.root} and {new.root} share no restored image: compare runs on the same photos"
        )
    for pair in pairs:
        _require_the_same(pair, base, new)
    settings: list[Settings] = [
        {name: v for name, v in read_settings(f.root).items() if name not in _NOT_COMPARED}
        for f in (base, new)
    ]
    return Comparison(
        task,
        base,
        new,
        pairs,
        sorted(old.keys() ^ now.keys()),
        differences(*settings),
        all(pair.base.fingerprint == pair.new.fingerprint for pair in pairs),
    )


def _restored(folder: ResultFolder) -> dict[str, Record]:
    records = folder.records(folder.names())
    return {r.name: r for r in records if r.status == "restored"}


def _require_the_same(pair: Pair, base: ResultFolder, new: ResultFolder) -> None:
    """Check that both runs restored the same photo, and judged it by the same reference."""
    name = pair.base.name
    if _photo(base, pair.base) != _photo(new, pair.new):
        raise OutputError(
            f"{name} is not the same photo in {base.root} and {new.root}: restore the same files "
            "in both runs"
        )
    references = {pair.base.reference_sha256, pair.new.reference_sha256} - {""}
    if len(references) > 1:
        raise OutputError(
            f"{name} has different references in {base.root} and {new.root}: give both runs the "
            "same --data.references"
        )


def _photo(folder: ResultFolder, record: Record) -> str:
    """Digest of the degraded photo, which the program may have made itself."""
    made = folder.degraded(record.name)
    return file_digest(made) if made.is_file() else record.input_sha256

"""What the arguments of `restore` ask for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from d2ir_pl.api.arguments import where_it_is
from d2ir_pl.batches.plan import Plan, Start
from d2ir_pl.degradations import Degradation, Exposures, GaussianBlur
from d2ir_pl.degradations.saved import SavedPhi
from d2ir_pl.errors import InputError, UsageError, require
from d2ir_pl.inputs.samples import Sample
from d2ir_pl.priors import Prior, load_prior
from d2ir_pl.priors.precision import DTYPES, Precision, resolve
from d2ir_pl.restoration import D2IR, RestorationMethod, configs


@dataclass(frozen=True)
class Task:
    """How images are restored, beside the prior.

    Attributes:
        degradation: what happened to them; None where that is chosen image by image.
        method: how they are restored; None for what suits the chosen degradation.
        num_samples: number of restorations of each image.
        start: parameters that are known from an earlier restoration; None if they are not.
        second_opinion: whether other hypotheses are tried, where nothing else is said.
    """

    degradation: Degradation | None
    method: RestorationMethod | None
    num_samples: int = 1
    start: SavedPhi | None = None
    second_opinion: bool = False

    def started(self, start: str | os.PathLike[str] | None) -> Task:
        """The same with the parameters known that the `.json` of a photo holds.

        Raises:
            InputError: if the file holds none, or those of another degradation.
        """
        if start is None:
            return self
        path = Path(start)
        if path.is_dir():
            raise InputError(f"start {path} is a folder: give the .json of one photo in it")
        try:
            saved = SavedPhi.read(path)
            if self.degradation is not None:
                saved.told(self.degradation)
        except ValueError as error:
            raise InputError(f"start {error}") from None
        return replace(self, start=saved)

    @classmethod
    def of(
        cls,
        degradation: Degradation | str | None,
        method: RestorationMethod | None,
        num_samples: int | None,
    ) -> Task:
        """The task that the arguments of `restore` describe.

        Raises:
            InputError: if there is no config of the given name.
            UsageError: if an argument is of a wrong type, or the config restores no images.
            ValueError: if num_samples is below 1.
        """
        if method is not None and not isinstance(method, RestorationMethod):
            raise UsageError(f"method must be a method such as D2IR(), not {_kind(method)}")
        samples, opinion = 1, False
        if isinstance(degradation, str):
            try:
                model = configs.shipped_model(degradation)
            except InputError as error:
                made = where_it_is(degradation)
                raise InputError(f"{error}" + (f"; or {made}" if made else "")) from None
            samples = int(model.get("num_samples", 1))
            chosen = model.get("degradation") == "auto"
            opinion = bool(model.get("second_opinion", chosen))
            if chosen:
                degradation = None
            else:
                setup = configs.load(degradation)
                degradation, method = setup.degradation, method or setup.method
        else:
            degradation = GaussianBlur() if degradation is None else degradation
            method = method or D2IR()
        if isinstance(degradation, Exposures):
            raise UsageError(
                "several exposures of a scene cannot be given to restore: put them into a folder, "
                "and use 'd2ir predict --config hdr --data.inputs FOLDER'"
            )
        if degradation is not None and not isinstance(degradation, Degradation):
            raise UsageError(
                "degradation must be the name of a config or a degradation such as GaussianBlur(), "
                f"not {_kind(degradation)}"
            )
        samples = samples if num_samples is None else num_samples
        require("num_samples", samples, 1)
        return cls(degradation, method, samples, second_opinion=opinion)

    def check(self, samples: Sequence[Sample], prior: Prior) -> None:
        """Refuse what can be refused before the first image is restored.

        Raises:
            ValueError: if the method does not fit the degradation or the prior, or the degradation
                lacks something of an image, such as its mask.
        """
        if self.degradation is None or self.method is None:
            return
        self.method.check(self.degradation, prior)
        for sample in samples:
            self.degradation.for_images([sample.photo], [sample.item.key])

    def plan(self, sample: Sample, sigma_y: float | None, device: torch.device) -> Plan:
        """How an image is restored: what the task says, or what is chosen for it."""
        saved = self.start
        start: Start | None = None if saved is None else lambda _: saved
        if self.degradation is None:
            if saved is not None and start is not None:
                return Plan.continued(saved, start, self.method)
            return Plan.chosen(sample.photo, sample.y.to(device), sigma_y, self.method)
        assert self.method is not None
        return Plan(self.degradation.to(device), self.method, start=start)


def loaded(
    prior: str | os.PathLike[str] | Prior,
    label: int | None,
    precision: Precision,
    device: torch.device,
) -> Prior:
    """The prior on a device; one that is given by name is cast to a precision.

    Raises:
        PriorError: if it cannot be loaded.
        UsageError: if it is of a wrong type.
        ValueError: if a label is given for a loaded prior, or the precision is unknown.
    """
    if isinstance(prior, str | os.PathLike):
        dtype = DTYPES[resolve(precision, device)]
        return load_prior(os.fspath(prior), label=label).cast(dtype).to(device)
    if not isinstance(prior, Prior):
        raise UsageError(f"prior must be a name, a path or a loaded prior, not {_kind(prior)}")
    if label is not None:
        raise ValueError(f"label {label} comes too late for a loaded prior: give it to load_prior")
    return prior.to(device)


def _kind(value: object) -> str:
    """What a value is, in a sentence."""
    if isinstance(value, type):
        return f"the class {value.__name__}: call it"
    if not isinstance(value, str):
        return type(value).__name__
    return f"{value!r:.60}" + (f": {made}" if (made := where_it_is(value)) else "")

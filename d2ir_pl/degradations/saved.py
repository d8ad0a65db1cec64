"""The phi of one image in a file, to float precision, and the family that it belongs to."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from d2ir_pl.degradations.base import Degradation
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.operators.numbers import packed, read_object, unpacked

FACE = "d2ir_pl.degradations"
JPEG = "Jpeg"
LISTED = 128
"""Numbers of a parameter up to which they are lists in the file: those of the tables of a JPEG."""


@dataclass(frozen=True)
class SavedPhi:
    """The parameters that one image was found to have, and the family of degradations.

    Attributes:
        family: the degradation as a config writes it, `class_path` and `init_args`, without what
            the object does not keep.
        phi: parameters, a batch of one.
        source: what messages call it, such as the path of the file.
        input_sha256: digest of the photo's file; empty if that is not known.
        fingerprint: digest of the settings with which it was found; empty if they are not known.
        restored: file of the image that was restored with it; None if it is not at hand.
    """

    family: dict[str, Any]
    phi: Phi
    source: str = "phi"
    input_sha256: str = ""
    fingerprint: str = ""
    restored: Path | None = None

    @classmethod
    def of(cls, degradation: Degradation, phi: Phi) -> SavedPhi:
        """The parameters of one image.

        Args:
            degradation: family that they belong to, with phi known or not.
            phi: batch of one.
        """
        return cls(_settings(degradation), phi.to("cpu").detach())

    def as_json(self) -> dict[str, Any]:
        """What a file holds of it: the family, and beside it each parameter to float precision."""
        numbers = {name: packed(value[0].numpy(), LISTED) for name, value in self.phi.items()}
        return {**self.family, "phi": numbers}

    @classmethod
    def read(cls, path: Path) -> SavedPhi:
        """Read the `.json` that `predict` wrote about a photo.

        Raises:
            ValueError: if the file holds no phi of a photo; the message says what it is instead.
        """
        try:
            record = read_object(path)
            return cls._parsed(record, str(path))
        except ValueError as error:
            raise ValueError(f"{path} {error}") from None

    @classmethod
    def _parsed(cls, record: dict[str, Any], source: str) -> SavedPhi:
        if record.get("status") == "failed":
            raise ValueError(f"has no estimate: that photo failed ({record.get('reason', '')})")
        saved = record.get("degradation", {})
        if "status" not in record or not isinstance(saved, dict):
            raise ValueError("holds no record of a restored photo: give one that predict wrote")
        if not isinstance(saved.get("phi"), dict) or not saved["phi"] or "class_path" not in saved:
            raise ValueError(
                "was written by an earlier version, which rounded the parameters: restore that "
                "photo again"
            )
        try:
            phi = {
                str(name): torch.from_numpy(unpacked(value).copy())[None]
                for name, value in saved["phi"].items()
            }
        except ValueError as error:
            raise ValueError(f"has parameters whose {error}") from None
        family = {key: saved.get(key, {}) for key in ("class_path", "init_args")}
        try:
            _kind(family)
        except (AttributeError, KeyError, TypeError):
            raise ValueError("has a damaged description of its degradation") from None
        photo, settings = (str(record.get(name, "")) for name in ("input_sha256", "fingerprint"))
        return cls(family, Phi(phi), source, photo, settings)

    @property
    def digest(self) -> str:
        """A digest of the family, the parameters, and how they were found."""
        text = json.dumps(self.as_json(), sort_keys=True, default=str) + self.fingerprint
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def kind(self) -> str:
        """The name of the family."""
        return _kind(self.family)

    def told(self, degradation: Degradation) -> Degradation:
        """A degradation with this phi known.

        A JPEG that comes last may be in one of them alone: its tables are those of each file.

        Args:
            degradation: what it was found to be, with the same settings as far as phi depends on
                them; others, such as the border of a blur, may differ.

        Raises:
            ValueError: if it is another one.
        """
        family = _settings(degradation)
        if self.kind == f"{_kind(family)} + {JPEG}":
            return self._before_jpeg().told(degradation)
        if _kind(family) == f"{self.kind} + {JPEG}":
            first, jpeg = list(getattr(degradation, "parts", []))
            chain: Any = type(degradation)
            told: Degradation = chain([self.told(first), jpeg])
            return told
        _require_same(self.family, family, degradation, self.source)
        return degradation.told(self.phi)

    def _before_jpeg(self) -> SavedPhi:
        """The first of two degradations."""
        first = {n.removeprefix("0."): v for n, v in self.phi.items() if n.startswith("0.")}
        return replace(self, family=self.family["init_args"]["parts"][0], phi=Phi(first))


def _settings(degradation: Degradation) -> dict[str, Any]:
    """A degradation as a config writes it, by those constructor arguments that the object keeps."""
    cls = type(degradation)
    inside = cls.__module__.startswith(f"{FACE}.")
    arguments: dict[str, Any] = {}
    for name in inspect.signature(cls).parameters:
        value: Any = getattr(degradation, name, inspect.Parameter.empty)
        if _is_chain(value):
            arguments[name] = [_settings(part) for part in value]
        elif _is_plain(value):
            arguments[name] = list(value) if isinstance(value, tuple) else value
    return {
        "class_path": f"{FACE if inside else cls.__module__}.{cls.__qualname__}",
        "init_args": arguments,
    }


def _is_chain(value: Any) -> bool:
    return isinstance(value, torch.nn.ModuleList | list) and any(
        isinstance(part, Degradation) for part in value
    )


def _is_plain(value: Any) -> bool:
    """Whether a config can hold a value."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _kind(family: Any) -> str:
    """The name of a family, of a chain with those of its parts."""
    name = str(family["class_path"]).rpartition(".")[2]
    parts = family["init_args"].get("parts")
    return " + ".join(map(_kind, parts)) if isinstance(parts, list) and parts else name


def _require_same(
    then: dict[str, Any], now: dict[str, Any], degradation: Degradation, source: str
) -> None:
    """Check that two settings are those of one family, as far as phi depends on them."""
    if _kind(then) != _kind(now):
        raise ValueError(
            f"{source} tells of {_kind(then)}, not of {_kind(now)}: choose the same degradation, "
            "or auto, which takes it from there"
        )
    parts: Iterable[Any] = getattr(degradation, "parts", [])
    old, new = then["init_args"], now["init_args"]
    for a, b, part in zip(old.get("parts", []), new.get("parts", []), parts, strict=True):
        _require_same(a, b, part, source)
    for name in degradation.phi_settings:
        if name in old and old[name] != new.get(name):
            raise ValueError(
                f"{source} tells of {_kind(now)} with {name} {_text(old[name])}, not "
                f"{_text(new.get(name))}: set the same"
            )


def _text(value: Any) -> str:
    return json.dumps(value)

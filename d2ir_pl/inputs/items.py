"""What is restored: input files, and what is known of them before they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from d2ir_pl.inputs.digest import file_digest, joint_digest


@dataclass(frozen=True)
class Item:
    """One input file, or several photos of one scene.

    Attributes:
        path: the file; of a scene, the first one.
        key: its path relative to the input folder (of a scene, the folder's); seeds its noise.
        name: under which results are written.
        reference: the clean image, if there is one.
        others: further photos of the scene, in the order of their names.
    """

    path: Path
    key: str
    name: str
    reference: Path | None = None
    others: tuple[Path, ...] = ()

    def digest(self) -> str:
        """sha256 of the contents, in hexadecimal; empty where a file cannot be read."""
        return joint_digest([file_digest(path) for path in (self.path, *self.others)])


@dataclass(frozen=True)
class Failure:
    """An input that could not be restored, and why.

    Attributes:
        item: the input.
        reason: a sentence for the user, without the input's name at its beginning.
        digest: of the input's contents; empty where it could not be read.
        trace: traceback of the error behind it, for whoever looks for the fault; empty if there is
            none.
    """

    item: Item
    reason: str
    digest: str = ""
    trace: str = ""

    @property
    def name(self) -> str:
        """The name of the input."""
        return self.item.name

    def to(self, device: object) -> Failure:  # noqa: ARG002
        """The same: it has no tensors, and Lightning asks whatever is predicted to move."""
        return self

"""What a checkpoint of the module holds: the settings to make it again, and no pretrained prior."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytorch_lightning as pl
import torch

from d2ir_pl.degradations.arguments import KeepsArguments
from d2ir_pl.errors import InputError, naming
from d2ir_pl.inputs.digest import file_digest, joint_digest
from d2ir_pl.priors import NetworkPrior
from d2ir_pl.priors.registry import prior_files
from d2ir_pl.restoration.description import described, made, named_arguments

_PRIOR, _DIGEST, _ARGUMENTS = "prior.", "prior_sha256", "module_arguments"
"""The weights' names begin with the first; the others are keys of a checkpoint."""


class SavesItsSettings(KeepsArguments, pl.LightningModule):
    """A module with a prior, whose checkpoints hold how to make it, as plain values and tensors.

    The weights of a frozen prior are in its own file, of which the checkpoint keeps the digest.
    """

    if TYPE_CHECKING:  # the reference would show it as the type of the argument `prior`
        prior: NetworkPrior

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        arguments = named_arguments(self)
        checkpoint[_ARGUMENTS] = {"other": repr(type(self))} if arguments is None else arguments
        if "hyper_parameters" in checkpoint:
            checkpoint["hyper_parameters"] = described(dict(checkpoint["hyper_parameters"]))
        if any(weight.requires_grad for weight in self.prior.parameters()):
            return
        kept = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k: v for k, v in kept.items() if not k.startswith(_PRIOR)}
        checkpoint[_DIGEST] = self._digest()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if _DIGEST not in checkpoint:
            return
        if checkpoint[_DIGEST] != self._digest():
            raise InputError(
                f"the prior {self.hparams['prior']} is not the one that the checkpoint was saved "
                "with: give that one as prior="
            )
        own = {k: v for k, v in self.state_dict().items() if k.startswith(_PRIOR)}
        checkpoint["state_dict"] = {**own, **checkpoint["state_dict"]}

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: str | Path, **arguments: Any
    ) -> Self:
        """Make a module again that has saved a checkpoint.

        Nothing in a checkpoint is run, and nothing is imported for it. Classes of this package are
        found by their names, and those of degradations and methods of one's own where their modules
        have been imported before.

        Args:
            checkpoint_path: file that `trainer.save_checkpoint` has written.
            arguments: constructor arguments that replace those of the checkpoint.

        Raises:
            InputError: if the file is no such checkpoint, or a class in it is not known.
        """
        checkpoint = _read(checkpoint_path)
        with naming(f"{checkpoint_path}"):
            saved = checkpoint[_ARGUMENTS]
            # What is replaced need not be known.
            kept = {name: made(saved[name]) for name in saved if name not in arguments}
            module = cls(**{**kept, **arguments})
            module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"])
        return module

    def _digest(self) -> str:
        files = prior_files(self.hparams["prior"])
        return joint_digest([file_digest(path) for path in files])


def _read(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of plain values and tensors.

    Raises:
        InputError: if there is none, or it holds something else.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"the checkpoint {path} does not exist") from None
    except Exception as error:  # of many kinds, for whatever bytes a file may have
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{path} is no checkpoint of plain values and tensors, and no other is loaded "
            f"({reason:.120})"
        ) from None
    if isinstance(checkpoint, dict) and {_ARGUMENTS, "state_dict"} <= checkpoint.keys():
        return checkpoint
    raise InputError(f"{path} is no checkpoint that a RestorationModule has saved")

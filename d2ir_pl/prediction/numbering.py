"""Names of images that have none: their numbers in the data set."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.utilities.combined_loader import CombinedLoader


class Numbering:
    """Numbers the images of a DataLoader, so that no two of a prediction share a name.

    The number is the image's index in the data set, which neither the order in which it is drawn
    nor the number of processes changes. Where a DataLoader does not tell indices, as those of
    iterable data sets, images are counted, and of n processes the one of rank r takes r, r + n and
    so on. Where there are several DataLoaders, the number of the loader stands before it: `1/17`.

    Args:
        trainer: trainer that predicts; None where `predict_step` is called without one.
    """

    def __init__(self, trainer: pl.Trainer | None) -> None:
        self._trainer = trainer
        self._counted: dict[int, int] = {}

    def __call__(self, batch_idx: int, dataloader_idx: int, count: int) -> list[str]:
        """The names of the images of a batch.

        Args:
            batch_idx: number of the batch.
            dataloader_idx: number of its DataLoader.
            count: number of its images.
        """
        trainer = self._trainer
        if batch_idx == 0:
            self._counted[dataloader_idx] = 0
        first = self._counted.get(dataloader_idx, 0)
        self._counted[dataloader_idx] = first + count
        if trainer is None or trainer.predict_dataloaders is None:
            return [str(first + i) for i in range(count)]
        loaders = CombinedLoader(trainer.predict_dataloaders, "sequential").flattened
        sampler = getattr(loaders[dataloader_idx], "batch_sampler", None)
        seen = getattr(sampler, "seen_batch_indices", [])
        numbers = seen[batch_idx] if batch_idx < len(seen) else []
        if len(numbers) != count:
            rank, world = trainer.global_rank, trainer.world_size
            numbers = [(first + i) * world + rank for i in range(count)]
        prefix = f"{dataloader_idx}/" if len(loaders) > 1 else ""
        return [f"{prefix}{number}" for number in numbers]

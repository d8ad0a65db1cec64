"""Restoring a batch although memory runs out, or an image of it diverges or is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytorch_lightning.utilities.memory import garbage_collection_cuda, is_oom_error

from d2ir_pl.priors import NetworkPrior
from d2ir_pl.restoration import Restoration, RestorationMethod

WORST_RESIDUAL = 1e3
"""In the units of [-1, 1], where black for white leaves 4. Methods that start from noise stay below
it, even when they are stopped early; what has exploded does not."""

Restore = Callable[[Sequence[int], RestorationMethod], Restoration]


class Attempts:
    """Restores images together where that works, and otherwise in smaller parts, or more gently.

    - Where the degradation or the method refuses an image (ValueError), the others are restored
      each by itself.
    - Where memory runs out, the batch is halved, and a single image is predicted on tiles of half
      the side. What fitted is remembered for the batches that follow.
    - An image whose restoration is not finite, or leaves more than `WORST_RESIDUAL` unexplained, is
      restored once more by itself, with a tenth of the method's step sizes and a prior that
      computes in float32. The other images of its batch keep their results.

    Args:
        prior: that of the method.
    """

    def __init__(self, prior: NetworkPrior) -> None:
        self.prior = prior
        self._fitting_pixels: int | None = None

    def __call__(
        self, restore: Restore, method: RestorationMethod, count: int, pixels: int
    ) -> Outcome:
        """Restore a batch.

        Args:
            restore: how some images of the batch, given by their positions, are restored.
            method: what it is called with, or a gentler version of it.
            count: images in the batch.
            pixels: of each of them.
        """
        outcome = Outcome()
        self._within_memory(restore, method, list(range(count)), pixels, outcome)
        diverged = [b for b, restoration in outcome.restored.items() if not _sound(restoration)]
        for b in diverged:
            del outcome.restored[b]
            with self.prior.in_float32():
                self._within_memory(restore, method.gentler(), [b], pixels, outcome)
            if b not in outcome.restored:
                continue
            if _sound(outcome.restored[b]):
                outcome.note(b, "diverged at first: restored with a tenth of the step sizes")
            else:
                del outcome.restored[b]
                outcome.failed[b] = (
                    "the restoration diverged, with a tenth of the step sizes as well: try another "
                    "--seed"
                )
        return outcome

    def _within_memory(
        self,
        restore: Restore,
        method: RestorationMethod,
        images: list[int],
        pixels: int,
        outcome: Outcome,
    ) -> None:
        waiting, tight, tiled = list(images), set[int](), ""
        while waiting:
            count = len(waiting)
            if self._fitting_pixels is not None:
                count = min(count, max(1, self._fitting_pixels // pixels))
            part, waiting = waiting[:count], waiting[count:]
            try:
                restoration = restore(part, method)
            except ValueError as error:
                if len(part) == 1:
                    outcome.failed[part[0]] = str(error)
                for b in part if len(part) > 1 else ():
                    self._within_memory(restore, method, [b], pixels, outcome)
                continue
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                restoration = None  # and go on outside, where the error no longer holds tensors
            if restoration is not None:
                outcome.add(part, restoration)
                for b in tight.intersection(part):
                    outcome.note(b, f"memory ran out: restored {len(part)} at a time{tiled}")
                continue
            garbage_collection_cuda()
            tight.update(part)
            waiting = [*part, *waiting]
            if len(part) > 1:
                self._fitting_pixels = len(part) // 2 * pixels
            elif self.prior.halve_tile():
                tiled = f", on tiles of {self.prior.tile} pixels"
            else:
                outcome.failed[part[0]] = (
                    f"memory ran out, on tiles of {self.prior.tile} pixels as well: make the photo "
                    "smaller"
                )
                waiting = waiting[1:]


class Outcome:
    """What became of each image of a batch.

    Attributes:
        restored: position in the batch -> a restoration of that image alone.
        failed: position -> the reason.
        notes: position -> what had to be done differently.
    """

    def __init__(self) -> None:
        self.restored: dict[int, Restoration] = {}
        self.failed: dict[int, str] = {}
        self.notes: dict[int, list[str]] = {}

    def add(self, images: Sequence[int], restoration: Restoration) -> None:
        for i, b in enumerate(images):
            self.restored[b] = restoration.select([i])

    def note(self, image: int, text: str) -> None:
        self.notes.setdefault(image, []).append(text)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has no memory left."""
    if isinstance(error, MemoryError) or is_oom_error(error):
        return True
    # What Lightning does not know: Apple's GPUs, and allocations on other systems' CPUs.
    text = str(error)
    return "out of memory" in text or "not enough memory" in text


def _sound(restoration: Restoration) -> bool:
    finite = bool(restoration.x0.isfinite().all())
    return finite and float(restoration.residual) <= WORST_RESIDUAL

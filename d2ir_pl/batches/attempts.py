"""Restoring a batch although memory runs out, or an image of it diverges or is refused."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field

import torch

from d2ir_pl.batches.plan import Plan
from d2ir_pl.diffusion import Prior
from d2ir_pl.errors import OutputError, UsageError, in_words
from d2ir_pl.priors import NetworkPrior
from d2ir_pl.restoration import Restoration, RestorationMethod

WORST_RESIDUAL = 1e3
"""Largest residual of a sound restoration, in the units of [-1, 1], where black for white leaves 4.
Methods that start from noise stay below it, even when they are stopped early; what has exploded
does not."""

_OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "ALLOC_FAILED",
    # What cuDNN says of sizes that it has no room for.
    "CUDNN_STATUS_NOT_SUPPORTED",
    "unable to find an engine",
)
"""Words of errors about memory, beside those of PyTorch's own class."""

Restore = Callable[[Sequence[int], RestorationMethod], Restoration]


@dataclass
class Attempted:
    """A restored image, and how that was done.

    Attributes:
        restoration: batch of this image alone.
        tile: largest side in pixels that the prior may see at once.
        notes: sentences on what had to be done differently.
        in_float32: whether the prior computed in float32 in place of the run's precision.
        sound: whether the restoration is finite and explains the photo at all.
        opinion: what a second opinion has chosen, see `Record`; empty where there was none.
    """

    restoration: Restoration
    tile: int
    notes: list[str] = field(default_factory=list)
    in_float32: bool = False
    sound: bool = True
    opinion: str = ""


@dataclass
class Outcome:
    """What became of the images of a batch, by their positions.

    Attributes:
        restored: images that were restored.
        failed: reasons for the others.
        traces: tracebacks of what was raised for them, for whoever looks for the fault.
        plans: how each image was restored, which `restore_batch` says.
    """

    restored: dict[int, Attempted] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    traces: dict[int, str] = field(default_factory=dict)
    plans: dict[int, Plan] = field(default_factory=dict)

    def join(self, other: Outcome) -> None:
        """Add what became of other images of the batch."""
        self.restored |= other.restored
        self.failed |= other.failed
        self.traces |= other.traces
        self.plans |= other.plans

    @contextmanager
    def costing(self, image: int, fault: str) -> Iterator[None]:
        """Let what is raised for an image cost that one, and none of the others.

        Args:
            image: its position.
            fault: clause that says what could not be done, for errors that do not speak to users.

        Raises:
            OutputError, UsageError: which are faults of no image.
        """
        try:
            yield
        except (OutputError, UsageError):
            raise
        except Exception as error:  # whatever one photo does, the others are restored
            words = str(error) if isinstance(error, ValueError) else f"{fault} ({in_words(error)})"
            self.restored.pop(image, None)
            self.failed[image], self.traces[image] = words, traceback.format_exc()


class Attempts:
    """Restores images together where that works, and otherwise in smaller parts, or more gently.

    - Where memory runs out, the batch is halved, and a single image is predicted on tiles of half
      the side. What fitted is remembered for later batches of images at least as large.
    - Where the degradation or the method refuses an image (ValueError), or a computation fails in
      any other way, the others are restored each by itself.
    - An image whose restoration fails so, is not finite, or leaves more than `WORST_RESIDUAL`
      unexplained, is restored once more by itself, with a tenth of the method's step sizes and a
      prior that computes in float32. The other images of its batch keep their results.

    Args:
        prior: prior that the method uses.
    """

    def __init__(self, prior: Prior) -> None:
        self.prior = prior
        self._fitting_pixels: int | None = None
        self._small_tile: tuple[int, int] | None = None
        """Pixels of an image that memory did not hold, and the tile on which it did."""

    def __call__(
        self, restore: Restore, method: RestorationMethod, images: Sequence[int], pixels: int
    ) -> Outcome:
        """Restore a batch.

        Args:
            restore: function that restores some of the images, given by their positions.
            method: method that it is called with, or a gentler version of it.
            images: positions of all images.
            pixels: number of pixels of each of them.
        """
        outcome = Outcome()
        with self.prior.same_tiles_afterwards():
            if self._small_tile is not None and pixels >= self._small_tile[0]:
                self.prior.fix_tile(self._small_tile[1])
            broken = self._together(restore, method, images, pixels, outcome)
        for b, first in outcome.restored.items():
            if not first.sound:
                broken[b] = "the restoration diverged"
        for b, reason in broken.items():
            with self.prior.same_tiles_afterwards():
                self._again(restore, method, b, reason, pixels, outcome)
        return outcome

    def _again(
        self,
        restore: Restore,
        method: RestorationMethod,
        image: int,
        reason: str,
        pixels: int,
        outcome: Outcome,
    ) -> None:
        """Restore an image more gently than before, if there is a way to."""
        first = outcome.restored.pop(image, None)
        gentler, prior = method.gentler(), self.prior
        half = isinstance(prior, NetworkPrior) and prior.compute_dtype != torch.float32
        ways = ["with a tenth of the step sizes"] if gentler is not None else []
        ways += ["in float32"] if half else []
        how, remedy = " and ".join(ways), "try another --seed"
        if not ways:
            outcome.failed[image] = f"{reason}: {remedy}"
            return
        try:
            with prior.in_float32() if isinstance(prior, NetworkPrior) else nullcontext():
                broken = self._together(restore, gentler or method, [image], pixels, outcome)
        except RuntimeError as error:  # a network in float32 takes twice the memory
            if not out_of_memory(error):
                raise
            broken = {image: "memory ran out"}
        if image in outcome.failed:
            return
        second = outcome.restored.pop(image, None)
        if broken or second is None or not second.sound:
            outcome.failed[image] = f"{reason}, {how} as well: {remedy}"
            return
        second.notes[:0] = first.notes if first is not None else []
        second.notes.append(f"{reason} at first: restored {how}")
        second.in_float32 = half
        outcome.restored[image] = second

    def _together(
        self,
        restore: Restore,
        method: RestorationMethod,
        images: Sequence[int],
        pixels: int,
        outcome: Outcome,
    ) -> dict[int, str]:
        """Restore images together as far as memory allows; those that failed, and why."""
        waiting, alone, tiled = list(images), False, ""
        broken: dict[int, str] = {}
        while waiting:
            count = 1 if alone else len(waiting)
            if self._fitting_pixels is not None:
                count = min(count, max(1, self._fitting_pixels // pixels))
            part, waiting = waiting[:count], waiting[count:]
            restoration, refusal, failure, trace = _attempt(restore, part, method)
            if restoration is not None:
                small = len(part) < len(images) and not alone
                note = f"memory ran out: restored {len(part)} at a time{tiled}"
                for i, (b, sound) in enumerate(zip(part, _sound(restoration), strict=True)):
                    notes = [note] if small or tiled else []
                    outcome.restored[b] = Attempted(
                        restoration.select([i]), self.prior.tile, notes, sound=sound
                    )
            elif (refusal or failure) and len(part) > 1:
                waiting, alone = [*part, *waiting], True
            elif refusal:
                outcome.failed[part[0]], outcome.traces[part[0]] = refusal, trace
            elif failure:
                broken[part[0]], outcome.traces[part[0]] = failure, trace
            else:
                _free_memory()
                waiting = [*part, *waiting]
                if len(part) > 1:
                    self._fitting_pixels = len(part) // 2 * pixels
                elif self.prior.halve_tile():
                    self._small_tile = pixels, self.prior.tile
                    tiled = f", on tiles of {self.prior.tile} pixels"
                else:
                    outcome.failed[waiting.pop(0)] = (
                        f"memory ran out, on tiles of {self.prior.tile} pixels as well: make the "
                        "photo smaller"
                    )
        return broken


def _attempt(
    restore: Restore, part: Sequence[int], method: RestorationMethod
) -> tuple[Restoration | None, str, str, str]:
    """A restoration, or why it was refused, or why it failed and where; nothing if memory ran out.

    What becomes of it is decided by the caller, where an error no longer holds tensors.
    """
    try:
        return restore(part, method), "", "", ""
    except OutputError:
        raise
    except ValueError as error:
        return None, str(error), "", traceback.format_exc()
    except Exception as error:  # whatever one photo does, the others are restored
        if out_of_memory(error):
            return None, "", "", ""
        failure = f"a computation failed ({in_words(error)}){_place(error)}"
        return None, "", failure, traceback.format_exc()


def _sound(restoration: Restoration) -> list[bool]:
    """Which images are finite and explain their photos at all."""
    finite = restoration.x0.isfinite().flatten(1).all(1)
    found: list[bool] = (finite & (restoration.residual <= WORST_RESIDUAL)).tolist()
    return found


def _place(error: BaseException) -> str:
    """Where in code of one's own an error was raised; empty where it was raised in this package."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package in ("d2ir_pl", "numpy"):
            return ""
        if package != "torch":
            code = frame.f_code
            return f" in {code.co_name} of {code.co_filename}, line {line}"
    return ""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # PyTorch has a class of its own for CUDA's allocator alone: Apple's GPUs, CPUs and the
    # libraries of CUDA say it in words.
    text = str(error)
    return isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY)


def _free_memory() -> None:
    """Give back what no tensor holds any more, on the GPU as well."""
    gc.collect()
    with suppress(RuntimeError):  # it may run out of memory itself
        torch.cuda.empty_cache()

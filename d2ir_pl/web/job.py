"""The restoration of one visitor's photo, watched from the page and stopped by it."""

from __future__ import annotations

import gc
import logging
import queue
import shutil
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from d2ir_pl.errors import ImageError, UsageError
from d2ir_pl.image_io import Photo
from d2ir_pl.prediction.callbacks.progress import fraction_done
from d2ir_pl.restoration import Step
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.shipped.durations import in_time, seconds_of_looking
from d2ir_pl.web.order import Order, Plan, plan
from d2ir_pl.web.program import PageSettings, restore_file
from d2ir_pl.web.result import Result, degradation_picture, step_picture, without_folders

logger = logging.getLogger(__name__)

LONG = 3.0
"""Seconds from which a visitor is told how long it takes to look at a photo."""

EVERY = 10.0
"""Seconds without a step after which a visitor is told the time left."""

_worker = threading.Lock()
"""Held by the restoration that is computing: a stopped one may still be in its last step."""


class StoppedError(Exception):
    """The visitor has stopped the restoration, or has left."""


class RefusedError(Exception):
    """The photo cannot be restored; the message is one sentence for the visitor."""


@dataclass(frozen=True)
class View:
    """The restoration at a step, or before the first.

    Attributes:
        text: a line about the step.
        image: the image as it is now; None before the first step.
        picture: what the degradation looks like; None if it has no picture.
    """

    text: str
    image: Image.Image | None
    picture: Image.Image | None


class Job:
    """The restoration of a photo, in a thread of its own, exactly as `predict` does it.

    Args:
        order: what the visitor asks for.
        folder: an empty folder for everything about it.
        page: what all restorations have in common.
        usual: seconds that a pixel of the whole takes by such an order, where that was measured.

    Attributes:
        rate: the same, once a preview has ended; None otherwise.
        planned: how it is carried out; None before the photo was looked at.
        ended: whether it came to its end, with a result or a refusal, before it was stopped.
    """

    def __init__(
        self, order: Order, folder: Path, page: PageSettings, usual: float | None = None
    ) -> None:
        self.order = order
        self.folder = folder
        self.results = ResultFolder(folder / "results")
        self.reasons: tuple[str, ...] = ()
        self.planned: Plan | None = None
        self.begun = time.monotonic()
        self._page = page
        self._usual = usual
        self.rate: float | None = None
        self._expected: float | None = None
        self._restoring = 0.0
        self._original: Photo | None = None
        self._first_step: float | None = None
        self._done = self._latest = 0.0
        self._again = False
        self._secret = (order.photo, folder / "-", Path(page.prior))
        self._mask = folder / f"{order.photo.stem}-mask.png"
        self._views: queue.SimpleQueue[View | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._stopped = threading.Event()
        self.ended = False
        self._unwanted = False
        self._error: Exception | None = None

    @property
    def running(self) -> bool:
        """Whether the thread may still write to the folder."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Let the restoration end at its next step."""
        self._stopped.set()

    def wait(self, seconds: float) -> None:
        """Wait until nothing writes to the folder any more, at most for a time."""
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def discard(self) -> None:
        """Stop, and delete everything about it as soon as nothing writes there any more."""
        self.stop()
        self._unwanted = True
        if not self.running:
            shutil.rmtree(self.folder, ignore_errors=True)

    def watch(self) -> Generator[View, None, None]:
        """Restore the photo, and show it on the way; leaving the iterator stops the restoration.

        Raises:
            RefusedError: if the photo cannot be restored.
            StoppedError: if the restoration was stopped.
        """
        self._thread.start()
        try:
            while (view := self._next()) is not None:
                yield view
        finally:
            self.stop()
            self._thread.join()
            if self._unwanted:
                self.discard()
        if self._unwanted or not self.ended:
            raise StoppedError
        if self._error is not None:
            raise self._error

    def _next(self) -> View | None:
        """What there is to show next: a step, or where none comes for long, the time left."""
        while True:
            try:
                return self._views.get(timeout=EVERY)
            except queue.Empty:
                if self._expected is not None and self._first_step is None:
                    left = self._expected - (time.monotonic() - self._restoring)
                    much = f"about {in_time(left)} left" if left > 0 else "longer than usual"
                    return View(f"Restoring: {much} (the first step takes long).", None, None)

    def result(self) -> Result:
        """What became of the photo, once the restoration has ended."""
        name = self.order.photo.name
        return Result(name, self.results, self.reasons, self._secret, self._original)

    def downloads(self) -> list[Path]:
        """Write the files for the visitor, and return their paths."""
        return self.result().downloads(self.folder / "download", self._mask)

    def _run(self) -> None:
        try:
            with _worker:
                self._restore()
        except (ImageError, UsageError) as error:
            # The visitor can help it: the photo or a setting is wrong.
            self._error = RefusedError(without_folders(str(error), self._secret))
        except StoppedError:
            pass
        except Exception as error:
            # The visitor cannot help it, and need not know what files there are.
            logger.exception("a restoration failed")
            self._error = RefusedError(
                f"the server failed ({type(error).__name__}): try again later"
            )
        finally:
            self.ended = not self._stopped.is_set()
            # The module with its network, the data and the trainer refer to each other.
            gc.collect()
            self._views.put(None)

    def _restore(self) -> None:
        self._require_going()
        if not self.order.photo.is_file():
            raise ImageError("the photo is no longer here: drop it again")
        planned = plan(self.order, self._page.max_pixels, self._mask, self._tell_of_looking)
        if planned.mask is not None:
            planned.mask.save(self._mask)
        self.reasons, self._original, self.planned = planned.reasons, planned.photo, planned
        self._tell_of_restoring(planned)
        # The noise depends on the name, so the copy has that of the photo.
        copy = self.folder / "inputs" / self.order.photo.name
        copy.parent.mkdir()
        shutil.copyfile(self.order.photo, copy)
        restore_file(
            copy,
            planned.photo,
            self.results.root,
            planned.model,
            self._page,
            self._observe,
            self.order.output,
        )
        self._require_going()
        record = self.result().record
        if record.status != "restored":
            raise ImageError(f"{self.order.photo.name}: {record.reason}")
        if planned.extent == "overview" and record.seconds is not None:
            self.rate = record.seconds * planned.cost / planned.photo.pixels[0].numel()

    def _tell_of_looking(self, photo: Photo) -> None:
        """Say how long it takes to look at a photo, where that is long."""
        self._require_going()
        seconds = seconds_of_looking(photo.pixels[0].numel())
        if seconds >= LONG:
            text = f"Looking at the photo, which takes about {in_time(seconds)}."
            self._views.put(View(text, None, None))

    def _tell_of_restoring(self, planned: Plan) -> None:
        """Say how long it takes to restore what there is, where that is long."""
        height, width = planned.photo.size
        pixels, usual = height * width, self._usual
        seconds = self._page.seconds(pixels) if usual is None else pixels * usual
        if seconds is not None and seconds >= LONG and not self.order.painted:
            self._restoring, self._expected = time.monotonic(), seconds
            text = f"Restoring {width}x{height} pixels, which takes about {in_time(seconds)}."
            self._views.put(View(text, None, None))

    def _require_going(self) -> None:
        """Raise StoppedError if the visitor has stopped the restoration."""
        if self._stopped.is_set():
            raise StoppedError

    def _observe(self, step: Step) -> None:
        self._require_going()
        if not self._views.empty():  # the page has not shown the last one yet
            return
        picture = None if self.order.fills else step.degradation.picture(step.phi)
        self._views.put(
            View(
                self._line(step),
                step_picture(step),
                None if picture is None else degradation_picture(picture[0]),
            )
        )

    def _line(self, step: Step) -> str:
        """A line about a step, and how long the rest may take."""
        now, done = time.monotonic(), fraction_done(step)
        where = f"step {step.index + 1} of {step.total}"
        if step.num_samples > 1:
            where += f", restoration {step.sample + 1} of {step.num_samples}"
        # A second opinion restores the photo again, from the first step on.
        back = done < self._latest
        self._again, self._latest = self._again or back, done
        text = f"Restoring{' once more, gently' if self._again else ''}: {done:.0%} done"
        if self._first_step is None or back:
            self._first_step, self._done = now, done
        elif done > self._done:
            left = (now - self._first_step) / (done - self._done) * (1 - done)
            text += f", about {in_time(left)} left"
        return f"{text} ({where})."

"""What the page shows of photos: when they are dropped, while they are restored, and at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from d2ir_pl.errors import ImageError, UsageError
from d2ir_pl.prediction.callbacks.progress import in_time
from d2ir_pl.web.bundle import Bundle
from d2ir_pl.web.job import Job, RefusedError, StoppedError
from d2ir_pl.web.markup import compared, surface
from d2ir_pl.web.order import PART, Order
from d2ir_pl.web.painting import strokes
from d2ir_pl.web.result import without_folders
from d2ir_pl.web.visitors import Visitors

Shown = tuple[Any, ...]
"""New values of `Fields.outputs`, in their order."""

HIDDEN = gr.update(visible=False)


def looked_at(visitors: Visitors, photos: list[str] | None) -> tuple[Any, ...]:
    """What the page shows of photos that were dropped.

    Returns:
        A line, the first photo to paint on, no strokes, and nothing in the place of results.
    """
    nothing = ("", HIDDEN, HIDDEN, HIDDEN, HIDDEN)
    if not photos:
        return "", HIDDEN, *nothing
    name = Path(photos[0]).name
    try:
        found, (height, width) = visitors.preview(Path(photos[0]))
    except ImageError as error:
        return without_folders(str(error), [Path(photos[0])]), HIDDEN, *nothing
    shown = gr.update(value=surface(found, name), visible=True)
    if photos[1:]:
        return f"{len(photos)} photos are ready.", shown, *nothing
    text = f"Ready: {width}x{height} pixels"
    seconds = visitors.seconds(height * width)
    if seconds is not None:
        text += f", about {in_time(seconds)} on this computer"
        if height * width > 4 * PART**2:
            part = visitors.seconds(PART**2) or 0
            text += f" (a part to try it on: {in_time(part)})"
    return f"{text}.", shown, *nothing


@dataclass(frozen=True)
class Wish:
    """What a visitor has typed and painted, which may be wrong.

    Attributes:
        photos: the uploaded files.
        noise: the noise, or nothing.
        painted: the strokes, as the page tells them.
        order: all else; its photo is none yet.
    """

    photos: Sequence[str]
    noise: str
    painted: str
    order: Order

    def orders(self) -> list[Order]:
        """An order for each photo.

        Raises:
            UsageError: if there is no photo, or something cannot be understood.
        """
        if not self.photos:
            raise UsageError("Drop a photo first.")
        try:
            sigma_y = float(self.noise.replace(",", ".")) if self.noise else None
        except ValueError:
            raise UsageError(
                f"The noise {self.noise!r} is no number: give one from 0 to 1, or none."
            ) from None
        # What is painted is painted on the first photo, and means nothing for others.
        painted = strokes(self.painted) if len(self.photos) == 1 else ()
        order = replace(self.order, sigma_y=sigma_y, painted=painted)
        photos = self.photos[:1] if order.part else self.photos
        return [replace(order, photo=Path(photo)) for photo in photos]


def ordered(wish: Wish, begin: Callable[[Order], Job]) -> Iterator[Shown]:
    """What the page shows of photos that are to be restored.

    Args:
        wish: what the visitor asks for.
        begin: begins a restoration.
    """
    try:
        orders = wish.orders()
    except UsageError as error:
        yield message(str(error))
        return
    if len(orders) == 1:
        yield from _restoration(begin(orders[0]))
    else:
        yield from _restorations(orders, begin)


def _restoration(job: Job) -> Iterator[Shown]:
    """What the page shows while a photo is restored, and at the end."""
    yield message("Looking at the photo.", paint=HIDDEN)
    try:
        for view in job.watch():
            yield (
                view.text,
                gr.update(value="\n".join(job.reasons), visible=bool(job.reasons)),
                *[HIDDEN] * 4,
                gr.update(value=view.image, visible=view.image is not None),
                gr.update(value=view.picture, visible=view.picture is not None),
            )
    except StoppedError:
        yield message("Stopped.")
        return
    except RefusedError as error:
        yield message(str(error))
        return
    yield _end(job, job.result().summary(), job.downloads())


def _restorations(orders: Sequence[Order], begin: Callable[[Order], Job]) -> Iterator[Shown]:
    """The same for several photos, one after the other, with one file to download."""
    failed: list[str] = []
    with Bundle() as bundle:
        for number, order in enumerate(orders, 1):
            job = begin(order)
            head = f"Photo {number} of {len(orders)}, {order.photo.name}"
            yield message(f"{head}: looking at it.", paint=HIDDEN)
            try:
                for view in job.watch():
                    live = gr.update(value=view.image, visible=view.image is not None)
                    yield f"{head}. {view.text}", *[gr.skip()] * 5, live, gr.skip()
            except StoppedError:
                yield message("Stopped.")
                return
            except RefusedError as error:
                failed.append(str(error))
                continue
            bundle.add(job.downloads())
            done = job
        count = len(orders) - len(failed)
        text = " ".join([f"{count} of {len(orders)} photos are restored.", *failed])
        if not count:
            yield message(text)
            return
        yield _end(done, text, [bundle.written(done.folder / "download")])


def _end(job: Job, text: str, files: Sequence[Path]) -> Shown:
    """What the page shows of a restored photo, or of the part on which that was tried."""
    result, part = job.result(), job.order.part
    whole, detail, share = result.before_and_after(), result.detail(), result.record.filled_in
    picture = None if job.order.fills else result.degradation()
    if part:
        detail, files = whole, ()
        text += " That is a part of the photo; Restore does the whole."
    about = "A part of it, pixel for pixel: before on the left, after on the right"
    return (
        text,
        gr.update(value="\n".join(job.reasons), visible=bool(job.reasons)),
        gr.update(value=[str(path) for path in files], visible=bool(files)),
        gr.update(
            value="" if part else compared(whole, "Before on the left, after on the right", share),
            visible=not part,
        ),
        gr.update(
            value="" if detail is None else compared(detail, about, share, exact=True),
            visible=detail is not None,
        ),
        gr.update(visible=True),
        gr.update(value=None, visible=False),
        gr.update(value=picture, visible=picture is not None),
    )


def message(text: str, paint: Any = None) -> Shown:
    """A line of text, and nothing else but the photo to paint on.

    Args:
        text: the line.
        paint: what becomes of that photo, which is shown if None.
    """
    empty = gr.update(value=None, visible=False)
    return text, *[HIDDEN] * 4, paint or gr.update(visible=True), empty, empty

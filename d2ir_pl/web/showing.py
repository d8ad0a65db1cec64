"""What the page shows of photos: when they are dropped, while they are restored, and at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from d2ir_pl.diagnosis.large import LARGE
from d2ir_pl.errors import ImageError, UsageError
from d2ir_pl.shipped.durations import COSTS, in_time
from d2ir_pl.web.bundle import Bundle
from d2ir_pl.web.extent import OVERVIEW, PART
from d2ir_pl.web.job import Job, RefusedError, StoppedError
from d2ir_pl.web.markup import compared, surface
from d2ir_pl.web.order import Order, Plan
from d2ir_pl.web.painting import strokes
from d2ir_pl.web.result import Comparison, without_folders
from d2ir_pl.web.visitors import Visitors

Shown = tuple[Any, ...]
"""New values of `Fields.outputs`, in their order."""

HIDDEN = gr.update(visible=False)


def looked_at(visitors: Visitors, photos: list[str] | None) -> tuple[Any, ...]:
    """What the page shows of photos that were dropped.

    Returns:
        A line, the first photo to paint on, no strokes, and nothing in the place of results.
    """
    nothing = ("", *[HIDDEN] * 5)
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
    return _ready(height, width, visitors.seconds), shown, *nothing


def _ready(height: int, width: int, usual: Callable[[int], float | None]) -> str:
    """A line about a photo that was dropped, and how long it will take."""
    pixels = height * width
    text = f"Ready: {width}x{height} pixels"
    if usual(pixels) is None:
        return f"{text}."

    def about(count: float) -> str:
        return in_time(usual(round(count)) or 0)

    if pixels <= LARGE:
        part = f" (a part: {about(PART**2)})" if pixels > PART**2 else ""
        return f"{text}, about {about(pixels)} on this computer{part}."
    return (
        f"{text}. Restore shows it at {OVERVIEW / 1e6:.0f} megapixels first, in about "
        f"{about(COSTS['fast'] * OVERVIEW)}; all of it takes about {about(pixels)} on this "
        f"computer (a part of it: {about(PART**2)})."
    )


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
        if order.extent == "part":
            return [replace(order, photo=Path(self.photos[0]))]
        if len(self.photos) > 1:
            order = replace(order, extent="whole")
        return [replace(order, photo=Path(photo)) for photo in self.photos]


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
                *[HIDDEN] * 5,
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
                    yield f"{head}. {view.text}", *[gr.skip()] * 6, live, gr.skip()
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
    """What the page shows of a restored photo, or of what stands for it."""
    result, planned = job.result(), job.planned
    assert planned is not None
    whole: Comparison | None = result.before_and_after()
    detail, share = result.detail(planned.mask), result.record.filled_in
    picture = None if job.order.fills else result.degradation()
    extent, found = planned.extent, result.found()
    if extent == "part":
        whole, detail = None, whole
        text += " That is a part of the photo; Restore the whole photo does all of it."
    elif extent == "overview":
        detail = None
        text += f" {_of_an_overview(planned, job.rate or 0)}"
    before = "Before on the left, after on the right"
    return (
        text,
        gr.update(value="\n".join(found), visible=bool(found)),
        gr.update(value=[str(path) for path in files], visible=extent == "whole"),
        gr.update(visible=extent != "whole"),
        _slider(whole, before, share),
        _slider(detail, f"A part of it, pixel for pixel: {before.lower()}", share, exact=True),
        gr.update(visible=True),
        gr.update(value=None, visible=False),
        gr.update(value=picture, visible=picture is not None),
    )


def _slider(shown: Comparison | None, about: str, share: float | None, exact: bool = False) -> Any:
    """Pictures before and after, or nothing."""
    text = "" if shown is None else compared(shown, about, share, exact)
    return gr.update(value=text, visible=shown is not None)


def _of_an_overview(planned: Plan, rate: float) -> str:
    """What is said of a photo that was made smaller before it was restored."""
    text = (
        "That is a preview, of the photo made smaller; Restore the whole photo does all "
        f"{planned.pixels / 1e6:.0f} megapixels, in about {in_time(rate * planned.pixels)}."
    )
    return f"{text} {planned.remark}".strip()


def message(text: str, paint: Any = None) -> Shown:
    """A line of text, and nothing else but the photo to paint on.

    Args:
        text: the line.
        paint: what becomes of that photo, which is shown if None.
    """
    empty = gr.update(value=None, visible=False)
    return text, *[HIDDEN] * 5, paint or gr.update(visible=True), empty, empty

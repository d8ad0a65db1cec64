"""The page: what a visitor sees and presses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from d2ir_pl.errors import ImageError
from d2ir_pl.image_io import Output
from d2ir_pl.web.bundle import Bundle
from d2ir_pl.web.fields import FORMATS, PRESETS, Fields, order_fields, picture_fields
from d2ir_pl.web.job import Job, RefusedError, StoppedError
from d2ir_pl.web.order import Order
from d2ir_pl.web.result import without_folders
from d2ir_pl.web.visitors import CACHE_SECONDS, Visitors

Shown = tuple[Any, ...]
"""New values of `Fields.outputs`, in their order."""


def page(visitors: Visitors) -> gr.Blocks:
    """The page, on which one photo is restored at a time and further visitors wait."""
    # Nothing is fetched from other servers: no fonts, no statistics.
    blocks: gr.Blocks = gr.Blocks(
        title="d2ir: blind image restoration",
        analytics_enabled=False,
        delete_cache=CACHE_SECONDS,
    )
    with blocks:
        gr.Markdown(
            "# Blind image restoration\nDrop photos, say what is wrong with them, restore them."
        )
        with gr.Row():
            with gr.Column(scale=1):
                asked = order_fields()
            with gr.Column(scale=2):
                fields = Fields(**asked, **picture_fields())
        _connect(blocks, fields, visitors)
    return blocks


def _connect(blocks: gr.Blocks, fields: Fields, visitors: Visitors) -> None:
    """Let the buttons do something, and a visitor who leaves make way."""

    def run(
        photos: list[str] | None,
        task: str,
        preset: str,
        noise: str | None,
        seed: float | None,
        strength: float,
        form: str,
        strip: bool,
        request: gr.Request,
    ) -> Iterator[Shown]:
        output = Output(FORMATS[form], strip_metadata=strip)
        chosen: dict[str, Any] = {"task": task, "preset": PRESETS[preset], "seed": int(seed or 0)}
        chosen |= {"strength": float(strength), "output": output}
        begin = partial(visitors.begin, str(request.session_hash))
        yield from _ordered(photos or [], noise or "", chosen, begin)

    def halt(request: gr.Request) -> Any:
        stopped = visitors.stop(str(request.session_hash))
        return "Stopped." if stopped else gr.skip()

    def leave(request: gr.Request) -> None:
        visitors.leave(str(request.session_hash))

    def enter(request: gr.Request) -> str:
        leave(request)
        return "Waiting for your turn."

    fields.photo.change(
        partial(_looked_at, visitors),
        fields.photo,
        [fields.status, fields.live],
        concurrency_limit=1,
        concurrency_id="preview",
        show_progress="hidden",
        api_visibility="private",
    )
    wait = fields.restore.click(
        enter,
        None,
        fields.status,
        queue=False,
        api_visibility="private",
    )
    event = wait.then(
        run,
        fields.inputs,
        fields.outputs,
        concurrency_limit=1,
        concurrency_id="restoration",
        show_progress="minimal",
        show_progress_on=fields.status,
        api_visibility="private",
    )
    fields.stop.click(
        halt, None, fields.status, queue=False, cancels=[event], api_visibility="private"
    )
    blocks.unload(leave)


def _looked_at(visitors: Visitors, photos: list[str] | None) -> tuple[str, Any]:
    """What the page shows of photos that were dropped: a line, and the first of them."""
    if not photos:
        return "", gr.update(value=None)
    try:
        found = visitors.preview(Path(photos[0]))
    except ImageError as error:
        return without_folders(str(error), [Path(photos[0])]), gr.update(value=None)
    ready = f"{len(photos)} photos are ready." if photos[1:] else "Ready."
    return ready, gr.update(value=found, visible=True)


def _ordered(
    photos: Sequence[str],
    noise: str,
    chosen: dict[str, Any],
    begin: Callable[[Order], Job],
) -> Iterator[Shown]:
    """What the page shows of photos that are to be restored as was chosen."""
    if not photos:
        yield _message("Drop a photo first.")
        return
    try:
        sigma_y = float(noise.replace(",", ".")) if noise else None
    except ValueError:
        yield _message(f"The noise {noise!r} is no number: give one from 0 to 1, or none.")
        return
    orders = [Order(Path(photo), sigma_y=sigma_y, **chosen) for photo in photos]
    if len(orders) == 1:
        yield from _restoration(begin(orders[0]))
    else:
        yield from _restorations(orders, begin)


def _restoration(job: Job) -> Iterator[Shown]:
    """What the page shows while a photo is restored, and at the end."""
    yield _message("Looking at the photo.")
    try:
        for view in job.watch():
            yield (
                view.text,
                gr.update(value="\n".join(job.reasons), visible=bool(job.reasons)),
                *[gr.update(visible=False)] * 3,
                gr.update(value=view.image, visible=True),
                gr.update(value=view.picture, visible=view.picture is not None),
            )
    except StoppedError:
        yield _message("Stopped.")
        return
    except RefusedError as error:
        yield _message(str(error))
        return
    yield _end(job, job.result().summary(), job.downloads())


def _restorations(orders: Sequence[Order], begin: Callable[[Order], Job]) -> Iterator[Shown]:
    """The same for several photos, one after the other, with one file to download."""
    failed: list[str] = []
    with Bundle() as bundle:
        for number, order in enumerate(orders, 1):
            job = begin(order)
            head = f"Photo {number} of {len(orders)}, {order.photo.name}"
            yield _message(f"{head}: looking at it.")
            try:
                for view in job.watch():
                    live = gr.update(value=view.image, visible=True)
                    yield f"{head}. {view.text}", *[gr.skip()] * 4, live, gr.skip()
            except StoppedError:
                yield _message("Stopped.")
                return
            except RefusedError as error:
                failed.append(str(error))
                continue
            bundle.add(job.downloads())
            done = job
        count = len(orders) - len(failed)
        text = " ".join([f"{count} of {len(orders)} photos are restored.", *failed])
        if not count:
            yield _message(text)
            return
        yield _end(done, text, [bundle.written(done.folder / "download")])


def _end(job: Job, text: str, files: Sequence[Path]) -> Shown:
    """What the page shows of a restored photo."""
    result = job.result()
    picture, detail = result.degradation(), result.detail()
    return (
        text,
        gr.update(value="\n".join(job.reasons), visible=bool(job.reasons)),
        gr.update(value=[str(path) for path in files], visible=True),
        gr.update(value=result.before_and_after(), visible=True),
        gr.update(value=detail, visible=detail is not None),
        gr.update(visible=False),
        gr.update(value=picture, visible=picture is not None),
    )


def _message(text: str) -> Shown:
    """A line of text, and nothing else."""
    empty = gr.update(value=None)
    return text, *[gr.update(visible=False)] * 4, empty, empty

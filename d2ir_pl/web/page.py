"""The page: what a visitor sees and presses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import gradio as gr

from d2ir_pl.errors import ImageError
from d2ir_pl.image_io import EXTENSIONS, Output
from d2ir_pl.web.bundle import Bundle
from d2ir_pl.web.job import Job, RefusedError, StoppedError
from d2ir_pl.web.order import Order
from d2ir_pl.web.result import without_folders
from d2ir_pl.web.visitors import CACHE_SECONDS, Visitors

TASKS = {
    "auto": "not known: look at the photo and choose",
    "blind_deblur": "blurred",
    "blind_deblur_anisotropic": "blurred, more in one direction",
    "blind_deblur_kernel": "shaken, or blurred in any way",
    "deblur_motion": "blurred by a straight motion",
    "deblur_defocus": "out of focus",
    "denoising": "noisy",
    "jpeg": "a poor JPEG",
    "low_light": "too dark",
    "faded": "faded, as an old print",
    "old_photo": "a small, soft, compressed copy: twice as large",
    "super_resolution_x4": "too small: four times as large",
    "super_resolution_aliased": "too small, with steps along its edges: four times as large",
    "super_resolution_blind": "too small and blurred",
    "inpainting": "damaged: black pixels are missing",
    "inpainting_sparse": "mostly missing: few pixels are not black",
    "colorization": "grey, to be coloured",
}
"""The shipped configs that need one photo and nothing else, and what is wrong with that photo."""

FORMATS = {
    "the kind of file that the photo is": "same",
    "JPEG": "jpeg",
    "PNG, which loses nothing": "png",
    "WebP": "webp",
    "TIFF": "tiff",
}
"""The choices of a kind of file, as `Output` calls them."""

PRESETS = {"usual": "", "fast": "fast", "best: mean of four restorations": "best"}
"""The choices of effort, and the shipped configs behind them."""

Buttons = list[Literal["download", "share", "fullscreen"] | gr.Button]
BUTTONS: Buttons = ["download", "fullscreen"]
"""Buttons of a picture. The one that is left out would upload it to another server."""

Shown = tuple[Any, ...]
"""New values of `Fields.outputs`, in their order."""


@dataclass(frozen=True)
class Fields:
    """What a visitor sees and presses."""

    photo: gr.File
    task: gr.Dropdown
    preset: gr.Dropdown
    sigma_y: gr.Textbox
    seed: gr.Number
    strength: gr.Slider
    form: gr.Dropdown
    strip: gr.Checkbox
    restore: gr.Button
    stop: gr.Button
    status: gr.Textbox
    reasons: gr.Textbox
    files: gr.File
    slider: gr.ImageSlider
    detail: gr.ImageSlider
    live: gr.Image
    picture: gr.Image

    @property
    def inputs(self) -> list[gr.components.Component]:
        """What an order is made of."""
        chosen = [self.task, self.preset, self.sigma_y, self.seed]
        return [self.photo, *chosen, self.strength, self.form, self.strip]

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What a restoration changes."""
        pictures = [self.slider, self.detail, self.live, self.picture]
        return [self.status, self.reasons, self.files, *pictures]


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
                asked = _order_fields()
            with gr.Column(scale=2):
                fields = Fields(**asked, **_picture_fields())
        _connect(blocks, fields, visitors)
    return blocks


def _order_fields() -> dict[str, Any]:
    """The column in which a visitor orders a restoration, and reads what became of it."""
    tasks = [(about, name) for name, about in TASKS.items()]
    fields: dict[str, Any] = {
        "photo": gr.File(
            label="Photos",
            file_count="multiple",
            file_types=sorted(EXTENSIONS),
            elem_id="photo",
            height=140,
        ),
        "task": gr.Dropdown(tasks, value="auto", label="What is wrong with it", elem_id="task"),
        "preset": gr.Dropdown(list(PRESETS), value="usual", label="Effort", elem_id="preset"),
    }
    fields["strength"] = gr.Slider(
        0,
        1,
        1,
        step=0.05,
        label="Strength: 1 restores all, less leaves some blur and grain",
        elem_id="strength",
    )
    fields["form"] = gr.Dropdown(
        list(FORMATS), value=next(iter(FORMATS)), label="Save as", elem_id="format"
    )
    fields["strip"] = gr.Checkbox(label="Leave out place and names from the file", elem_id="strip")
    with gr.Accordion("More", open=False):
        # A field for numbers would turn an empty one into 0.
        fields["sigma_y"] = gr.Textbox(
            label="Noise, 0 to 1 (empty: estimated)", max_lines=1, elem_id="noise"
        )
        fields["seed"] = gr.Number(label="Seed", value=0, precision=0)
    with gr.Row():
        fields["restore"] = gr.Button("Restore", variant="primary", elem_id="restore")
        fields["stop"] = gr.Button("Stop", variant="stop", elem_id="stop")
    fields["status"] = gr.Textbox(label="Status", lines=2, interactive=False, elem_id="status")
    fields["reasons"] = gr.Textbox(
        label="What was found", lines=4, interactive=False, visible=False, elem_id="why"
    )
    fields["files"] = gr.File(
        label="Download",
        file_count="multiple",
        interactive=False,
        visible=False,
        elem_id="files",
    )
    return fields


def _picture_fields() -> dict[str, Any]:
    """The column of pictures."""
    return {
        "slider": gr.ImageSlider(
            label="Before and after",
            interactive=False,
            visible=False,
            elem_id="slider",
            max_height=640,
        ),
        "detail": gr.ImageSlider(
            label="A part of it, pixel for pixel",
            interactive=False,
            visible=False,
            elem_id="detail",
            max_height=660,
        ),
        "live": gr.Image(
            label="The image now",
            interactive=False,
            elem_id="live",
            height=420,
            buttons=BUTTONS,
        ),
        "picture": gr.Image(
            label="The blur, or another degradation",
            interactive=False,
            elem_id="degradation",
            buttons=BUTTONS,
            height=240,
        ),
    }


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
        if not photos:
            yield _message("Drop a photo first.")
            return
        try:
            sigma_y = float(noise.replace(",", ".")) if noise else None
        except ValueError:
            yield _message(f"The noise {noise!r} is no number: give one from 0 to 1, or none.")
            return
        output = Output(FORMATS[form], strip_metadata=strip)  # type: ignore[arg-type]
        chosen = PRESETS[preset], sigma_y, int(seed or 0), float(strength), output
        orders = [Order(Path(photo), task, *chosen) for photo in photos]
        begin = partial(visitors.begin, str(request.session_hash))
        if len(orders) == 1:
            yield from _restoration(begin(orders[0]))
        else:
            yield from _restorations(orders, begin)

    def look(photos: list[str] | None) -> Any:
        try:
            found = visitors.preview(Path(photos[0])) if photos else None
        except ImageError as error:
            text = without_folders(str(error), [Path(photos[0])] if photos else [])
            return text, gr.update(value=None)
        ready = f"{len(photos or ())} photos are ready." if photos and photos[1:] else "Ready."
        return (ready if photos else ""), gr.update(value=found, visible=True)

    def halt(request: gr.Request) -> Any:
        stopped = visitors.stop(str(request.session_hash))
        return "Stopped." if stopped else gr.skip()

    def leave(request: gr.Request) -> None:
        visitors.leave(str(request.session_hash))

    def enter(request: gr.Request) -> str:
        leave(request)
        return "Waiting for your turn."

    fields.photo.change(
        look,
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

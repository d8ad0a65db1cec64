"""The page: what a visitor sees and presses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gradio as gr

from d2ir_pl.image_io import EXTENSIONS
from d2ir_pl.web.job import Job, RefusedError, StoppedError
from d2ir_pl.web.order import Order
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
    restore: gr.Button
    stop: gr.Button
    status: gr.Textbox
    reasons: gr.Textbox
    files: gr.File
    slider: gr.ImageSlider
    live: gr.Image
    picture: gr.Image

    @property
    def inputs(self) -> list[gr.components.Component]:
        """What an order is made of."""
        return [self.photo, self.task, self.preset, self.sigma_y, self.seed]

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What a restoration changes."""
        return [self.status, self.reasons, self.files, self.slider, self.live, self.picture]


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
            "# Blind image restoration\nDrop a photo, say what is wrong with it, restore it."
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
        "photo": gr.File(label="Photo", file_types=sorted(EXTENSIONS), elem_id="photo", height=140),
        "task": gr.Dropdown(tasks, value="auto", label="What is wrong with it", elem_id="task"),
        "preset": gr.Dropdown(list(PRESETS), value="usual", label="Effort", elem_id="preset"),
    }
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
        photo: str | None,
        task: str,
        preset: str,
        noise: str | None,
        seed: float | None,
        request: gr.Request,
    ) -> Iterator[Shown]:
        if photo is None:
            yield _message("Drop a photo first.")
            return
        try:
            sigma_y = float(noise.replace(",", ".")) if noise else None
        except ValueError:
            yield _message(f"The noise {noise!r} is no number: give one from 0 to 1, or none.")
            return
        order = Order(Path(photo), task, PRESETS[preset], sigma_y, int(seed or 0))
        yield from _restoration(visitors.begin(str(request.session_hash), order))

    def halt(request: gr.Request) -> Any:
        stopped = visitors.stop(str(request.session_hash))
        return "Stopped." if stopped else gr.skip()

    def leave(request: gr.Request) -> None:
        visitors.leave(str(request.session_hash))

    def enter(request: gr.Request) -> str:
        leave(request)
        return "Waiting for your turn."

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
                gr.update(visible=False),
                gr.update(visible=False),
                gr.update(value=view.image, visible=True),
                gr.update(value=view.picture, visible=view.picture is not None),
            )
    except StoppedError:
        yield _message("Stopped.")
        return
    except RefusedError as error:
        yield _message(str(error))
        return
    result = job.result()
    picture = result.degradation()
    yield (
        result.summary(),
        gr.update(value="\n".join(job.reasons), visible=bool(job.reasons)),
        gr.update(value=[str(path) for path in job.downloads()], visible=True),
        gr.update(value=result.before_and_after(), visible=True),
        gr.update(visible=False),
        gr.update(value=picture, visible=picture is not None),
    )


def _message(text: str) -> Shown:
    """A line of text, and nothing else."""
    hidden = gr.update(visible=False)
    return text, hidden, hidden, hidden, gr.update(value=None), gr.update(value=None)

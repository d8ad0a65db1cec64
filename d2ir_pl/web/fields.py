"""The fields of the page: what a visitor sees and presses, and what can be chosen there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr

from d2ir_pl.image_io import EXTENSIONS, Format

TASKS = {
    "auto": "not known: find it out",
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

FORMATS: dict[str, Format] = {
    "the kind of file that the photo is": "same",
    "JPEG": "jpeg",
    "PNG, which loses nothing": "png",
    "WebP": "webp",
    "TIFF": "tiff",
}
"""The choices of a kind of file, as `Output` calls them."""

PRESETS = {"usual": "", "fast": "fast", "best: mean of four restorations": "best"}
"""The choices of effort, and the shipped configs behind them."""

PAINTED = {
    "is filled in: scratches, stains, what should go": True,
    "alone is restored, and all else stays as it is": False,
}
"""The choices of what becomes of what is painted, and whether that is filled in."""

Buttons = list[Literal["download", "share", "fullscreen"] | gr.Button]
BUTTONS: Buttons = ["download", "fullscreen"]
"""Buttons of a picture. The one that is left out would upload it to another server."""


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
    strokes: gr.Textbox
    fill: gr.Radio
    restore: gr.Button
    attempt: gr.Button
    whole: gr.Button
    stop: gr.Button
    status: gr.Textbox
    reasons: gr.Textbox
    files: gr.File
    slider: gr.HTML
    detail: gr.HTML
    paint: gr.HTML
    live: gr.Image
    picture: gr.Image

    @property
    def inputs(self) -> list[gr.components.Component]:
        """What an order is made of."""
        chosen = [self.task, self.preset, self.sigma_y, self.seed]
        written = [self.strength, self.form, self.strip]
        return [self.photo, *chosen, *written, self.strokes, self.fill]

    @property
    def of_a_new_photo(self) -> list[gr.components.Component]:
        """What changes when photos are dropped."""
        results = [self.reasons, self.files, self.whole, self.slider, self.detail]
        return [self.status, self.paint, self.strokes, *results]

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What a restoration changes."""
        pictures = [self.slider, self.detail, self.paint, self.live, self.picture]
        return [self.status, self.reasons, self.files, self.whole, *pictures]


def order_fields() -> dict[str, Any]:
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
    fields["fill"] = gr.Radio(
        list(PAINTED),
        value=next(iter(PAINTED)),
        label="What you paint on the photo",
        elem_id="fill",
    )
    # The page's script writes there what was painted.
    fields["strokes"] = gr.Textbox(label="Strokes", visible="hidden", elem_id="strokes")
    with gr.Accordion("More", open=False):
        # A field for numbers would turn an empty one into 0.
        fields["sigma_y"] = gr.Textbox(
            label="Noise, 0 to 1 (empty: estimated)", max_lines=1, elem_id="noise"
        )
        fields["seed"] = gr.Number(label="Seed", value=0, precision=0)
    with gr.Row():
        fields["restore"] = gr.Button("Restore", variant="primary", elem_id="restore")
        fields["attempt"] = gr.Button("Try a part first", elem_id="attempt")
        fields["stop"] = gr.Button("Stop", variant="stop", elem_id="stop")
    fields["status"] = gr.Textbox(label="Status", lines=2, interactive=False, elem_id="status")
    fields["whole"] = gr.Button(
        "Restore the whole photo", variant="primary", visible=False, elem_id="whole"
    )
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


def picture_fields() -> dict[str, Any]:
    """The column of pictures."""
    return {
        "slider": gr.HTML(label="Before and after", visible=False, elem_id="slider"),
        "detail": gr.HTML(label="A part of it, pixel for pixel", visible=False, elem_id="detail"),
        "paint": gr.HTML(label="The photo", visible=False, elem_id="paint"),
        "live": gr.Image(
            label="The image now",
            interactive=False,
            elem_id="live",
            height=420,
            visible=False,
            buttons=BUTTONS,
        ),
        "picture": gr.Image(
            label="The blur, or another degradation",
            interactive=False,
            elem_id="degradation",
            visible=False,
            buttons=BUTTONS,
            height=240,
        ),
    }

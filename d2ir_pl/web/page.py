"""The page: what a visitor sees and presses."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import gradio as gr

from d2ir_pl.image_io import EXTENSIONS
from d2ir_pl.web.job import Job, Order, RefusedError, StoppedError
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
    "old_photo": "a small, soft, compressed copy: twice as large",
    "super_resolution_x4": "too small: four times as large",
    "super_resolution_blind": "too small and blurred",
    "inpainting": "damaged: black pixels are missing",
    "inpainting_sparse": "mostly missing: few pixels are not black",
    "colorization": "grey, to be coloured",
}
"""The shipped configs for one photo and nothing else, and what they are for."""

PRESETS = {"usual": "", "fast": "fast", "best: mean of four restorations": "best"}

Buttons = list[Literal["download", "share", "fullscreen"] | gr.Button]
BUTTONS: Buttons = ["download", "fullscreen"]
"""Of pictures: not the one that would upload them elsewhere."""

MAX_FILE_SIZE = "50mb"
"""Of a photo that is uploaded."""


Shown = tuple[Any, ...]
"""What is written to the outputs of the page, in their order."""


def page(visitors: Visitors) -> gr.Blocks:
    """The page, on which one photo is restored at a time and further visitors wait."""
    # Nothing is fetched from elsewhere: no fonts, no statistics.
    with gr.Blocks(
        title="d2ir: blind image restoration",
        analytics_enabled=False,
        delete_cache=CACHE_SECONDS,
    ) as blocks:
        gr.Markdown(
            "# Blind image restoration\nDrop a photo, say what is wrong with it, restore it."
        )
        with gr.Row():
            with gr.Column(scale=1):
                photo = gr.File(
                    label="Photo", file_types=sorted(EXTENSIONS), elem_id="photo", height=140
                )
                task = gr.Dropdown(
                    [(about, name) for name, about in TASKS.items()],
                    value="auto",
                    label="What is wrong with it",
                    elem_id="task",
                )
                preset = gr.Dropdown(list(PRESETS), value="usual", label="Effort", elem_id="preset")
                with gr.Accordion("More", open=False):
                    # A field for numbers would turn an empty one into 0.
                    sigma_y = gr.Textbox(
                        label="Noise, 0 to 1 (empty: estimated)", max_lines=1, elem_id="noise"
                    )
                    seed = gr.Number(label="Seed", value=0, precision=0)
                with gr.Row():
                    restore = gr.Button("Restore", variant="primary", elem_id="restore")
                    stop = gr.Button("Stop", variant="stop", elem_id="stop")
                status = gr.Textbox(label="Status", lines=2, interactive=False, elem_id="status")
                reasons = gr.Textbox(
                    label="What was found", lines=4, interactive=False, visible=False, elem_id="why"
                )
                files = gr.File(
                    label="Download",
                    file_count="multiple",
                    interactive=False,
                    visible=False,
                    elem_id="files",
                )
            with gr.Column(scale=2):
                slider = gr.ImageSlider(
                    label="Before and after",
                    interactive=False,
                    visible=False,
                    elem_id="slider",
                    max_height=640,
                )
                live = gr.Image(
                    label="The image now",
                    interactive=False,
                    elem_id="live",
                    height=420,
                    buttons=BUTTONS,
                )
                picture = gr.Image(
                    label="The blur, or another degradation",
                    interactive=False,
                    elem_id="degradation",
                    buttons=BUTTONS,
                    height=240,
                )
        outputs = [status, reasons, files, slider, live, picture]

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

        wait = restore.click(
            lambda: "Waiting for your turn.", None, status, queue=False, api_visibility="private"
        )
        event = wait.then(
            run,
            [photo, task, preset, sigma_y, seed],
            outputs,
            concurrency_limit=1,
            concurrency_id="restoration",
            show_progress="minimal",
            show_progress_on=status,
            api_visibility="private",
        )

        def halt(request: gr.Request) -> Any:
            stopped = visitors.stop(str(request.session_hash))
            return "Stopped." if stopped else gr.skip()

        stop.click(halt, None, status, queue=False, cancels=[event], api_visibility="private")

        def leave(request: gr.Request) -> None:
            visitors.leave(str(request.session_hash))

        blocks.unload(leave)
    return blocks


def launch(blocks: gr.Blocks, host: str, port: int) -> str:
    """Serve the page in a thread of its own, and return its address.

    Args:
        blocks: the page.
        host: address to listen on.
        port: of it; 0 for any that is free.

    Raises:
        OSError: if that is impossible.
    """
    with socket.socket() as probe:  # Gradio's own message is about an environment variable
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        port = probe.getsockname()[1]
    blocks.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        max_file_size=MAX_FILE_SIZE,
        footer_links=[],
        ssr_mode=False,
        # Fonts of the visitor's own: nothing is fetched from elsewhere.
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
    )
    return f"http://{host}:{port}"


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
    picture = job.degradation()
    yield (
        job.summary(),
        gr.update(value="\n".join(job.reasons), visible=bool(job.reasons)),
        gr.update(value=[str(path) for path in job.downloads()], visible=True),
        gr.update(value=job.before_and_after(), visible=True),
        gr.update(visible=False),
        gr.update(value=picture, visible=picture is not None),
    )


def _message(text: str) -> Shown:
    """A line of text, and nothing else."""
    hidden = gr.update(visible=False)
    return text, hidden, hidden, hidden, gr.update(value=None), gr.update(value=None)

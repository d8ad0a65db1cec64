"""The page: what a visitor sees and presses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from d2ir_pl.image_io import Output
from d2ir_pl.web.extent import Extent
from d2ir_pl.web.fields import FORMATS, PAINTED, PRESETS, Fields, order_fields, picture_fields
from d2ir_pl.web.order import Order
from d2ir_pl.web.showing import Shown, Wish, looked_at, ordered
from d2ir_pl.web.visitors import CACHE_SECONDS, Visitors


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

    def halt(request: gr.Request) -> Any:
        stopped = visitors.stop(str(request.session_hash))
        return "Stopped." if stopped else gr.skip()

    def leave(request: gr.Request) -> None:
        visitors.leave(str(request.session_hash))

    def enter(request: gr.Request) -> str:
        visitors.clear(str(request.session_hash))
        visitors.ask(str(request.session_hash))
        return "Waiting for your turn."

    fields.photo.change(
        _look(visitors),
        fields.photo,
        fields.of_a_new_photo,
        concurrency_limit=1,
        concurrency_id="preview",
        show_progress="hidden",
        api_visibility="private",
    )
    # A large photo is shown as a whole, smaller, before it is restored in full.
    buttons: list[tuple[gr.Button, Extent]] = [
        (fields.restore, "overview"),
        (fields.attempt, "part"),
        (fields.whole, "whole"),
    ]
    events = [
        button.click(
            enter,
            None,
            fields.status,
            queue=False,
            api_visibility="private",
        ).then(
            _run(visitors, extent),
            fields.inputs,
            fields.outputs,
            concurrency_limit=1,
            concurrency_id="restoration",
            show_progress="minimal",
            show_progress_on=fields.status,
            api_visibility="private",
        )
        for button, extent in buttons
    ]
    # In the queue, so that its answer comes behind the last picture that is on its way.
    fields.stop.click(
        halt,
        None,
        fields.status,
        concurrency_limit=None,
        show_progress="hidden",
        cancels=events,
        api_visibility="private",
    )
    # In the browser alone: people who do not see the page hear what the status says.
    fields.status.change(
        None, fields.status, None, js="(text) => window.readOut(text)", api_visibility="private"
    )
    blocks.unload(leave)


def _look(visitors: Visitors) -> Callable[..., Shown]:
    """What the page does when photos are dropped."""

    def look(photos: list[str] | None, request: gr.Request) -> Shown:
        visitor = str(request.session_hash)
        asked = visitors.ask(visitor)
        line, surface, *others = looked_at(visitors, photos)
        if visitors.waits(visitor, asked):
            return line, surface, *others
        # What the visitor has asked for meanwhile is shown already.
        return gr.skip(), surface, *[gr.skip() for _ in others]

    return look


def _run(visitors: Visitors, extent: Extent) -> Callable[..., Iterator[Shown]]:
    """What a button does.

    Args:
        visitors: who is restoring what.
        extent: how much of a photo is restored.
    """

    def run(
        photos: list[str] | None,
        task: str,
        preset: str,
        noise: str | None,
        seed: float | None,
        strength: float,
        form: str,
        strip: bool,
        painted: str | None,
        fill: str,
        request: gr.Request,
    ) -> Iterator[Shown]:
        order = Order(
            Path(),
            task,
            PRESETS[preset],
            seed=int(seed or 0),
            strength=float(strength),
            output=Output(FORMATS[form], strip_metadata=strip),
            fill=PAINTED[fill],
            extent=extent,
        )
        wish = Wish(photos or [], noise or "", painted or "", order)
        visitor = str(request.session_hash)
        with visitors.showing(visitor):
            yield from ordered(wish, partial(visitors.begin, visitor))

    return run

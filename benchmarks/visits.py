"""Visits to the page of `serve` without a browser, and what the page keeps of them in memory.

    python -m benchmarks.visits
    python -m benchmarks.visits --count 1000

Each visit is one by a new visitor, who drops a tiny photo, has it restored, fetches the results
and leaves. Prints what the server has in memory after a tenth of them and at the end; the exit
status is 1 where that grew by more than `GROWTH`.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from benchmarks import tables

GROWTH = 0.03
"""Largest share by which memory may grow after the first tenth of the visits."""

FILLED = "is filled in: scratches, stains, what should go"
"""What the page is told that becomes of what is painted, of which there is nothing."""

LIMIT = 300
"""Seconds that one visit may take."""


@contextmanager
def served(*options: str) -> Iterator[tuple[str, int]]:
    """The address and the process number of a page that is served in a process of its own.

    Args:
        options: options of `serve`.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "d2ir_pl", "serve", "--port", str(port), *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        said = server.stdout.readline()
        assert said.startswith("Open http"), f"the page is not served: {said!r}"
        yield f"http://127.0.0.1:{port}", server.pid
    finally:
        server.terminate()
        server.wait(LIMIT)


def photo(number: int, side: int = 24) -> bytes:
    """A small PNG file, another one for every number."""
    pixels = np.random.default_rng(number).integers(60, 200, (side, side, 3), dtype=np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


class Visitor:
    """Someone who has opened the page.

    Args:
        client: a client whose base URL is the address of the page.
        session: what the page is told that the visitor is called; made up if empty.
    """

    def __init__(self, client: httpx.Client, session: str = "") -> None:
        self.client = client
        self.session = session or secrets.token_hex(5)
        self.config: dict[str, Any] = client.get("/config").raise_for_status().json()

    def function(self, inputs: int) -> int:
        """The number of the function with so many inputs that the page offers first."""
        found = (d["id"] for d in self.config["dependencies"] if len(d["inputs"]) == inputs)
        return int(next(found))

    def upload(self, content: bytes, name: str = "photo.png") -> str:
        """Where the page has put a file."""
        answer = self.client.post("/gradio_api/upload", files={"files": (name, content)})
        return str(answer.raise_for_status().json()[0])

    def order(self, path: str, task: str = "denoising", effort: str = "fast") -> dict[str, Any]:
        """The message that asks for the restoration of an uploaded file."""
        name = path.rpartition("/")[2]
        file = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": name}
        return {
            "data": [[file], task, effort, "", 0, 1, "PNG, which loses nothing", False, "", FILLED],
            "fn_index": self.function(10),
            "session_hash": self.session,
        }

    def join(self, message: dict[str, Any]) -> None:
        """Ask for something in the queue."""
        self.client.post("/gradio_api/queue/join", json=message).raise_for_status()

    def answers(self) -> Iterator[dict[str, Any]]:
        """What the page says of what was asked for."""
        asked = {"session_hash": self.session}
        with self.client.stream("GET", "/gradio_api/queue/data", params=asked) as stream:
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def restore(self, path: str, **how: str) -> list[str]:
        """Have an uploaded photo restored, and return the URLs of the files that the page offers.

        Args:
            path: where the page has put the photo.
            how: the `task` and the `effort`, as `order` takes them.
        """
        self.join(self.order(path, **how))
        last: dict[str, Any] = {}
        for message in self.answers():
            if message.get("msg") == "process_generating":
                last = message
        return sorted(set(_urls(last)))


def _urls(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        if isinstance(tree.get("url"), str):
            yield tree["url"]
        for value in tree.values():
            yield from _urls(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _urls(value)


def visit(client: httpx.Client, number: int) -> None:
    """One visit from the beginning to the end."""
    visitor = Visitor(client)
    alive = client.build_request("GET", f"/gradio_api/heartbeat/{visitor.session}")
    heartbeat = client.send(alive, stream=True)
    try:
        files = visitor.restore(visitor.upload(photo(number)))
        assert files, f"visit {number} has led to no files"
        for url in files:
            client.get(url).raise_for_status()
    finally:
        heartbeat.close()


def memory(process: int) -> float:
    """What a process has in memory, in MB."""
    pages = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    """Visit the page with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100, help="number of visits")
    options = parser.parse_args(arguments)
    sizes = []
    with (
        served("--accelerator", "cpu", "--precision", "32-true") as (address, process),
        httpx.Client(base_url=address, timeout=LIMIT) as client,
    ):
        begun = time.monotonic()
        for number in range(options.count):
            visit(client, number)
            sizes.append(memory(process))
            if number % 20 == 19:
                pace = (time.monotonic() - begun) / (number + 1)
                print(f"{number + 1}: {sizes[-1]:.0f} MB, {pace:.1f} s", file=sys.stderr)
    before, after = sizes[len(sizes) // 10], sizes[-1]
    print(tables.head("visits", "memory after a tenth, MB", "at the end, MB", "growth"))
    growth = after / before - 1
    print(tables.row(len(sizes), f"{before:.0f}", f"{after:.0f}", f"{growth:.1%}"))
    return 1 if growth > GROWTH else 0


if __name__ == "__main__":
    sys.exit(main())

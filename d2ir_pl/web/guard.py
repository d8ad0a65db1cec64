"""What stands before the page: which requests reach it, how large they may be, and what they leave.

A page that listens on this computer alone can still be asked by every other page that is open in
the same browser, also under a name of another server's that leads here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

MAX_FILE = 50_000_000
"""Largest size of an uploaded photo in bytes."""

MAX_UPLOAD = 10 * MAX_FILE
"""Most bytes of one request that brings photos."""

MAX_MESSAGE = 8_000_000
"""Most bytes of any other request."""

MAX_KEPT = 4_000_000_000
"""Most bytes that uploads, and what is shown of them, take on the disk until they are deleted."""

QUIET = 60.0
"""Seconds after which an upload is given up that brings nothing more."""

LONGEST = 1800.0
"""Seconds that an upload may take."""

ALLOWED = re.compile(
    r"GET /(|config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)"
    r"|GET /(assets|static|svelte)/.*"
    r"|GET /gradio_api/(startup-events|upload_progress|queue/data|heartbeat/[\w-]+)"
    r"|GET /gradio_api/file=.*"
    r"|POST /gradio_api/(upload|cancel|reset|queue/join|run/predict)/?",
    re.DOTALL,
)
"""Requests of the page. Gradio answers others too, such as one that fetches other pages."""

HEADERS = {
    "content-security-policy": "frame-ancestors 'none'; base-uri 'self'; object-src 'none'; "
    "form-action 'self'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""What browsers are told with every answer: the page is in no frame of another one."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class Guard:
    """A layer of the server that answers what the page does not ask for itself.

    Args:
        app: what is behind it.
        own: names of this computer. Addresses of numbers need not be known, as no other server can
            be meant by them.
        names: further names under which the page is reached, such as that of a server in front of
            it, which may ask for the page under another name than it is asked for itself.
        files: the folder of files that are uploaded and shown.
    """

    def __init__(
        self, app: Application, own: Iterable[str], names: Iterable[str], files: Path
    ) -> None:
        self._app = app
        self._names = {name.lower().rstrip(".") for name in names}
        self._known = self._names | {name.lower().rstrip(".") for name in own}
        self._files = files
        self._uploading = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close"})  # the page has no other connections
        elif (refusal := self._refusal(scope)) is not None:
            await _answer(send, *refusal)
        elif _is_upload(scope):
            await self._upload(scope, receive, send)
        else:
            await self._pass(scope, _Body(receive, MAX_MESSAGE), send)

    def _refusal(self, scope: Message) -> tuple[int, str] | None:
        """The status and the sentence with which a request is refused; None if it is not."""
        headers = {key.decode("latin-1"): v.decode("latin-1") for key, v in scope["headers"]}
        host = headers.get("host", "")
        if not self._is_ours(host):
            return 421, (
                f"The page is not served as {host[:80]!r}: open it at its address, or add "
                "--name to d2ir serve with the name under which it is reached."
            )
        if self._is_foreign(scope["method"], host, headers):
            return 403, "Other pages may not use this one: open it itself."
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        path = scope["path"]
        if not ALLOWED.fullmatch(f"{method} {path}") or not self._may_read(path):
            return 404, "There is nothing here: the page is at /."
        length = headers.get("content-length", "0")
        most = MAX_UPLOAD if _is_upload(scope) else MAX_MESSAGE
        if not length.isdecimal() or len(length) > 15 or int(length) > most:
            return 413, f"That is too large: a request may have {most // 10**6} MB."
        return None

    def _is_foreign(self, method: str, host: str, headers: Mapping[str, str]) -> bool:
        """Whether a page of another server has a browser ask, other than by a link to this one."""
        origin = headers.get("origin")
        if origin is not None:
            asking = _parsed(origin)
            if asking.netloc.lower() != host.lower() and _name(asking) not in self._names:
                return True
        follows = method in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
        return headers.get("sec-fetch-site") in ("cross-site", "same-site") and not follows

    def _is_ours(self, host: str) -> bool:
        """Whether the page is meant by a name, which may have a port."""
        name = _name(_parsed(f"//{host}"))
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._known
        return True

    def _may_read(self, path: str) -> bool:
        """Whether a path asks for no file, or for one that the page has shown or got."""
        _, asked, name = path.partition("/gradio_api/file=")
        if not asked:
            return True
        place = Path(unquote(name))
        folders = (self._files, self._files.resolve())
        return ".." not in place.parts and any(place.is_relative_to(f) for f in folders)

    async def _upload(self, scope: Message, receive: Receive, send: Send) -> None:
        """Let photos come in, while there is room, and delete what was not brought to its end."""
        if self._size() > MAX_KEPT:
            await _answer(send, 507, "Too many photos lie here: try again in an hour.")
            return
        self._uploading += 1
        try:
            await self._pass(scope, _Body(receive, MAX_UPLOAD), send)
        finally:
            self._uploading -= 1
            self._sweep()

    async def _pass(self, scope: Message, body: _Body, send: Send) -> None:
        """Let a request through, of which nothing is said where it does not come to its end."""
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, body, _with_headers(sending))
        except Exception:
            if body.whole and body.fault is None:
                raise
        if body.fault is not None and not begun:
            await _answer(send, *body.fault)

    def _size(self) -> int:
        """Bytes that files take."""
        return sum(_size_of(path) for path in self._files.rglob("*"))

    def _sweep(self) -> None:
        """Delete half uploads. Whole ones lie in folders of their own."""
        old = time.time() - LONGEST - QUIET
        for path in self._files.glob("*"):
            try:
                if path.is_file() and (self._uploading == 0 or path.stat().st_mtime < old):
                    path.unlink()
            except OSError:  # the page has moved it meanwhile
                continue


class _Body:
    """What a request brings, which ends after so many bytes, and where nothing comes any more.

    Args:
        receive: function that waits for the next message of the connection.
        most: number of bytes that all messages may have.

    Attributes:
        whole: whether all of it has come.
        fault: the status and the sentence for what was given up; None where nothing was.
    """

    def __init__(self, receive: Receive, most: int) -> None:
        self.whole = False
        self.fault: tuple[int, str] | None = None
        self._receive = receive
        self._most = most
        self._end = time.monotonic() + LONGEST

    async def __call__(self) -> Message:
        """The next message of the connection, or its end."""
        if self.whole:  # what follows is the end of the connection, whenever it comes
            return await self._receive()
        patience = max(0.0, min(QUIET, self._end - time.monotonic()))
        try:
            message = await asyncio.wait_for(self._receive(), patience)
        except TimeoutError:
            self.fault = 408, "That was too slow: try again with a better connection."
            return {"type": "http.disconnect"}
        if message["type"] == "http.request":
            self._most -= len(message.get("body", b""))
            self.whole = not message.get("more_body", False)
            if self._most < 0:
                self.fault = 413, "That is too large."
                return {"type": "http.disconnect"}
        return message


def _with_headers(send: Send) -> Send:
    """The same with `HEADERS` in every answer."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            told = {key.encode(): value.encode() for key, value in HEADERS.items()}
            kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in told]
            message = {**message, "headers": [*kept, *told.items()]}
        await send(message)

    return sending


async def _answer(send: Send, status: int, sentence: str) -> None:
    """Answer with a sentence in plain text."""
    text = f"{sentence}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(text)).encode()),
        (b"connection", b"close"),
    ]
    send = _with_headers(send)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def _is_upload(scope: Message) -> bool:
    return bool(scope["method"] == "POST" and scope["path"].rstrip("/") == "/gradio_api/upload")


def _parsed(address: str) -> SplitResult:
    """The parts of an address, all empty where it is none."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def _name(address: SplitResult) -> str:
    return (address.hostname or "").rstrip(".")


def _size_of(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0

"""Which addresses a download may lead to, http and https alone, and how slow it may be."""

from __future__ import annotations

import http.client
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from d2ir_pl.console import plain
from d2ir_pl.errors import DownloadError

SCHEMES = ("http://", "https://")
"""With which the address of a file begins."""

PATIENCE_S, SLOWEST = 60.0, 1000.0
"""Seconds over which at least so many bytes a second have to arrive."""


class Pace:
    """How fast the bytes of a transfer arrive.

    Args:
        done: number of bytes that are there.
    """

    def __init__(self, done: int) -> None:
        self._since, self._before = time.monotonic(), done

    def too_slow(self, done: int) -> str:
        """The rate in words where it is hopeless; empty where it is not."""
        seconds, arrived = time.monotonic() - self._since, done - self._before
        if seconds <= PATIENCE_S:
            return ""
        self._since, self._before = time.monotonic(), done
        return f"{arrived / seconds:.0f} bytes a second" if arrived < SLOWEST * seconds else ""


def answered(ask: Callable[[], http.client.HTTPResponse]) -> http.client.HTTPResponse:
    """The answer of a server, the head of which may come a byte a second.

    Args:
        ask: function that returns once the head of the answer is there.

    Raises:
        TimeoutError: if that takes longer than `PATIENCE_S`.
        BaseException: what `ask` raises.
    """
    found: list[http.client.HTTPResponse] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(ask())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    if failed:
        raise failed[0]
    if not found:
        raise TimeoutError(f"no answer within {PATIENCE_S:.0f} s")
    return found[0]


def in_brief(said: object) -> str:
    """What a server has said, as part of a line in a terminal."""
    return " ".join(plain(str(said)).split())[:200]


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https alone, and from https to https alone."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        allowed = ("https://",) if req.full_url.lower().startswith("https:") else SCHEMES
        if not newurl.lower().startswith(allowed):
            raise DownloadError(
                f"{req.full_url} leads to {plain(newurl):.200}, which is not followed: check the "
                "address"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def opener() -> urllib.request.OpenerDirector:
    """What opens addresses of http and https, through a proxy where the environment names one."""
    made = urllib.request.OpenerDirector()
    for handler in (
        *(urllib.request.ProxyHandler(), urllib.request.HTTPHandler()),
        *(urllib.request.HTTPSHandler(), urllib.request.HTTPDefaultErrorHandler()),
        *(urllib.request.HTTPErrorProcessor(), _Redirects(), urllib.request.UnknownHandler()),
    ):
        made.add_handler(handler)
    return made

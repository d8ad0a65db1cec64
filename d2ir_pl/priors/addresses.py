"""Which addresses a download may lead to: http and https, wherever a server sends it."""

from __future__ import annotations

import urllib.request
from typing import Any

from d2ir_pl.console import plain
from d2ir_pl.errors import DownloadError

SCHEMES = ("http://", "https://")
"""With which the address of a file begins."""


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

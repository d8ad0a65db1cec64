"""Serving the page: at which address, and until when."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from d2ir_pl.errors import UsageError
from d2ir_pl.priors.memory import keep_freed_memory
from d2ir_pl.web.decoding import prepare
from d2ir_pl.web.guard import MAX_FILE, Guard
from d2ir_pl.web.markup import script, style
from d2ir_pl.web.program import PageSettings
from d2ir_pl.web.visitors import Visitors

if TYPE_CHECKING:
    from gradio import Blocks

SESSIONS = 100
"""Number of visitors of whom the server remembers what their page looks like."""


def serve_page(
    settings: PageSettings, host: str, port: int, max_waiting: int, names: Iterable[str] = ()
) -> None:
    """Serve the page until it is stopped by Ctrl-C or SIGTERM.

    Args:
        settings: what all restorations have in common.
        host: address to listen on.
        port: port to listen on.
        max_waiting: largest number of visitors in the queue.
        names: names under which others reach the page, beside its address.

    Raises:
        PriorError: if the prior cannot be loaded.
        UsageError: if Gradio is not installed, a setting is wrong, or the address cannot be used.
    """
    visitors = Visitors(settings)
    try:
        blocks, address = _opened(visitors, settings, host, port, max_waiting, names)
        signal.signal(signal.SIGTERM, _end)
        try:
            print(f"Open {address} in a browser; Ctrl-C ends it.", flush=True)
            if not is_local(host):
                print(_warning(host), file=sys.stderr, flush=True)
            blocks.block_thread()
        except KeyboardInterrupt:
            blocks.close()
    finally:
        visitors.close()


def _opened(
    visitors: Visitors,
    settings: PageSettings,
    host: str,
    port: int,
    max_waiting: int,
    names: Iterable[str],
) -> tuple[Blocks, str]:
    """The page, which is being served, and its address."""
    try:
        from d2ir_pl.web.page import page
    except ImportError as error:
        raise UsageError(
            f"the page needs Gradio ({error}): install it with pip install 'd2ir_pl[demo]'"
        ) from None
    keep_freed_memory()
    # Beside the check, as both take seconds.
    threading.Thread(target=prepare, daemon=True).start()
    settings.check()
    # No request goes past the queue to what is queued.
    blocks = page(visitors).queue(max_size=max_waiting, api_open=False)
    try:
        return blocks, launch(blocks, host, port, names)
    except OSError as error:
        raise UsageError(
            f"{host}:{port} cannot be served ({error}): choose another --host or --port"
        ) from None


def launch(blocks: Blocks, host: str, port: int, names: Iterable[str] = ()) -> str:
    """Serve the page in a thread of its own, and return its address.

    Args:
        blocks: the page.
        host: address to listen on.
        port: port to listen on; 0 for any that is free.
        names: names under which others reach the page, beside its address.

    Raises:
        OSError: if the address cannot be used.
    """
    # Gradio is an extra, and is imported only after `Visitors` has chosen its folder.
    from gradio.themes import Default
    from starlette.middleware import Middleware

    machine = socket.gethostname()
    guard = Middleware(
        Guard,
        own=["localhost", host, machine, f"{machine}.local"],
        names=list(names),
        files=Path(os.environ["GRADIO_TEMP_DIR"]),
    )

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
        max_file_size=MAX_FILE,
        state_session_capacity=SESSIONS,
        app_kwargs={"middleware": [guard]},
        footer_links=[],
        ssr_mode=False,
        # The visitor's own fonts, so that nothing is fetched from other servers.
        theme=Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css=style(),
        js=script(),
    )
    return " or ".join(f"http://{name}:{port}" for name in reachable(host))


def reachable(host: str) -> list[str]:
    """Names and addresses under which a browser finds a server that listens on an address.

    One that listens on all addresses has several: that of this computer for itself, and that in the
    network, as far as it is known.
    """
    try:
        every = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        every = not host
    if not every:
        return [f"[{host}]" if ":" in host else host]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent: it tells which address would send it
        return ["localhost", probe.getsockname()[0]]
    return ["localhost", socket.gethostname()]


def _warning(host: str) -> str:
    """Who can use a page that others reach."""
    who = "this computer" if host in ("", "0.0.0.0", "::") else host
    return f"Everyone who reaches {who} over the network can use it: there are no passwords."


def is_local(host: str) -> bool:
    """Whether only this computer reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _end(_number: int, _frame: object) -> None:
    raise SystemExit(0)

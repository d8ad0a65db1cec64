"""`serve`: a page in the browser that restores photos."""

from __future__ import annotations

import ipaddress
import signal
import sys

from d2ir_pl.commands.plain import PlainParser
from d2ir_pl.errors import UsageError
from d2ir_pl.priors.memory import keep_freed_memory
from d2ir_pl.web.visitors import Visitors


def serve(arguments: list[str]) -> int:
    """Serve the page until it is stopped."""
    parser = PlainParser(
        "d2ir serve",
        description="A page in the browser that restores photos. One is restored at a time, and "
        "further visitors wait. What they upload stays on this computer and is deleted.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address; 0.0.0.0 for all networks")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--prior", default="natural-small", help="as --model.prior of predict")
    parser.add_argument("--precision", default="auto", help="as --trainer.precision of predict")
    parser.add_argument("--accelerator", default="auto", help="as --trainer.accelerator of predict")
    parser.add_argument(
        "--max_pixels", type=int, default=4_000_000, help="most pixels of a photo (%(default)s)"
    )
    parser.add_argument(
        "--max_waiting", type=int, default=20, help="most visitors in the queue (%(default)s)"
    )
    options = parser.parse_args(arguments)
    for name in ("max_pixels", "max_waiting"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name} {getattr(options, name)} must be at least 1")
    if not 0 < options.port < 65536:
        raise UsageError(f"--port {options.port} must lie between 1 and 65535")
    shared = ["--model.prior", options.prior, "--trainer.precision", options.precision]
    shared += ["--trainer.accelerator", options.accelerator, "--trainer.devices", "1"]
    visitors = Visitors(shared, options.max_pixels)
    try:
        from d2ir_pl.web.page import launch, page
    except ImportError as error:
        raise UsageError(
            f"the page needs Gradio ({error}): install it with pip install 'd2ir_pl[demo]'"
        ) from None
    keep_freed_memory()
    visitors.try_options()
    blocks = page(visitors).queue(max_size=options.max_waiting)
    try:
        address = launch(blocks, options.host, options.port)
    except OSError as error:
        raise UsageError(
            f"{options.host}:{options.port} cannot be served ({error}): choose another --host or "
            "--port"
        ) from None
    signal.signal(signal.SIGTERM, _end)
    try:
        print(f"Open {address} in a browser; Ctrl-C ends it.", flush=True)
        if not _local(options.host):
            print(f"Everyone who reaches {options.host} can use it.", file=sys.stderr, flush=True)
        blocks.block_thread()
    except KeyboardInterrupt:
        blocks.close()
    finally:
        visitors.close()
    return 0


def _end(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def _local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

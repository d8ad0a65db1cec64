"""`serve`: a page in the browser that restores photos."""

from __future__ import annotations

from d2ir_pl.commands.plain import PlainParser
from d2ir_pl.errors import UsageError
from d2ir_pl.web.program import PageSettings
from d2ir_pl.web.serve import serve_page


def serve_parser() -> PlainParser:
    """The options of the command."""
    parser = PlainParser(
        "serve",
        description="A page in the browser that restores photos. One is restored at a time, and "
        "further visitors wait. What they upload stays on this computer and is deleted.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address; 0.0.0.0 for all networks")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        help="name under which others reach the page, such as photos.example.org; may be repeated",
    )
    usual = PageSettings()
    parser.add_argument("--prior", default=usual.prior, help="as --model.prior of predict")
    parser.add_argument(
        "--precision", default=usual.precision, help="as --trainer.precision of predict"
    )
    parser.add_argument(
        "--accelerator", default=usual.accelerator, help="as --trainer.accelerator of predict"
    )
    parser.add_argument(
        "--max_pixels",
        type=int,
        default=usual.max_pixels,
        help="most pixels of a photo (%(default)s)",
    )
    parser.add_argument(
        "--max_waiting", type=int, default=20, help="most visitors in the queue (%(default)s)"
    )
    return parser


def serve(arguments: list[str]) -> int:
    """Serve the page until it is stopped."""
    options = serve_parser().parse_args(arguments)
    for name in ("max_pixels", "max_waiting"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name} {getattr(options, name)} must be at least 1")
    if not 0 < options.port < 65536:
        raise UsageError(f"--port {options.port} must lie between 1 and 65535")
    settings = PageSettings(
        options.prior, options.precision, options.accelerator, options.max_pixels
    )
    serve_page(settings, options.host, options.port, options.max_waiting, options.name)
    return 0

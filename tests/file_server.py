"""A local HTTP server that can ignore ranges, drop connections and fail."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from d2ir_pl.priors.download import RemoteFile


class FileServer(ThreadingHTTPServer):
    """Serves `content` at /file and forwards /moved to it."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.honours_range = True
        self.announces_length = True
        self.body_limits: list[int] = []  # bytes after which the next responses break off
        self.stalls = False  # break off by silence instead of by closing the connection
        self.location = "/file"  # where /moved leads to
        self.failures: list[int] = []  # statuses with which the next requests are refused
        self.requested: list[str | None] = []  # Range header of every request
        self.released = threading.Event()

    def file(self, path: str = "/file", size: int = -1, sha256: str = "") -> RemoteFile:
        """The file with its true size and hash, where no others are given."""
        return RemoteFile(
            self.address(path),
            len(self.content) if size < 0 else size,
            sha256 or hashlib.sha256(self.content).hexdigest(),
        )

    def address(self, path: str = "/file") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.server.requested.append(wanted)
        if self.server.failures:
            return self.send_error(self.server.failures.pop(0))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", self.server.location)
            return self.end_headers()
        if self.path != "/file":
            return self.send_error(404)
        start, content = 0, self.server.content
        if wanted and self.server.honours_range:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                return self.end_headers()
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        if self.server.announces_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        limit = self.server.body_limits.pop(0) if self.server.body_limits else len(body)
        self.wfile.write(body[:limit])
        if self.server.stalls:
            self.server.released.wait(60)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep the test output clean."""


@contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    """A server of `content` while the context lasts."""
    with FileServer(content) as server, running(server):
        yield server
        server.released.set()


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[None]:
    """A server answers in a thread of its own while the context lasts."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield
    server.shutdown()
    thread.join()

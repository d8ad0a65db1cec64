"""A local server that answers as a model hub does, for a single model."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from file_server import running

COMMIT = "1" * 40


class HubServer(ThreadingHTTPServer):
    """Serves the files of a folder as the model `someone/tiny`, and knows no other."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.got: list[str] = []  # names of the files that were fetched

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: HubServer

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path, folder = self.path.partition("?")[0], self.server.folder
        names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        resolved = f"/someone/tiny/resolve/{COMMIT}/"
        if path.startswith("/api/models/someone/tiny/tree/"):
            sizes = {name: (folder / name).stat().st_size for name in names}
            files = [{"type": "file", "path": n, "oid": "1", "size": s} for n, s in sizes.items()]
            content = json.dumps(files).encode()
        elif path.startswith("/api/models/someone/tiny"):
            siblings = [{"rfilename": name} for name in names]
            about = {"id": "someone/tiny", "sha": COMMIT, "siblings": siblings}
            content = json.dumps(about).encode()
        elif (name := path.removeprefix(resolved)) in names:
            content = (folder / name).read_bytes()
            if body:
                self.server.got.append(name)
        else:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep the test output clean."""


@contextmanager
def hub(folder: Path) -> Iterator[HubServer]:
    """A hub while the context lasts."""
    with HubServer(folder) as server, running(server):
        yield server

"""Servers that answer for ever, or with anything but an answer."""

import socketserver
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from d2ir_pl.errors import DownloadError
from d2ir_pl.priors.download import RemoteFile, download


@pytest.mark.parametrize(
    ("said", "named"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", "no answer within 1 s"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 3, "no answer within 1 s"),
        (b"\xff\0\x1b[2J" * 9000, "connection"),
        (b"HTTP/1.1 500 " + b"\x1b[2J" * 9000 + b"\r\n\r\n", "connection"),
    ],
    ids=["in the head", "before it", "noise", "a long reason"],
)
def test_a_server_that_never_comes_to_the_point_is_given_up_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes, named: str
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("d2ir_pl.priors.addresses.PATIENCE_S", 1.0)
    monkeypatch.setattr("d2ir_pl.priors.download._RETRY_PAUSES_S", (0.01,))
    ended = threading.Event()

    class Slow(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            with suppress(OSError):
                self.request.sendall(said)
                while len(said) < 1000 and not ended.wait(0.1):
                    self.request.sendall(said[-1:] if said[-1:] == b" " else said[:25])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Slow) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/file"
        with pytest.raises(DownloadError, match=named) as error:
            download(RemoteFile(url, 9, "0" * 64), tmp_path / "weights.pt")
        ended.set()
        server.shutdown()
    assert len(str(error.value)) < 500
    assert not set(str(error.value)) & {"\x1b", "\0", "\n"}

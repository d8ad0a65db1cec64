"""Requests to the page that are not the page's own."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from d2ir_pl.web import guard
from d2ir_pl.web.program import PageSettings
from d2ir_pl.web.serve import launch, reachable
from d2ir_pl.web.visitors import Visitors

pytest.importorskip("gradio")
from benchmarks.visits import Visitor, photo

PAGE = PageSettings(precision="32-true", accelerator="cpu", max_pixels=128 * 128)
PATIENT = 30.0


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    from d2ir_pl.web.page import page

    visitors = Visitors(PAGE)
    blocks = page(visitors).queue(max_size=3, api_open=False)
    yield launch(blocks, "127.0.0.1", 0, ["photos.example.org"])
    blocks.close()
    visitors.close()


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=PATIENT) as client:
        yield client


def uploads(client: httpx.Client) -> Path:
    """The folder of what is uploaded, once the photo that shows it has come to its place."""
    place = Path(Visitor(client).upload(photo(0)))
    hangs = time.monotonic() + PATIENT
    while not place.is_file() and time.monotonic() < hangs:
        time.sleep(0.02)
    return place.parents[1]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]"}, 200),
        ({"Host": "192.0.2.7:7860"}, 200),
        ({"Host": "Photos.example.org."}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": "localhost.evil.example:80"}, 421),
        ({"Host": "[::1"}, 421),
        ({"Host": ""}, 421),
    ],
)
def test_a_name_of_another_server_is_refused(
    client: httpx.Client, headers: dict[str, str], status: int
) -> None:
    answer = client.get("/config", headers=headers)
    assert answer.status_code == status
    assert status == 200 or "open it at its address" in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://[::1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403),
        ({"Origin": "https://photos.example.org"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_pages_of_other_servers_cannot_bring_photos(
    client: httpx.Client, headers: dict[str, str], status: int
) -> None:
    folder = uploads(client)
    picture = photo(sum(map(ord, str(headers))))
    content = {"files": ("p.png", picture)}
    answer = client.post("/gradio_api/upload", files=content, headers=headers)
    assert answer.status_code == status
    # Other files may still come, of visits before.
    assert any(holds(path, picture) for path in folder.rglob("*")) == (status == 200)


def holds(path: Path, content: bytes) -> bool:
    """Whether it is a file, and still there, with that content."""
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def test_every_answer_forbids_frames(client: httpx.Client) -> None:
    for path in ("/", "/config", "/nothing", "/gradio_api/file=/etc/passwd"):
        headers = client.get(path).headers
        assert headers["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        *("/monitoring", "/gradio_api/runs", "/gradio_api/info", "/gradio_api/component_server"),
        *("/gradio_api/proxy=https://x.hf.space/", "/gradio_api/file=https://example.org/"),
        *(
            "/gradio_api/file=/etc/passwd",
            "/gradio_api/file=//etc/passwd",
            "/docs",
            "/openapi.json",
        ),
        *("/gradio_api/vibe-code", "/gradio_api/call/run", "/gradio_api/stream/x", "/login"),
    ],
)
def test_nothing_but_the_page_is_there(client: httpx.Client, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
        assert client.request(method, path).status_code in (404, 405)


def test_files_beside_those_of_the_page_are_not_there(client: httpx.Client) -> None:
    folder = uploads(client)
    shown = Visitor(client).upload(photo(5), "a b%2fü.png")
    assert client.get(f"/gradio_api/file={shown.replace('%', '%25')}").status_code == 200
    for path in (f"{folder}/../../etc/passwd", f"{folder}%2f..%2f..", str(folder.parent)):
        assert client.get(f"/gradio_api/file={path}").status_code == 404


def test_nobody_goes_past_the_queue(client: httpx.Client) -> None:
    visitor = Visitor(client)
    order = visitor.order(visitor.upload(photo(1)))
    for name in ("predict", "run", "0"):
        for message in (order, {**order, "event_id": "x"}, {**order, "session_hash": None}):
            answer = client.post(f"/gradio_api/run/{name}", json=message)
            assert answer.status_code == 404
    with ThreadPoolExecutor(12) as pool:
        joins = [
            pool.submit(client.post, "/gradio_api/queue/join", json={**order, "session_hash": n})
            for n in "abcdefghijkl"
        ]
    # One may be computing, and three wait.
    accepted = sum(join.result().status_code == 200 for join in joins)
    assert 1 <= accepted <= 5


def half(address: str, content: bytes, declared: int, **headers: str) -> socket.socket:
    """A connection that has brought a part of an upload."""
    host = address.removeprefix("http://")
    name, _, port = host.partition(":")
    connection = socket.create_connection((name, int(port)), timeout=PATIENT)
    lines = ["POST /gradio_api/upload HTTP/1.1", f"Host: {host}", f"Content-Length: {declared}"]
    lines += ["Content-Type: multipart/form-data; boundary=x"]
    lines += [f"{key}: {value}" for key, value in headers.items()]
    part = "--x\r\nContent-Disposition: form-data; name=files; filename=p.png\r\n\r\n"
    connection.sendall("\r\n".join([*lines, "", part]).encode() + content)
    return connection


def parts(folder: Path) -> list[Path]:
    """What lies beside the folders of whole uploads."""
    return [path for path in folder.iterdir() if path.is_file()]


def wait_until(condition: Any) -> None:
    end = time.monotonic() + PATIENT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_half_uploads_are_deleted_and_whole_ones_stay(
    client: httpx.Client, address: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = uploads(client)
    wait_until(lambda: not parts(folder))  # of uploads before
    whole = set(folder.rglob("*"))
    connections = [half(address, b"x" * 100_000, 10**6) for _ in range(3)]
    wait_until(lambda: len(parts(folder)) == 3)
    for connection in connections:
        connection.close()
    wait_until(lambda: not parts(folder))
    after = set(folder.rglob("*"))
    assert whole <= after
    # A picture of an earlier visit may have come in the meantime.
    new = [path.read_bytes() for path in after - whole if path.is_file()]
    assert not any(b"x" * 100 in content for content in new)
    assert "Traceback" not in capfd.readouterr().err


def test_an_upload_that_brings_nothing_more_is_given_up(
    client: httpx.Client, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "QUIET", 0.2)
    folder = uploads(client)
    connection = half(address, b"x" * 10, 10**6)
    assert b" 408 " in connection.recv(1000)
    connection.close()
    wait_until(lambda: not parts(folder))


def test_requests_are_limited_in_size(
    client: httpx.Client, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = uploads(client)
    for declared in (10**12, 10**30):
        connection = half(address, b"", declared)
        assert b" 413 " in connection.recv(1000) or declared == 10**30
        connection.close()
    monkeypatch.setattr(guard, "MAX_UPLOAD", 50_000)
    monkeypatch.setattr(guard, "MAX_MESSAGE", 1000)

    def chunks() -> Iterator[bytes]:
        yield b"--x\r\nContent-Disposition: form-data; name=files; filename=p.png\r\n\r\n"
        for _ in range(100):
            yield b"x" * 1000

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = client.post("/gradio_api/upload", content=chunks(), headers=kind)
    assert answer.status_code == 413
    assert not parts(folder)
    message = json.dumps({"data": ["x" * 2000], "fn_index": 0, "session_hash": "s"})
    assert client.post("/gradio_api/queue/join", content=message).status_code == 413
    monkeypatch.setattr(guard, "MAX_KEPT", 10)
    answer = client.post("/gradio_api/upload", files={"files": ("p.png", photo(3))})
    assert answer.status_code == 507
    assert "try again in an hour" in answer.text


def test_many_uploads_at_once_are_all_kept(client: httpx.Client) -> None:
    visitor = Visitor(client)
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(visitor.upload, map(photo, range(20, 40))))
    assert [Path(path).read_bytes() for path in paths] == [photo(n) for n in range(20, 40)]
    assert threading.active_count() < 100


def test_an_address_that_is_told_is_one_that_a_browser_finds() -> None:
    assert reachable("127.0.0.1") == ["127.0.0.1"]
    assert reachable("photos.example") == ["photos.example"]
    names = reachable("0.0.0.0")
    assert names[0] == "localhost"
    assert len(names) == 2
    assert "0.0.0.0" not in names

"""Downloads against a local HTTP server that can ignore ranges, drop connections and fail."""

import errno
import hashlib
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from file_server import FileServer, serving

from d2ir_pl.errors import DownloadError
from d2ir_pl.priors.download import RemoteFile, cache_dir, download

MODULE = sys.modules[download.__module__]
CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2
ATTEMPTS = 3


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(MODULE, "_RETRY_PAUSES_S", (0.01,) * (ATTEMPTS - 1))
    with serving(CONTENT) as server:
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "weights.pt"


def part_of(target: Path, content: bytes | None = None) -> Path:
    part = target.with_name(target.name + ".part")
    if content is not None:
        target.parent.mkdir(exist_ok=True)
        part.write_bytes(content)
    return part


@pytest.mark.parametrize("path", ["/file", "/moved"])
def test_file_arrives_complete_and_progress_ends_at_its_size(
    server: FileServer, target: Path, path: str
) -> None:
    seen: list[tuple[int, int]] = []
    assert download(server.file(path), target, progress=lambda *now: seen.append(now)) == target
    assert target.read_bytes() == CONTENT
    assert not part_of(target).exists()
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)


def test_resumption_requests_only_the_missing_bytes(server: FileServer, target: Path) -> None:
    part_of(target, CONTENT[:HALF])
    seen: list[tuple[int, int]] = []
    download(server.file(), target, progress=lambda *now: seen.append(now))
    assert target.read_bytes() == CONTENT
    assert server.requested == [f"bytes={HALF}-"]
    assert seen[0] == (HALF, len(CONTENT))


def test_server_that_ignores_ranges_is_read_from_the_start(
    server: FileServer, target: Path
) -> None:
    server.honours_range = False
    part_of(target, b"x" * HALF)
    download(server.file(), target)
    assert target.read_bytes() == CONTENT


def test_unsatisfiable_range_starts_over(server: FileServer, target: Path) -> None:
    server.failures = [416]
    part_of(target, b"x" * HALF)
    download(server.file(), target)
    assert target.read_bytes() == CONTENT
    assert server.requested == [f"bytes={HALF}-", None]


def test_part_longer_than_the_file_starts_over(server: FileServer, target: Path) -> None:
    part_of(target, CONTENT + b"x")
    download(server.file(), target)
    assert target.read_bytes() == CONTENT
    assert server.requested == [None]


def test_truncated_transfer_is_kept_and_completed_by_the_next_call(
    server: FileServer, target: Path
) -> None:
    server.body_limits = [1000] * ATTEMPTS
    with pytest.raises(DownloadError, match="run again to resume from the 3000 bytes kept"):
        download(server.file(), target)
    assert part_of(target).read_bytes() == CONTENT[:3000]
    assert not target.exists()
    download(server.file(), target)
    assert target.read_bytes() == CONTENT
    assert server.requested[ATTEMPTS:] == ["bytes=3000-"]


@pytest.mark.slow
def test_silent_server_times_out_and_what_arrived_is_kept(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One attempt, whose patience a busy machine does not exhaust before the first bytes arrive.
    monkeypatch.setattr(MODULE, "_RETRY_PAUSES_S", ())
    monkeypatch.setattr(MODULE, "_TIMEOUT_S", 2.0)
    server.body_limits, server.stalls = [1000], True
    with pytest.raises(DownloadError, match=r"timed out.*run again to resume"):
        download(server.file(), target)
    assert part_of(target).read_bytes() == CONTENT[:1000]


def test_transient_drop_and_server_error_are_retried(server: FileServer, target: Path) -> None:
    server.failures, server.body_limits = [503], [HALF]
    download(server.file(), target)
    assert target.read_bytes() == CONTENT
    assert server.requested == [None, None, f"bytes={HALF}-"]


def test_wrong_hash_deletes_the_part_and_keeps_the_old_file(
    server: FileServer, target: Path
) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    expected = "0" * 64
    with pytest.raises(DownloadError, match=f"{SHA256} instead of {expected}"):
        download(server.file(sha256=expected), target)
    assert not part_of(target).exists()
    assert target.read_bytes() == b"old"
    download(server.file(), target)
    assert target.read_bytes() == CONTENT


def test_hash_covers_the_resumed_bytes(server: FileServer, target: Path) -> None:
    part_of(target, b"x" * HALF)
    with pytest.raises(DownloadError, match="SHA-256"):
        download(server.file(), target)
    assert not part_of(target).exists()
    assert not target.exists()


def test_offer_of_another_size_is_refused_and_costs_no_part(
    server: FileServer, target: Path
) -> None:
    server.honours_range = False
    part_of(target, b"abc")
    with pytest.raises(DownloadError, match=f"offers {len(CONTENT)} bytes instead of 7"):
        download(server.file(size=7), target)
    assert part_of(target).read_bytes() == b"abc"


def test_client_errors_are_not_retried(server: FileServer, target: Path) -> None:
    with pytest.raises(DownloadError, match=r"/missing answered HTTP 404 .*check the address"):
        download(server.file("/missing"), target)
    assert len(server.requested) == 1


def test_refused_connection_names_the_address(server: FileServer, target: Path) -> None:
    remote = server.file()
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match=f"{remote.url} .*refused.*network connection"):
        download(remote, target)


def test_other_schemes_are_refused(target: Path) -> None:
    with pytest.raises(DownloadError, match="http or https"):
        download(RemoteFile("file:///etc/hostname", 1, SHA256), target)


def test_unwritable_folder_is_named(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sealed"
    folder.mkdir(mode=0o500)
    open_file = Path.open

    def sealed(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.parent == folder:  # root may write everywhere
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", sealed)
    with pytest.raises(DownloadError, match=f"{folder}.*Permission denied.*can write to"):
        download(server.file(), folder / "weights.pt")


def test_folder_that_is_a_file_is_named(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(DownloadError, match=f"{tmp_path / 'taken'}.*choose a folder"):
        download(server.file(), tmp_path / "taken" / "weights.pt")


def test_full_disk_is_noticed_before_the_transfer(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free=10))
    with pytest.raises(DownloadError, match=f"10 bytes free.*needs {len(CONTENT)}"):
        download(server.file(), target)
    assert server.requested == []


def test_complete_file_is_not_requested_again(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    assert download(server.file(), target) == target
    assert server.requested == []


# ---- Files of which size and hash are not published ----


def test_length_is_what_the_server_announces(server: FileServer, target: Path) -> None:
    seen: list[tuple[int, int]] = []
    remote = RemoteFile(server.address())
    download(remote, target, progress=lambda *now: seen.append(now))
    assert target.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_short_transfer_of_unknown_length_is_noticed_and_completed(
    server: FileServer, target: Path
) -> None:
    server.body_limits = [1000] * ATTEMPTS
    remote = RemoteFile(server.address())
    with pytest.raises(DownloadError, match=r"stopped at 3000 bytes .*resume from the 3000"):
        download(remote, target)
    download(remote, target)
    assert target.read_bytes() == CONTENT
    assert server.requested[ATTEMPTS:] == ["bytes=3000-"]


def test_complete_part_of_unknown_length_costs_no_second_transfer(
    server: FileServer, target: Path
) -> None:
    part_of(target, CONTENT)
    download(RemoteFile(server.address()), target)
    assert target.read_bytes() == CONTENT
    assert server.requested == [f"bytes={len(CONTENT)}-"]


def test_part_longer_than_what_is_announced_starts_over(server: FileServer, target: Path) -> None:
    part_of(target, CONTENT + b"x")
    download(RemoteFile(server.address()), target)
    assert target.read_bytes() == CONTENT
    assert server.requested == [f"bytes={len(CONTENT) + 1}-", None]


def test_unannounced_length_is_refused(server: FileServer, target: Path) -> None:
    server.announces_length = False
    with pytest.raises(DownloadError, match="does not say how long the file is"):
        download(RemoteFile(server.address()), target)
    assert not target.exists()


def test_known_length_is_compared_where_no_hash_is_known(server: FileServer, target: Path) -> None:
    remote = RemoteFile(server.address(), len(CONTENT) + 1)
    with pytest.raises(DownloadError, match=f"offers {len(CONTENT)} bytes instead of"):
        download(remote, target)
    part_of(target, CONTENT)
    with pytest.raises(DownloadError, match=f"offers {len(CONTENT)} bytes instead of"):
        download(remote, target)


def test_content_with_a_problem_is_deleted_and_keeps_the_old_file(
    server: FileServer, target: Path
) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    remote = RemoteFile(server.address())
    with pytest.raises(DownloadError, match="/file is no model and was deleted: run again"):
        download(remote, target, problem=lambda path: "is no model")
    assert not part_of(target).exists()
    assert target.read_bytes() == b"old"


def test_a_file_with_a_problem_is_replaced_and_one_without_is_kept(
    server: FileServer, target: Path
) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    remote = RemoteFile(server.address())

    def problem(path: Path) -> str | None:
        return None if path.read_bytes() == CONTENT else "is another file"

    for _ in range(2):
        download(remote, target, problem=problem)
        assert target.read_bytes() == CONTENT
    assert len(server.requested) == 1


def test_a_published_hash_is_all_that_counts(server: FileServer, target: Path) -> None:
    download(server.file(), target, problem=lambda path: "is no model")
    assert target.read_bytes() == CONTENT


# ---- Around the transfer ----


def test_second_process_is_told_of_the_first(server: FileServer, target: Path) -> None:
    hold = (
        "import fcntl, sys; lock = open(sys.argv[1], 'wb'); fcntl.lockf(lock, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.read()"
    )
    target.parent.mkdir()
    command = [sys.executable, "-c", hold, f"{target}.lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(DownloadError, match=f"another process is downloading {target}"):
            download(server.file(), target)
        assert server.requested == []
        first.communicate()
    download(server.file(), target)
    assert target.read_bytes() == CONTENT


def test_cache_dir_prefers_its_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D2IR_CACHE", "/own")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_dir() == Path("/own")
    monkeypatch.delenv("D2IR_CACHE")
    assert cache_dir() == Path("/xdg/d2ir_pl")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "d2ir_pl"


# ---- Redirects that lead elsewhere, and servers that never end ----


@pytest.mark.parametrize(
    "location",
    [
        *("ftp://127.0.0.1/x", "file:///etc/passwd", "http://[", "http://[::1", "//", "http:///x"),
        *("http://127.0.0.1:port/x", "http://127.0.0.1:99999999/x", "data:,x", "http://a b/\x1b"),
    ],
)
def test_a_redirect_to_no_usable_address_is_one_sentence(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    monkeypatch.setattr(server, "location", location)
    with pytest.raises(DownloadError, match=r"address|connection") as error:
        download(server.file("/moved"), target)
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)
    assert not target.exists()


def test_a_transfer_of_a_byte_a_second_is_given_up(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr(MODULE, "_CHUNK_BYTES", 1)
    monkeypatch.setattr(MODULE.time, "monotonic", lambda: float(next(clock)))
    with pytest.raises(DownloadError, match="1 bytes a second"):
        download(server.file(), target)
    assert 0 < part_of(target).stat().st_size < 1000

"""Programs of tests in processes of their own, which have imported the package already.

Python needs some ten seconds to import PyTorch and Lightning. A template process does so once; each
program is a fork of it, which runs a script as its own main program, has a number, signals and an
exit status of its own, and shares nothing with others. Processes that a program starts itself, as
Lightning starts one for each further device, are not forks, unless the program has spare ones:
children that were forked before it began, and become the processes of Python that it starts.
"""

import contextlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""Of all programs, which share the cores with the tests."""

MOST_BYTES = 1 << 20
"""Length of a request, at most."""


class Program:
    """A program that has been started, with what tests use of `subprocess.Popen`.

    Attributes:
        pid: number of its process.
        returncode: its exit status, or the negative number of the signal that has ended it; None
            while it runs or nobody has asked.
    """

    def __init__(self, status: int) -> None:
        self._status = os.fdopen(status, "rb")
        self.pid = int(self._status.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status, if it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, once it has ended."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self.returncode = int(self._status.readline())
            self._status.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class Programs:
    """Starts programs as forks of a process that has imported the package."""

    def __init__(self) -> None:
        self._here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, __file__, str(there.fileno())]
        self._template = subprocess.Popen(
            command, env={**os.environ, **ONE_THREAD}, pass_fds=[there.fileno()]
        )
        there.close()

    def __enter__(self) -> "Programs":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._here.close()
        self._template.wait()

    def start(
        self,
        arguments: Sequence[object],
        stdout: IO[Any],
        stderr: IO[Any],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        spare: int = 0,
    ) -> Program:
        """Start what `python ARGUMENTS` runs: a script, or `-m` and a module, and its options.

        Args:
            arguments: what would follow `python`.
            stdout: open file or pipe that it prints to.
            stderr: open file or pipe for its errors.
            env: its variables; those of this process without it.
            cwd: its working directory; that of this process without it.
            spare: how many of the processes of Python that it starts itself are forks too.
        """
        variables = {**(os.environ if env is None else env), **ONE_THREAD}
        request = [list(map(str, arguments)), variables, str(cwd or Path.cwd()), spare]
        status, far = os.pipe()
        descriptors = [stdout.fileno(), stderr.fileno(), far]
        socket.send_fds(self._here, [json.dumps(request).encode()], descriptors)
        os.close(far)
        return Program(status)

    def run(
        self,
        arguments: Sequence[object],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 600,
        spare: int = 0,
    ) -> "subprocess.CompletedProcess[str]":
        """Run what `python ARGUMENTS` runs, with one thread, and return what it said.

        Raises:
            subprocess.TimeoutExpired: if it takes longer than so many seconds; it is killed then.
        """
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            program = self.start(arguments, stdout, stderr, env, cwd, spare)
            try:
                status = program.wait(timeout)
            finally:
                program.kill()
            said = []
            for file in (stdout, stderr):
                file.seek(0)
                said.append(file.read().decode())
        return subprocess.CompletedProcess(list(map(str, arguments)), status, *said)


def serve(requests: socket.socket) -> Callable[[], object] | None:
    """Fork for every request; returns what to run in each fork, and None when no more will come."""
    import d2ir_pl.commands.foreword
    import d2ir_pl.commands.predict  # noqa: F401

    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, MOST_BYTES, 3)
        _reap(os.WNOHANG if request else 0)
        if not request:
            return None
        if os.fork() == 0:
            break
        for descriptor in descriptors:
            os.close(descriptor)
    requests.close()
    stdout, stderr, status = descriptors
    program = os.fork()
    if program:
        _wait(program, status)
    os.close(status)
    for descriptor, number in ((stdout, 1), (stderr, 2), (os.open(os.devnull, os.O_RDONLY), 0)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    arguments, variables, folder, spare = json.loads(request)
    return _spared(spare) or _main(arguments, variables, folder)


def _reap(options: int) -> None:
    """Take note of the processes that have waited for programs, and have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass


def _wait(program: int, status: int) -> None:
    """Write the number of a process, and how it has ended once it has."""
    os.write(status, f"{program}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
    os.write(status, f"{code}\n".encode())
    os._exit(0)


def _spared(count: int) -> Callable[[], object] | None:
    """Fork spare processes; returns what one of them is to run, and None in the program itself."""
    spares: list[tuple[int, int]] = []
    for _ in range(count):
        near, far = os.pipe()
        number = os.fork()
        if number == 0:
            for _, other in [*spares, (0, far)]:
                os.close(other)
            with os.fdopen(near, "rb") as pipe:
                asked = pipe.read()
            if not asked:  # the program has ended, and has not started it
                os._exit(0)
            return _main(*json.loads(asked))
        os.close(near)
        spares.append((number, far))
    usual = subprocess.Popen._execute_child  # type: ignore[attr-defined]

    def execute(self: Any, args: Any, *rest: Any) -> None:
        """Start a process of Python, with the options that Lightning and torchrun give."""
        if not spares or args[0] != sys.executable:
            usual(self, args, *rest)
            return
        cwd, env = rest[4], rest[5]
        self.pid, far = spares.pop()
        self._child_created = True
        words = [word for word in args[1:] if word != "-u"]
        with os.fdopen(far, "wb") as pipe:
            pipe.write(json.dumps([words, dict(env or os.environ), cwd or os.getcwd()]).encode())

    subprocess.Popen._execute_child = execute  # type: ignore[attr-defined]
    return None


def _main(arguments: list[str], variables: Mapping[str, str], folder: str) -> Callable[[], object]:
    """What Python does with arguments, which become those of the program."""
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    tempfile.tempdir = None  # which libraries may have asked for with other variables
    if arguments[0] == "-m":
        sys.argv, sys.path[0] = arguments[1:], os.getcwd()
        return lambda: runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    sys.argv, sys.path[0] = arguments, str(Path(arguments[0]).resolve().parent)
    return lambda: runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    run = serve(socket.socket(fileno=int(sys.argv[1])))
    if run is not None:
        run()

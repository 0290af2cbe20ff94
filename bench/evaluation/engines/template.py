"""A process that has loaded the libraries, of which workers of one thread are copies.

Each worker would load the same libraries for seven seconds of a core. A template loads them once,
while the command still checks its input, and becomes a worker by a fork whenever one is asked for.
A fork copies one thread alone, so it is safe where there is no other: a template that has several
threads once everything is loaded says so and ends, and workers are started anew. It computes
nothing itself, so what workers compute has the bits that it has elsewhere.

A worker is made a child of the command, and not of the template, so that the command sees how it
ends; Linux alone can do that (`PR_SET_CHILD_SUBREAPER`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.system import devices, host, interrupts

# What workers of all kinds need; what is missing here, a worker misses when it needs it.
LOADED = (
    "diffusers.models.unets.unet_2d",
    "torch.export._trace",
    "bench.models.sources.weights_file",
    "bench.models.samplers.drawing",
    "bench.models.samplers.trajectories",
    "bench.evaluation.worker",
    "bench.quant.stored",
    "bench.quant.simulate",
    "bench.quant.kernels.agreement",
    "bench.quant.kernels.onednn",
    "bench.measurement.features.efficientnet",
)
AUTO, PROCESSES = "auto", "processes"
# Number of `man 2 prctl`.
SUBREAPER = 36
# What a new template runs, isolated as workers are (`bench.evaluation.engines.processes`).
START = (
    "import sys; sys.path[:] = sys.argv[3:]; "
    f"from {__name__} import serve; "
    "serve(int(sys.argv[1]), sys.argv[2].split(','))"
)
PAUSE = 0.01


class Forked:
    """A worker that a template became, by what `subprocess.Popen` says of one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, or the number of the signal that ended it, negative; None before."""
        if self._code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                # Somebody else has taken in how it ended.
                self._code = 1
            else:
                self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; subprocess.TimeoutExpired."""
        start = time.monotonic()
        while (code := self.poll()) is None:
            if timeout is not None and time.monotonic() - start > timeout:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(PAUSE)
        return code

    def terminate(self) -> None:
        """Ask it to end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        # A number that is not waited for is no other process's.
        if self.poll() is None:
            os.kill(self.pid, number)


class Template:
    """A template of this command's workers, which begins to load at once.

    Args:
        loaded: names of the modules.
    """

    def __init__(self, loaded: Sequence[str] = LOADED) -> None:
        self.socket, theirs = socket.socketpair()
        number = theirs.fileno()
        words = [sys.executable, "-I", "-c", START, str(number), ",".join(loaded), *paths()]
        with interrupts.held_back():
            self.process = subprocess.Popen(
                words, pass_fds=[number], stdin=subprocess.DEVNULL, env=environment(1)
            )
        theirs.close()

    def forked(self, connection: int) -> Forked | None:
        """A new worker at the other end of a connection, once everything is loaded; None where
        the template cannot give one.

        Args:
            connection: file descriptor that the worker has.
        """
        try:
            socket.send_fds(self.socket, [b"w"], [connection])
            answer = self.socket.recv(64)
        except OSError:
            return None
        return Forked(int(answer)) if answer else None

    def stop(self) -> None:
        """End it; its workers stay."""
        self.socket.close()
        self.process.kill()
        self.process.wait()


_made: list[Template] = []
# Whether the command may come to need one.
_state = {"expected": False}


@contextlib.contextmanager
def held() -> Iterator[None]:
    """End with the block the template that was begun in it."""
    try:
        yield
    finally:
        _state["expected"] = False
        _end()


def expect(engine: str, device: str) -> None:
    """Say what runs the command, so that a template may be begun.

    Args:
        engine: that the command names, perhaps auto.
        device: where its workers evaluate networks.
    """
    _state["expected"] = engine == AUTO or _is_fit(engine, device)


def begin() -> None:
    """Begin a template where one is expected: the command comes to what takes long itself."""
    if _state["expected"] and (host.given_threads() or 1) == 1 and host.cores() > 1:
        _begin()


def prepare(engine: str, device: str) -> None:
    """Begin a template for the engine that was chosen, or end one that it has no use for."""
    if _is_fit(engine, device) and host.threads() == 1:
        _begin()
    else:
        _end()


def prepared() -> Template | None:
    """The template that was begun, None where there is none or the threads are others now."""
    return _made[0] if _made and host.threads() == 1 else None


def _is_fit(engine: str, device: str) -> bool:
    name, _, count = engine.partition(":")
    return name == PROCESSES and count not in ("", "1") and device == devices.CPU


def _begin() -> None:
    if not _made and _takes_orphans():
        _made.append(Template())


def _end() -> None:
    while _made:
        _made.pop().stop()


def paths() -> list[str]:
    """What a new process imports from: this one's path, and where bench itself lies."""
    here = str(Path(__file__).parents[len(__name__.split(".")) - 1])
    return [*(os.path.abspath(path) for path in sys.path if path), here]


def environment(threads: int) -> dict[str, str]:
    """The variables of a new process of so many threads."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads)}


def _takes_orphans() -> bool:
    """Make this process the parent of those whose own has ended; whether the system does that."""
    if not sys.platform.startswith("linux"):
        return False
    with contextlib.suppress(OSError, AttributeError):
        return ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0) == 0
    return False


def serve(number: int, loaded: Sequence[str]) -> None:
    """Load, and become a worker whenever one is asked for, until nobody asks any more.

    Args:
        number: the file descriptor of the socket.
        loaded: names of the modules.
    """
    interrupts.end_at_once()
    asking = socket.socket(fileno=number)
    _load(loaded)
    if len(os.listdir("/proc/self/task")) > 1:
        return
    while True:
        said, received, _, _ = socket.recv_fds(asking, 1, 1)
        if not said:
            return
        (connection,) = received
        if _is_worker(asking):
            from bench.evaluation.engines import processes

            asking.close()
            processes.serve(connection)
            return
        os.close(connection)


def _is_worker(asking: socket.socket) -> bool:
    """Fork; True in the worker. One between both ends at once, so that the worker is an orphan."""
    if between := os.fork():
        os.waitpid(between, 0)
        return False
    between = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == between:
        time.sleep(PAUSE)
    asking.send(str(os.getpid()).encode())
    return True


def _load(loaded: Sequence[str]) -> None:
    from bench.system import freed_memory, quiet

    freed_memory.keep()
    quiet.load(loaded)

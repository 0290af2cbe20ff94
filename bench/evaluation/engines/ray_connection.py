"""How a command connects to a Ray cluster, and keeps its own terminal and signals."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

from bench.core.errors import InputError
from bench.core.printable import short

# Seconds that a cluster has to answer.
PATIENCE = 10.0


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """The library, connected to a cluster; as it is where the program is connected already.

    Args:
        address: "auto" for the cluster of this machine, "local" for a new one, or HOST:PORT.

    Raises:
        InputError: there is none.
    """
    import ray

    if ray.is_initialized():
        yield ray
        return
    # Else it reports to its makers over the network.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What it tells of dead workers it prints, to where data goes.
    with contextlib.redirect_stdout(sys.stderr):
        _connect(ray, address)
        try:
            yield ray
        finally:
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    """Connect to a cluster.

    Raises:
        InputError: there is none.
    """
    ends = signal.getsignal(signal.SIGTERM)
    try:
        _check_listens(address)
        ray.init(address, logging_level="ERROR", configure_logging=False, log_to_driver=False)
    except SystemExit:
        # Its own way to end a command, for as long as it connects.
        raise KeyboardInterrupt from None
    except Exception as error:
        text = " ".join(str(error).split())
        raise InputError(
            f"no Ray cluster at {address} ({short(text, 200)}): start one by `ray start --head`, "
            f"or take --engine ray:local"
        ) from None
    # It puts its own in the place of the command's.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, ends)


def _check_listens(address: str) -> None:
    """Make sure that somebody is there where a host is named, as Ray itself waits for minutes;
    OSError."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", address)
    host, separator, port = address.rpartition("//")[2].rpartition(":")
    if separator:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()

"""The disk: files that appear whole or not at all, and what an error of the disk means.

A file is written beside its target under a name of its own, brought to the disk, and renamed over
the target, so neither a killed process nor a power cut leaves half a file under a name that a
later process would trust. What a killed process leaves are files whose names say whose they are;
the next run removes them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.core.errors import InputError
from bench.system import surroundings

# Unfinished files and folders, ".bench-<process>-<random>-<host>".
UNFINISHED = re.compile(r"\.bench-(\d+)-[0-9a-f]{12}-(.*)")
# Unfinished files of earlier versions: ".", a file's or run's name, eight random characters.
EARLIER = re.compile(
    r"\.(.+\.(npy|npz|json|jsonl|txt|safetensors|png|md|html)\.|bench-)[a-z0-9_]{8}"
)
# Seconds after which an unfinished file has no owner any more, wherever it was written.
ABANDONED = 86_400
# Libraries put an error of the system into a message of their own.
_NUMBER = re.compile(r"(?:os error|Errno) (\d+)\b")
_GO_ON = "repeat the command: what was finished is kept"


class MachineError(InputError):
    """An error of the machine, such as a full disk: it stops the command, and is no outcome of a
    cell or probe."""


def unfinished_name() -> str:
    """A new name for something that is being written by this process."""
    host = re.sub(r"[^A-Za-z0-9.]", "_", platform.node())[:40]
    return f".bench-{os.getpid()}-{secrets.token_hex(6)}-{host}"


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it over `path` when the block ends well.

    Raises:
        InputError: the disk does not take it.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        name = path.parent / unfinished_name()
        # The mode is what the system makes of 0o666 by the umask, as for any file.
        os.close(os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666))
        temporary = name
        yield temporary
        synchronize(temporary)
        os.replace(temporary, path)
        synchronize(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def synchronize(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot do that for a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> MachineError:
    """The error of a disk that does not take a file, with what to do about it."""
    return MachineError(f"cannot write {path}: {error.strerror or error}; {_advice(error.errno)}")


def cannot_read(path: Path, error: OSError) -> MachineError:
    """The error of a disk that does not give a file that is there, with what to do about it."""
    return MachineError(f"cannot read {path}: {error.strerror or error}; {_advice(error.errno)}")


def _advice(number: int | None) -> str:
    return surroundings.STOPS.get(number or 0, surroundings.ELSEWHERE)


def stops(error: BaseException) -> MachineError | None:
    """The error as a MachineError, if the machine and no cell is its cause: a full disk, no
    permission, no more open files, too little memory; None for every other error.

    An error that a library wrapped in one of its own is recognized by the number in its message.
    """
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or link.__context__
    for cause in links:
        if isinstance(cause, MachineError):
            return cause
        if line := surroundings.no_memory(cause):
            return MachineError(f"{line}, and {_GO_ON}")
        text = " ".join(str(cause).split())[:200]
        match = _NUMBER.search(text)
        number = cause.errno if isinstance(cause, OSError) else int(match[1]) if match else 0
        if number in surroundings.STOPS:
            return MachineError(f"{text}; {_advice(number)}, and {_GO_ON}")
    return None


def _number(error: BaseException, text: str) -> int | None:
    """The number of an error of the system, as the error or its text says it."""
    if isinstance(error, OSError):
        return error.errno
    match = _NUMBER.search(text)
    return int(match[1]) if match else None


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def cache_root() -> Path:
    """The cache folder: `BENCH_CACHE`, else `bench` in the user's cache folder.

    Raises:
        InputError: the user has no home folder.
    """
    if given := os.environ.get("BENCH_CACHE"):
        return Path(given)
    # A relative XDG_CACHE_HOME is to be ignored, says its specification.
    if Path(given := os.environ.get("XDG_CACHE_HOME", "")).is_absolute():
        return Path(given) / "bench"
    try:
        return Path.home() / ".cache" / "bench"
    except RuntimeError:
        raise InputError(
            "no home folder to keep the cache in: set BENCH_CACHE to a folder"
        ) from None


def save_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_writable(folder: Path, advice: str = "choose --out DIR") -> None:
    """Make sure that a folder takes files or can be made; nothing is left behind.

    Raises:
        InputError: it does not, or the working folder is gone.
    """
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}; {advice}") from None


def check_cache() -> None:
    """Make sure that the cache takes files.

    Raises:
        InputError: it does not.
    """
    check_writable(cache_root(), "set BENCH_CACHE to another folder")


def room(folder: Path) -> int:
    """Bytes that the disk of a folder, which need not be there yet, takes."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def sweep(folder: Path, deep: bool = True) -> None:
    """Remove what killed processes left unfinished in a folder, and below it where `deep`.

    What this machine's living processes write stays, whatever the clock says, and so does what is
    less than a day old and was written on another machine.
    """
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(parent, name)
            if name.startswith(".") and _is_abandoned(path):
                with contextlib.suppress(OSError):
                    if name in folders:
                        shutil.rmtree(path)
                    else:
                        path.unlink()
        folders[:] = [name for name in folders if deep and not name.startswith(".")]


def _is_abandoned(path: Path) -> bool:
    match = UNFINISHED.fullmatch(path.name)
    if not match and not EARLIER.fullmatch(path.name):
        return False
    if match and unfinished_name().endswith(f"-{match[2]}"):
        # No clock is asked: it may jump while a file is written.
        return not _lives(int(match[1]))
    try:
        return time.time() - path.stat().st_mtime > ABANDONED
    except OSError:
        return False


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True

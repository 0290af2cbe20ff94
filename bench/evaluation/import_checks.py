"""What a user says of a checkpoint to import, checked before anything is read."""

from __future__ import annotations

from pathlib import Path

from bench.core import extensions
from bench.core.errors import InputError

# Characters of a name; files are named after checkpoints, schemes and backends together.
LONGEST = 100


def word(name: str, text: str) -> None:
    if len(text) > LONGEST or not text.isprintable():
        raise InputError(
            f"--{name} must be at most {LONGEST} printable characters, not {text[:40]!r}"
        )


def place(uri: str) -> Path:
    """The absolute path of a file or folder.

    Raises:
        InputError: there is none, or it cannot be looked at.
    """
    found = Path(uri).absolute()
    try:
        found.stat()
    except FileNotFoundError:
        raise InputError(f"no checkpoint {uri}: name a file, a folder or hf:OWNER/NAME") from None
    # A null byte is a ValueError; loops of links and long names are errors of the system.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"no checkpoint {uri[:200]!r} ({reason})") from None
    return found


def dataset(name: str) -> None:
    """Make sure that a data set is known, and that the images of a folder are there.

    Raises:
        InputError: they are not.
    """
    load = extensions.lookup("datasets", name)
    if extensions.plain(name) == "folder":
        from bench.measurement.data import folder

        folder.check(getattr(load, "keywords", {}).get("argument", ""))

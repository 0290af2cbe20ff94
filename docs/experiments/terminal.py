"""A command as a person sees it in a terminal, as a picture: `docs/terminal.svg`.

It runs in a terminal of so many columns, in a new folder with an empty cache; what redraws a line
(progress) is shown as it stood last. The last line tells how long it took.

    python docs/experiments/terminal.py docs/terminal.svg bench run --bits 4 --preset smoke
"""

from __future__ import annotations

import os
import pty
import shlex
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 96


def seen(command: list[str]) -> str:
    """What the command writes to its terminal, with the colours; raises where it fails."""
    parts: list[bytes] = []

    def keep(descriptor: int) -> bytes:
        parts.append(os.read(descriptor, 65536))
        return parts[-1]

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ |= {"COLUMNS": str(WIDTH), "TERM": "xterm-256color", "BENCH_CACHE": "cache"}
        status = pty.spawn(command, keep, lambda _: b"")
        os.chdir("/")
    text = b"".join(parts).decode()
    if status:
        raise SystemExit(text)
    return text


def settled(text: str) -> list[str]:
    """Lines as they stand in the end: of one that is redrawn the last, and none that is empty."""
    lines = [line.split("\r")[-1] for line in text.replace("\r\n", "\n").split("\n")]
    return [line for line in lines if Text.from_ansi(line).plain.strip()]


def main() -> None:
    """Write the picture."""
    target, command = Path(sys.argv[1]).resolve(), sys.argv[2:]
    begun = time.monotonic()
    lines = settled(seen(command))
    taken = time.monotonic() - begun
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        console.print(Text(f"$ {shlex.join(command)}", style="bold green"))
        for line in lines:
            console.print(Text.from_ansi(line))
        console.print(Text(f"({taken:.0f} s)", style="dim"))
        console.save_svg(str(target), title="bench")


if __name__ == "__main__":
    main()

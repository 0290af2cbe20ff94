"""The prompts of a pipeline: a text file, one prompt a line; image i has prompt i mod n.

Empty lines, and lines that begin with `#`, are passed over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from bench.core import border
from bench.core.errors import InputError

SHIPPED = Path(__file__).with_name("prompts.txt")
# Characters of a prompt: more than any text encoder of these pipelines reads.
LONGEST = 20_000


def place(named: str) -> Path:
    """The file of a card: the one it names, or that which comes with bench."""
    return Path(named) if named else SHIPPED


def read(path: Path) -> tuple[str, ...]:
    """The prompts of a file, at least one.

    Raises:
        InputError: no such file, one that is no text, without a prompt, or with an overlong one.
    """
    found = []
    for number, line in enumerate(border.text(path, "a file of prompts").splitlines(), 1):
        prompt = line.strip()
        if not prompt or prompt.startswith("#"):
            continue
        if len(prompt) > LONGEST:
            raise InputError(
                f"{path}, line {number}: the prompt has {len(prompt):,} characters, and at most "
                f"{LONGEST:,} are read"
            )
        found.append(prompt)
    if not found:
        raise InputError(f"{path} holds no prompt: write one on each line")
    return tuple(found)


def digest(prompts: Sequence[str]) -> str:
    """SHA-256 (hex) of prompts in their order."""
    return hashlib.sha256("\n".join(prompts).encode()).hexdigest()

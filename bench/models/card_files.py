"""Card files that grow: one more card at the end of a file, whose text stays as it was.

Comments and layout of a file that somebody wrote are theirs, so the new card is added as text, and
what came of it is read again before the file is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import indent
from typing import Any

from bench.core import yaml_files
from bench.core.errors import InputError
from bench.models.cards import load_cards
from bench.system import store

_FIRST = re.compile(r"(?m)^( *)- ")


def check_room(path: Path, name: str) -> None:
    """Whether a card can be added to a file.

    Raises:
        InputError: the file is no card file, or has a card of that name.
    """
    if any(card.name == name for card in load_cards(path)):
        raise InputError(f"{path} has a card {name!r} already: give this one another by --name")


def grows(target: Path, name: str, appends: bool) -> bool:
    """Whether a card file is there, which a card of that name is added to.

    Raises:
        InputError: it is there and nothing was said of adding, or has no room for the card.
    """
    if not target.exists():
        return False
    if not appends:
        raise InputError(
            f"{target} exists: name another card file with --out, add to it with --append, "
            f"or remove it"
        )
    check_room(target, name)
    return True


def uri_on(target: Path, place: Path) -> str:
    """The weights as a card names them: relative to its file.

    Raises:
        InputError: they lie elsewhere.
    """
    folder = target.absolute().parent
    if not place.is_relative_to(folder):
        raise InputError(
            f"{place} must lie in the folder of its card {target}: choose --out there"
        )
    return str(place.relative_to(folder))


def network_on(target: Path, network: str) -> str:
    """The function as a card names it: relative to the card where it lies below its folder."""
    folder, (path, suffix, function) = target.absolute().parent, network.rpartition(":")
    if not path.endswith(".py") or not Path(path).is_relative_to(folder):
        return network
    return f"{Path(path).relative_to(folder)}{suffix}{function}"


def append(path: Path, entry: Mapping[str, Any], comments: str) -> None:
    """Add a card at the end of a card file.

    Args:
        path: an existing card file.
        entry: the fields of the card.
        comments: lines that stand before it, each beginning with `#`; "" for none.

    Raises:
        InputError: the list of cards is not the last thing in the file.
    """
    before = [card.name for card in load_cards(path)]
    text = path.read_text(encoding="utf-8")
    start = _FIRST.search(text)
    added = indent(comments + yaml_files.dump([dict(entry)]), start[1] if start else "")
    with store.atomic(path) as temporary:
        temporary.write_text(f"{text.rstrip()}\n{added}", encoding="utf-8")
        try:
            after = [card.name for card in load_cards(temporary)]
        except InputError:
            after = []
        if after != [*before, entry["name"]]:
            raise InputError(
                f"{path}: the list of its cards does not end the file; add it by hand"
            )

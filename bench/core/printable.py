"""Escaping of text of unknown content for terminals, Markdown, XML, figures and spreadsheets.

Names of checkpoints, error texts and ids come from other people's files. A terminal obeys escape
sequences, a bidirectional override turns text around, XML refuses most control characters, and a
spreadsheet computes a cell that begins like a formula. Every report format and every message goes
through here; numbers do not.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from typing import TextIO

# Control characters, invisible formatting (the overrides of bidirectional text among it),
# surrogates, unassigned and private code points, and the separators of lines and paragraphs.
UNSAFE = ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")
FORMULAS = ("=", "+", "-", "@")
# A number with a sign is no formula.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?%?")
# Characters that Markdown interprets; an underscore inside a word (fd_efficientnet) is plain.
_MARKS = re.compile(
    r"[\\|*`<>\[\]$]|~(?=~)|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])|^#|^[-+](?= |$)|^-(?=[- ]*$)"
    r"|^\d+(?=[.)](?: |$))"
)


def plain(text: str) -> str:
    """The text on one line; each run of white space is one space, and what must not be printed is
    written out: `\\x1b` for the character that starts a terminal's escape sequences."""
    return " ".join("".join(_written(c) for c in " ".join(text.split())).split())


def lines(text: str) -> str:
    """The text with its line ends and nothing else that must not be printed."""
    return "\n".join(
        "".join(c if c == "\t" else _written(c) for c in line) for line in text.split("\n")
    )


def short(text: str, most: int = 80) -> str:
    """`plain` text cut to a length that a message has room for."""
    text = plain(text[: 4 * most])
    return text if len(text) <= most else f"{text[: most - 3]}..."


def quoted(text: str) -> str:
    """`short` text between quotes, as messages show what somebody wrote."""
    return f"'{short(text)}'"


def markdown(text: str) -> str:
    """`plain` text with the marks of Markdown and HTML escaped."""
    return _MARKS.sub(_escaped, plain(text))


def code(text: str) -> str:
    """`plain` text between backticks, for a cell of a table."""
    return f"`{plain(text).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def on_figure(text: str) -> str:
    """`short` text for a figure, where matplotlib sets what stands between dollars as a formula
    and leaves labels that begin with an underscore out of legends."""
    text = short(text, 60).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def cell(text: str) -> str:
    """`plain` text for a column of a CSV file, behind an apostrophe where it would be computed."""
    text = plain(text)
    return f"'{text}" if text.startswith(FORMULAS) and not _NUMBER.fullmatch(text) else text


def _escaped(match: re.Match[str]) -> str:
    return f"{match[0]}\\" if match[0].isdigit() else f"\\{match[0]}"


def say(text: str, file: TextIO | None = None) -> None:
    """Print lines that hold text of unknown content, to stdout by default."""
    print(lines(text), file=file or sys.stdout)


def _written(character: str) -> str:
    if character.isascii():
        return character if character.isprintable() else f"\\x{ord(character):02x}"
    if unicodedata.category(character) not in UNSAFE:
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def first_few(names: Sequence[str], most: int, form: Callable[[str], str] = short) -> str:
    """The first names of a list, " ..." standing for the others."""
    return ", ".join(map(form, names[:most])) + (" ..." if len(names) > most else "")

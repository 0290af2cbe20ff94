"""Damage, drawn from a seeded stream: to JSON values, to bytes, to text."""

from __future__ import annotations

import copy
import math

VALUES = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    2**62,
    2**63,
    10**30,
    10**400,
    0.5,
    -0.5,
    1e308,
    -1e308,
    5e-324,
    math.nan,
    math.inf,
    -math.inf,
    "",
    "x",
    "../x",
    "/",
    ".",
    "\0",
    "a" * 5000,
    "nan",
    "\x1b[31m",
    "\x9b2J",
    "‮",
    "é",
    "=1+1",
    "|`[x](y)<b>",
    "$x_{$",
    "w4a8",
    "fp32",
    "lower",
    "higher",
    "ok",
    "failed",
    "psnr@500",
    "psnr",
    "9" * 5000,
    "\n",
    "_",
    "~",
    [],
    {},
    [1],
    [[]],
    {"a": 1},
    {"": None},
    ["x", 1],
)
WORDS = (
    "",
    " ",
    "\0",
    "\n",
    "\x1b[2J",
    "\x9b",
    "‮",
    "*",
    "[",
    "]",
    "[a",
    "?",
    "!",
    "..",
    "/",
    "~~",
    "~",
    "-",
    "--",
    "+",
    ",",
    ":",
    "=",
    "%",
    "@",
    "|",
    "nan",
    "inf",
    "1e999",
    "-1",
    "0",
    "٣",
    "9" * 5000,
    "a" * 3000,
    "{}",
    "[[",
    "- ",
    "&a ",
    "*a",
    "!!python/object:x",
    "<<",
    "#",
    "'",
    '"',
    "\\",
    "\t",
    "true",
    "null",
    "2020-01-01",
    "0x10",
    "1_0",
    "😀",
    "﻿",
    "�",
)


def places(data, path=()):
    """The paths of all values within JSON data."""
    yield path
    if isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from places(value, (*path, key))


def at(data, path):
    for key in path:
        data = data[key]
    return data


def alike(value, random):
    """Another value of the same type, as a disk or a person would leave it."""
    if isinstance(value, bool) or value is None:
        return copy.deepcopy(random.choice(VALUES))
    if isinstance(value, int):
        return random.choice((0, 1, 2, -1, value + 1, -value, value * 10, 2**62, 10**9))
    if isinstance(value, float):
        return random.choice(
            (0.0, -value, value * 1e10, 1e308, -1e308, 5e-324, math.nan, math.inf, -math.inf)
        )
    if isinstance(value, str):
        return random.choice((text(value, random), *(v for v in VALUES if isinstance(v, str))))
    return copy.deepcopy(random.choice(VALUES))


def values(data, random, known=None):
    """The data with one to three changes; it is changed in place.

    Args:
        known: paths of the whole data, where they were listed before.
    """
    known = known or list(places(data))
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        path = random.choice(known)
        if not path:
            continue
        try:
            holder, key, how = at(data, path[:-1]), path[-1], random.random()
            if how < 0.1:
                del holder[key]
            elif how < 0.15 and isinstance(holder, dict):
                holder[random.choice(("bogus", "name", ""))] = copy.deepcopy(random.choice(VALUES))
            elif how < 0.25 and isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            elif how < 0.35:
                holder[key] = copy.deepcopy(at(data, random.choice(known)))
            elif how < 0.7:
                holder[key] = alike(holder[key], random)
            elif how < 0.72:
                holder[key] = nested(random.choice((10, 70, 900)))
            else:
                holder[key] = copy.deepcopy(random.choice(VALUES))
        # An earlier change took away what this path led to, or nested it beyond copying.
        except (KeyError, IndexError, TypeError, RecursionError):
            pass
    return data


def nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


def data(content, random):
    """Bytes with flipped, cut, doubled or overwritten parts."""
    content = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        size, how = len(content), random.random()
        place = random.randrange(size) if size else 0
        if how < 0.45 and size:
            content[place] = random.choice((random.randrange(256), 0, 255, content[place] ^ 1))
        elif how < 0.6:
            del content[place : place + random.choice((1, 2, 8, 100, size))]
        elif how < 0.7:
            content[place:place] = bytes(random.choice((1, 4, 100)))
        elif how < 0.8:
            content[place:place] = content[place : place + random.choice((4, 50))]
        elif how < 0.9 and size:
            number = random.choice((0, 1, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1))
            raw = number.to_bytes(8, random.choice(("little", "big")))
            content[place : place + 8] = raw[: size - place]
        else:
            content[place:place] = random.choice(WORDS).encode()
    return bytes(content)


def text(content, random):
    """Text with characters and words put in, taken out or doubled."""
    for _ in range(random.choice((1, 1, 2, 3))):
        place, how = random.randrange(len(content) + 1), random.random()
        if how < 0.5:
            content = content[:place] + random.choice(WORDS) + content[place:]
        elif how < 0.7:
            content = content[:place] + content[place + random.choice((1, 3, 20)) :]
        elif how < 0.8:
            end = place + random.choice((1, 5, 40))
            content = (
                content[:end] + content[place:end] * random.choice((1, 2, 30)) + content[end:]
            )
        elif how < 0.9:
            content = content[:place] + chr(
                random.choice((random.randrange(0xD7FF), 0, 27, 0x202E))
            )
            content += content[place:]
        else:
            content = random.choice(WORDS)
    return content

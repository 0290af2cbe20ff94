"""The options of a method, `NAME=damp:0.1,blocks:64`: numbers by name, checked when it is made."""

from __future__ import annotations

import math
from collections.abc import Mapping

from bench.core.errors import InputError, offer
from bench.core.printable import quoted

# The value without which an option is taken, and the least and the largest value that it may have.
Bounds = tuple[float, float, float]


def numbers(method: str, argument: str, known: Mapping[str, Bounds]) -> dict[str, float]:
    """All options of a method, those that are not given with their usual value.

    Args:
        method: its name, for messages.
        argument: "OPTION:NUMBER", several with "," between them; "" for none.
        known: usual, least and largest value by option.

    Raises:
        InputError: another option, one twice, or a value out of its bounds.
    """
    values = {name: usual for name, (usual, _, _) in known.items()}
    given: set[str] = set()
    for part in filter(None, argument.split(",")):
        name, _, text = part.partition(":")
        if name not in known:
            raise InputError(f"{method} has no option {quoted(name)}: {offer(name, known)}")
        if name in given:
            raise InputError(f"{method}: option {name} is there twice")
        given.add(name)
        _, least, largest = known[name]
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= largest:
            raise InputError(
                f"{method}={name}:{text} must be a number from {least:g} to {largest:g}"
            )
        values[name] = value
    return values

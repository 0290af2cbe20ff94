"""Which pictures of several places are scored: those that all have, and that can be compared.

Names are looked at first, without opening a picture. Then each picture is decoded once: what
cannot be read or compared is found before anything is computed, pixels are hashed, and pictures
that are equal bit for bit are counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from bench.core.errors import InputError
from bench.core.printable import first_few, quoted, short
from bench.measurement.data.images import watched
from bench.measurement.data.pictures import Pictures
from bench.system import host

# How many names a message or a record lists.
SHOWN = 5
ALONE, SIZE, COLOUR, UNREADABLE = (
    "no partner",
    "another size than its partner",
    "grey against colour",
    "not readable",
)


@dataclass(frozen=True)
class Paired:
    """Pictures that are scored.

    Attributes:
        names: in the order of rows: by size, then by name.
        sizes: (height, width) of each.
        channels: 1 where all pictures are grey, else 3.
        digests: SHA-256 of the names and pixels of each place, by its label.
        equal: number of pictures of each place that equal those of the first one bit for bit.
        left_out: names that are not scored, by reason.
    """

    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    channels: int
    digests: Mapping[str, str]
    equal: Mapping[str, int]
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Seen:
    """One picture: its shape (C, H, W) and the SHA-256 of its pixels."""

    shape: tuple[int, ...]
    digest: str


def common(places: Mapping[str, Pictures]) -> tuple[list[str], list[str]]:
    """The names that all places have, and those that some lack, both sorted.

    Raises:
        InputError: there is no name that all have.
    """
    sets = [set(place.names) for place in places.values()]
    shared = set.intersection(*sets)
    if not shared:
        firsts = "; ".join(
            f"{place.path} begins with {quoted(place.names[0])}" for place in places.values()
        )
        raise InputError(
            f"no picture has a partner: pairs are made by the path within the folder, without "
            f"suffix, and {firsts}"
        )
    return sorted(shared), sorted(set.union(*sets) - shared)


def paired(
    places: Mapping[str, Pictures],
    may_leave_out: bool = False,
    tell: Callable[[str], object] = lambda line: None,
) -> Paired:
    """Look at all pictures that have a partner in every place.

    Args:
        places: by label, the reference first.
        may_leave_out: whether pictures that cannot be compared are left out, rather than an error.
        tell: is called with a line for each reason why pictures are left out.

    Raises:
        InputError: no common names, pictures that cannot be compared and may not be left out, or
            none that can.
    """
    names, alone = common(places)
    left_out = {ALONE: alone} if alone else {}
    seen: dict[str, list[_Seen]] = {}
    told = []
    for name, outcome in _looked_at(places, names):
        if isinstance(outcome, list):
            seen[name] = outcome
            continue
        reason, line = outcome
        left_out.setdefault(reason, []).append(name)
        told.append(line)
    if told and not may_leave_out:
        more = f", and {len(told) - 1:,} more of {len(names):,}" if len(told) > 1 else ""
        raise InputError(
            f"{told[0]}{more}: mend or remove it, or score the others with --leave-out"
        )
    for reason, those in left_out.items():
        tell(f"left out, {reason}: {len(those):,} ({first_few(those, SHOWN)})")
    if not seen:
        raise InputError(f"none of {len(names):,} pairs can be compared; the first: {told[0]}")
    return _ordered(list(places), seen, left_out)


def _looked_at(
    places: Mapping[str, Pictures], names: Sequence[str]
) -> Iterator[tuple[str, list[_Seen] | tuple[str, str]]]:
    """For each name its pictures, or (reason, line) why they cannot be compared."""
    workers = host.threads()
    stream = iter(watched(names, len(names), "look at pictures"))
    with ThreadPoolExecutor(workers) as pool:
        # In chunks: `map` on the whole stream would decode far ahead.
        while chunk := list(islice(stream, 4 * workers)):
            yield from zip(chunk, pool.map(lambda name: _look(places, name), chunk), strict=True)


def _look(places: Mapping[str, Pictures], name: str) -> list[_Seen] | tuple[str, str]:
    seen: list[_Seen] = []
    for place in places.values():
        try:
            pixels = place.read(name)
        except InputError as error:
            return UNREADABLE, str(error)
        digest = hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
        seen.append(_Seen(pixels.shape, digest))
        first, last = seen[0].shape, seen[-1].shape
        if first[1:] != last[1:]:
            sizes = " and ".join(f"{shape[2]}x{shape[1]}" for shape in (first, last))
            return SIZE, f"{place.path}: {short(name)} has another size than its partner ({sizes})"
        if first[0] != last[0]:
            return COLOUR, (
                f"{place.path}: {short(name)} is {'grey' if last[0] == 1 else 'in colour'} and "
                f"its partner is not"
            )
    return seen


def _ordered(
    labels: Sequence[str],
    seen: Mapping[str, Sequence[_Seen]],
    left_out: Mapping[str, Sequence[str]],
) -> Paired:
    """The pictures by size, then by name, with the hashes of each place."""
    names = sorted(seen, key=lambda name: (seen[name][0].shape[1:], name))
    digests, equal = {}, {}
    for position, label in enumerate(labels):
        digest, same = hashlib.sha256(), 0
        for name in names:
            one, partner = seen[name][position], seen[name][0]
            digest.update(f"{name}\0{one.shape}\0{one.digest}\n".encode(errors="surrogateescape"))
            same += one == partner
        digests[label], equal[label] = digest.hexdigest(), same
    shapes = [seen[name][0].shape for name in names]
    return Paired(
        tuple(names),
        tuple((shape[1], shape[2]) for shape in shapes),
        max(shape[0] for shape in shapes),
        digests,
        equal,
        {reason: tuple(those) for reason, those in left_out.items()},
    )

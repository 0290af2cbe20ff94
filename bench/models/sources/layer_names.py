"""Layers out of the names of weights: which there are, and how those of EDM follow each other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from bench.core.errors import InputError

Parts = Mapping[str, Tensor]
_LAYER = re.compile(r"(\d+)x\d+_(in0|in1|[a-z_]+?)(\d*)")


class Layer(NamedTuple):
    """A layer: its name, its kind, and its weights by the rest of their names."""

    name: str
    kind: str
    parts: Parts


def layers(weights: Parts, prefix: str) -> dict[str, dict[str, Tensor]]:
    """The weights below a prefix by their first word: {layer: {rest of the name: weight}}."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, value in weights.items():
        if name.startswith(prefix):
            layer, _, rest = name.removeprefix(prefix).partition(".")
            found.setdefault(layer, {})[rest] = value
    return found


def ordered(weights: Parts, half: str, kinds: Sequence[str]) -> list[Layer]:
    """The layers of a half of a U-Net whose names are SIZExSIZE_KIND and a number, in their order,
    which a file of safetensors does not keep.

    Args:
        weights: by name.
        half: "enc", from the largest size, or "dec", from the smallest.
        kinds: of layers, as they follow each other at a size.

    Raises:
        InputError: a layer of another kind.
    """
    found = []
    for name, parts in layers(weights, f"{half}.").items():
        matched = _LAYER.fullmatch(name)
        if not matched or matched[2] not in kinds:
            raise InputError(
                f"a network with a layer {half}.{name[:80]}, which has none of the kinds "
                f"{', '.join(kinds)} (encoders and decoders of type skip are not built)"
            )
        side = int(matched[1])
        place = (-side if half == "enc" else side, kinds.index(matched[2]), int(matched[3] or 0))
        found.append((place, Layer(name, matched[2], parts)))
    return [layer for _, layer in sorted(found, key=lambda each: each[0])]


def check_skips(encoder: Sequence[str], decoder: Sequence[str]) -> None:
    """Refuse a U-Net whose blocks do not take all that its encoder keeps.

    Args:
        encoder, decoder: names of the layers.

    Raises:
        InputError: another number of blocks.
    """
    kept = sum("aux" not in name for name in encoder)
    taken = sum("block" in name for name in decoder)
    if kept != taken:
        raise InputError(f"a U-Net whose decoder takes {taken} of {kept} layers of its encoder")

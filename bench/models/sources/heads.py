"""Heads of attention: by their channels, or by their number whatever the width.

Neither shows in the weights. Trainings give one of the two: `num_head_channels` or `num_heads` of
ADM, `attention_head_dim` of diffusers (whose null is one head).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.core.errors import InputError

# In the order of how often published networks have them.
CHANNELS = (64, 32, 8, 16, 128)
NUMBERS = (4, 1, 2, 8)


@dataclass(frozen=True)
class Heads:
    """Attributes: `channels` of a head, or the `number` of heads; the other one is 0."""

    channels: int = 0
    number: int = 0

    def of(self, width: int) -> int:
        """Channels of a head at a width.

        Raises:
            InputError: the width is not divided.
        """
        parts = self.number or self.channels
        if parts < 1 or width % parts:
            name = "num_heads" if self.number else "attention_head_dim"
            raise InputError(f"{name} {parts} does not divide {width} channels")
        return width // self.number if self.number else self.channels

    def fields(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The fields of a card's network, and of its U-Net, that state the heads."""
        if self.number:
            return {"heads": self.number}, {"attention_head_dim": None}
        return {}, {"attention_head_dim": self.channels}

    def put(self, network: Mapping[str, Any]) -> dict[str, Any]:
        """A card's network with these heads."""
        outer, inner = self.fields()
        rest = {name: value for name, value in network.items() if name != "heads"}
        return {**rest, "unet": {**network["unet"], **inner}, **outer}

    def __str__(self) -> str:
        if self.number:
            return f"{self.number} {'head' if self.number == 1 else 'heads'}"
        return f"heads of {self.channels} channels"


def of_network(network: Mapping[str, Any]) -> Heads:
    """The heads of a card's network."""
    if network.get("heads"):
        return Heads(number=network["heads"])
    channels = network["unet"].get("attention_head_dim", 8)
    return Heads(number=1) if channels is None else Heads(channels)


def choices(widths: Iterable[int], first: Heads) -> list[Heads]:
    """Heads that divide all widths of a network's attention, no two of the same effect."""
    wide = sorted(set(widths))
    by_effect: dict[tuple[int, ...], Heads] = {}
    tried = [first, *map(Heads, CHANNELS), *(Heads(number=n) for n in NUMBERS)]
    for heads in tried:
        try:
            effect = tuple(heads.of(width) for width in wide)
        except InputError:
            continue
        by_effect.setdefault(effect, heads)
    return list(by_effect.values()) if wide else []

"""The type that a network computes in: float32, or a half one, as large pipelines do."""

from __future__ import annotations

from collections import Counter

from torch import nn

from bench.core.errors import NotExecuted

# Types of weights with the bytes of one, and how layers of them are written.
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
SHORT = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


def precision(model: nn.Module) -> str:
    """The type of most weights of a network, a key of BYTES; others count as float32."""
    counts: Counter[str] = Counter({"float32": 0})
    for parameter in model.parameters():
        kind = str(parameter.dtype).removeprefix("torch.")
        if kind in BYTES:
            counts[kind] += parameter.numel()
    return counts.most_common(1)[0][0]


def number_bytes(model: nn.Module) -> int:
    """Bytes of a weight in full precision."""
    return BYTES[precision(model)]


def require_float32(model: nn.Module) -> None:
    """Refuse a network of another type.

    Raises:
        NotExecuted: it is of one.
    """
    if (kind := precision(model)) != "float32":
        raise NotExecuted(f"the one graph takes networks in float32, and this one is in {kind}")

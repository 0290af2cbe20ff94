"""Flags of classifier-free guidance and of pipelines, and the fields of a draw that flags set.

The interval is that of Kynkäänniemi et al. 2024 (arXiv 2404.07724): guidance is applied where
low < sigma <= high, sigma being noise / signal, and the prediction with the labels alone is taken
elsewhere. A draw keeps the ends as sigma / (1 + sigma), which lies between 0 and 1.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer

from bench.core.errors import InputError

Guidance = Annotated[
    float | None,
    typer.Option(
        "--guidance",
        metavar="FLOAT",
        help="Scale of classifier-free guidance of class-conditional networks [default: 1].",
    ),
]
Interval = Annotated[
    str | None,
    typer.Option(
        "--guidance-interval",
        metavar="LOW,HIGH",
        help="Guide where noise / signal lies between these alone, as 0.28,2.9.",
    ),
]

Also = Annotated[
    str | None,
    typer.Option(
        "--also",
        metavar="NAME",
        help="Of pipelines: text_encoder quantizes all text encoders, too.",
    ),
]


def drawn(
    guidance: float | None,
    interval: str | None,
    sampler: str | None = None,
    spacing: str | None = None,
    steps: int | None = None,
    images: int | None = None,
    seed: int | None = None,
    batch: int | None = None,
) -> dict[str, Any]:
    """Fields of a draw; none of those that the user did not set.

    Raises:
        InputError: an interval that is none, or of no guidance.
    """
    said = {"sampler": sampler, "spacing": spacing, "guidance": guidance, "steps": steps}
    said |= {"images": images, "seed": seed, "batch": batch}
    fields = {name: value for name, value in said.items() if value is not None}
    if interval is None:
        return fields
    if guidance in (None, 1):
        raise InputError("--guidance-interval is of guidance: name its scale, --guidance 2")
    try:
        low, high = (float(text) for text in interval.split(","))
    except ValueError:
        low, high = math.nan, math.nan
    if not 0 <= low < high:
        raise InputError(
            f"--guidance-interval must be two numbers, 0 or more and rising, as 0.28,2.9 (inf for "
            f"no end), not {interval[:80]!r}"
        )
    shares = (1.0 if math.isinf(sigma) else sigma / (1 + sigma) for sigma in (low, high))
    return fields | dict(zip(("guided_from", "guided_to"), shares, strict=True))

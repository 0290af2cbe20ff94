"""Metrics that hold images against the prompts that they were made from: where there are some."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.core import extensions
from bench.core.errors import InputError


def read(file: str, names: Sequence[str]) -> tuple[str, ...] | None:
    """The prompt of each name from a file, None where there is no file.

    Raises:
        InputError: as for `prompts.read`.
    """
    if not file:
        return None
    # What reads pictures imports torch, which a command that plans a run does not wait for.
    from bench.measurement.data import prompts

    return prompts.read(Path(file), names)


def refuse(metrics: Iterable[str]) -> None:
    """Refuse metrics that take prompts, where there are none.

    Raises:
        InputError: there is such a metric.
    """
    for name in metrics:
        if getattr(extensions.lookup("metrics", name), "prompted", False):
            raise InputError(
                f"metric {name} holds images against the prompts that they were made from: score "
                f"folders of images by `bench score ... --prompts FILE`, or leave it out"
            )


def remarks(metrics: Iterable[str], texts: Sequence[str] | None) -> list[str]:
    """What is to be said of prompts: which are not measured with, or not as a whole."""
    if texts is None:
        return []
    found = [extensions.lookup("metrics", name) for name in metrics]
    taking: list[Any] = [metric for metric in found if getattr(metric, "prompted", False)]
    if not taking:
        return ["prompts: recorded and not measured with; --metrics +clip_score does that"]
    return [line for metric in taking if (line := metric().remark(texts))]

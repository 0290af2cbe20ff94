"""Runs of older schemas, brought to the present one step by step.

A step takes the parsed run.json of its schema and returns that of the next. Files on disk are
never rewritten: a run stays as it was made.

    1 -> 2   records name the features of the real images (`real`); of older runs they are unknown
    2 -> 3   records say how many rounds of images they took (`rounds`); older ones took one
    3 -> 4   records count their real images (`real_images`), cards say what was assumed, and runs
             whether descriptions fit the weights (`fits`) and what ran the cells (`engine`); of
             older runs none of it is known; records of cells that were sampled until a verdict
             was known hold it (`decided`)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Data = dict[str, Any]


def _name_real_features(data: Data) -> Data:
    return data | {"records": [{**record, "real": {}} for record in data["records"]]}


def _say_no_rounds(data: Data) -> Data:
    return data | {"records": [{**record, "rounds": None} for record in data["records"]]}


def _leave_as_it_is(data: Data) -> Data:
    """What is new has a value where it is not stated."""
    return data


STEPS: Mapping[int, Callable[[Data], Data]] = {
    1: _name_real_features,
    2: _say_no_rounds,
    3: _leave_as_it_is,
}


def migrate(data: Data, schema: int) -> Data:
    """The data of a run at `schema`.

    Raises:
        KeyError: no step leads on from the run's schema.
    """
    while data["schema"] != schema:
        data = STEPS[data["schema"]](data) | {"schema": data["schema"] + 1}
    return data

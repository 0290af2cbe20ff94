"""The words of an estimate; what it is told of is in tests/models/test_sources_end_to_end.py."""

import dataclasses

import pytest

from bench.core.cell import Cell, Checkpoint, Draw
from bench.core.scheme import Scheme
from bench.evaluation.cost import (
    duration,
    memory,
    sampling_cost,
    size,
)
from bench.measurement.features import reference
from bench.models.cards import load_cards, verify


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 seconds"),
        (99, "99.0 seconds"),
        (150, "2.5 minutes"),
        (9000, "2.5 hours"),
        (864_000, "10.0 days"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(1.5e6, "1.5 MB"), (999e6, "999.0 MB"), (2.45e9, "2.5 GB")]
)
def test_sizes(count, words):
    assert size(count) == words


def test_guidance_is_in_the_rows_of_a_pass_and_not_counted_again(cards):
    """Two batches of three steps; the pass that is timed has the rows with and without a class."""
    card = verify(load_cards(cards)[0])
    draw = Draw(steps=3, images=8, batch=4)
    guided = dataclasses.replace(draw, guidance=4.0)
    assert (draw.evaluated, guided.evaluated) == (4, 8)
    costs = [
        sampling_cost(Cell(card, Scheme.parse("fp32"), "float", each), 2)
        for each in (draw, guided)
    ]
    assert costs == [6.0, 6.0]


def test_memory_does_not_depend_on_the_number_of_images(monkeypatch):
    """D x D matrices, blocks, and the real features only where a metric needs them."""
    monkeypatch.setattr(reference, "count", lambda dataset, extractor, split: 50_000)
    card = Checkpoint("c", "c", "baseline", "safetensors", "", "0" * 64, "cifar10")
    found = {}
    for images in (5_000, 50_000):
        for metrics in (("frechet",), ("frechet", "kernel")):
            draw = Draw(images=images)
            cell = Cell(card, Scheme(), "float", draw, ("inception",), metrics)
            found[images, len(metrics)] = memory(cell, {"inception": 2048})
    assert found[5_000, 1] == found[50_000, 1] < 3 * 2**30
    assert found[50_000, 2] - found[50_000, 1] == 8 * 2048 * 50_000

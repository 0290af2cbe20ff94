"""Which real images a cell is compared with, extractor by extractor."""

from dataclasses import replace

from helpers.records import CELL

from bench.measurement import real


def test_each_extractor_answers_for_itself():
    """A first extractor that no metric asks for hides nothing of the second."""
    cell = replace(CELL, extractors=("clip", "efficientnet"), metrics=("psnr", "kernel"))
    asked = []

    def ask(*what):
        asked.append(what)
        return 7

    assert real.by_extractor(cell, ask) == {"efficientnet": 7}
    assert asked == [(cell.checkpoint.dataset, "efficientnet", cell.real)]
    assert real.by_extractor(replace(cell, metrics=("psnr",)), ask) == {}

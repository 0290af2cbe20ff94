"""Some hundred damaged inputs to every parser: each is read, or refused in one line.

docs/experiments/fuzz.py runs the same with as many as one likes.
"""

import pytest
from fuzz import campaign, parsers

# Of the parsers that draw or import more than others.
FEW = {parsers.runs: 12, parsers.figures: 2, parsers.probed: 15, parsers.commands: 12}


@pytest.mark.parametrize("target", parsers.TARGETS, ids=lambda target: target.__name__)
def test_damaged_input_is_read_or_refused(target, monkeypatch, cache):
    monkeypatch.setattr("sys.argv", ["bench"])
    monkeypatch.setattr("bench.data.cifar10.PER_BATCH", 2)
    monkeypatch.setitem(parsers.tables.EXTRACTORS, "tiny", "fuzz.parsers:Tiny")
    counts, examples = campaign.run(target, FEW.get(target, 60), seed=1)
    assert set(counts) <= {"read", "refused"}, examples

"""Some hundred damaged inputs to every parser: each is read, or refused in one line.

docs/experiments/fuzz.py runs the same with as many as one likes.
"""

import math

import pytest
from fuzz import campaign, parsers

from bench.core import estimates
from bench.report.formatting import percent
from bench.verdicts import decisions

# Of the parsers that draw or import more than others.
FEW = {parsers.runs: 12, parsers.figures: 2, parsers.probed: 15, parsers.commands: 12}
FEW[parsers.certificates] = 30


@pytest.mark.parametrize("target", parsers.TARGETS, ids=lambda target: target.__name__)
def test_damaged_input_is_read_or_refused(target, monkeypatch, cache):
    monkeypatch.setattr("sys.argv", ["bench"])
    monkeypatch.setattr("bench.measurement.data.cifar10.PER_BATCH", 2)
    monkeypatch.setitem(parsers.tables.EXTRACTORS, "tiny", "fuzz.parsers:Tiny")
    counts, examples = campaign.run(target, FEW.get(target, 60), seed=1)
    assert set(counts) <= {"read", "refused"}, examples


def test_numbers_that_overflow_say_nothing():
    """Found by the campaign: intervals and shares of edited files near the largest number."""
    huge = estimates.Estimate(1.0, 1e200, 10.0)
    assert estimates.independent(huge, huge).error == math.inf
    for error in (1e308, math.inf):
        assert decisions.needed(estimates.Estimate(1.0, error, 10.0), 0.5, 500) is None
    for share in (math.inf, math.nan, 1e308, -1e308):
        assert percent(share) == percent(None)

"""Flags that end the sampling of a run's cells, held against each other."""

import pytest
from helpers.gates import side

from bench.cli import stopping
from bench.core.errors import InputError
from bench.evaluation.sequential import StoppingRule
from bench.verdicts.until_decided import UntilDecided


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ((1.0, True, None, None), "choose one"),
        ((None, False, "baseline", None), "--against belongs to --until-decided"),
        ((1.0, False, None, "3%"), "--margin belongs to --until-decided"),
        ((None, True, None, "much"), "--margin takes a size"),
    ],
)
def test_flags_that_do_not_go_together(given, word):
    with pytest.raises(InputError, match=word):
        stopping.asked(*given)


def test_each_flag_has_its_rule(tmp_path):
    cells = [record.cell for record in side().run.records]

    def rule(*given):
        return stopping.rule(stopping.asked(*given), cells, tmp_path)

    assert rule(None, False, None, None) is None
    assert isinstance(rule(1.0, False, None, None), StoppingRule)
    found = rule(None, True, None, "3%")
    assert isinstance(found, UntilDecided)
    assert found.margin.relative == 0.03
    with pytest.raises(InputError, match="no run 'nosuch'"):
        rule(None, True, "nosuch", None)
    assert not stopping.asked(None, False, None, None).is_sequential

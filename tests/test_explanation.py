import math

import pytest

from bench.errors import InputError
from bench.explanation import (
    Explanation,
    Part,
    Row,
    from_json,
    part_from_json,
    part_to_json,
    to_json,
)

ROWS = (
    Row("lpf", 0.25, 0.2, 0.3, 8, where={"sigma": 0.01}),
    Row("lpf", math.nan, None, math.inf, 8, "dB", "w4a8", {"layer": "x", "band": 1}),
)
PART = Part("a", "f", "sam", 0, "0" * 64, "flatness", 1, "lpf", "ok", ROWS, 1.5)
WHOLE = Explanation("id", "2026", "abc", "bench probe", {"seed": 0}, (PART,))


def test_part_round_trip():
    found = part_from_json(part_to_json(PART))
    assert found.rows[0] == ROWS[0]
    assert math.isnan(found.rows[1].value)
    assert found.rows[1].high == math.inf
    assert found.rows[1].low is None


def test_file_round_trip_and_lookup():
    found = from_json(to_json(WHOLE))
    assert found.rows("a", "lpf", sigma=0.01) == [ROWS[0]]
    assert len(found.rows("a", "lpf")) == 2
    assert found.rows("b", "lpf") == []
    assert "NaN" not in to_json(WHOLE)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": 99}', '{"schema": 1, "x": 2}'])
def test_other_files_are_refused_in_one_line(text):
    with pytest.raises(InputError):
        from_json(text)

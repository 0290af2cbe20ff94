import json
import math

import pytest

from bench.core.errors import InputError
from bench.core.probe_record import (
    ProbePart,
    ProbeRun,
    ProbeValue,
    from_json,
    part_from_json,
    part_to_json,
    to_json,
)

ROWS = (
    ProbeValue("lpf", 0.25, 0.2, 0.3, 8, where={"sigma": 0.01}),
    ProbeValue("lpf", math.nan, None, math.inf, 8, "dB", "w4a8", {"layer": "x", "band": 1}),
    ProbeValue("lpf_rise", 0.1, n=3, terms=(0.5, math.nan, -0.5), repeats=(0.25, 0.125)),
)
PART = ProbePart("a", "f", "sam", 0, "0" * 64, "flatness", 1, "lpf", "ok", ROWS, 1.5)
WHOLE = ProbeRun("id", "2026", "abc", "bench probe", {"seed": 0}, (PART,))


def test_part_round_trip():
    found = part_from_json(part_to_json(PART))
    assert found.rows[0] == ROWS[0]
    assert math.isnan(found.rows[1].value)
    assert found.rows[1].high == math.inf
    assert found.rows[1].low is None


def test_influences_round_trip():
    found = part_from_json(part_to_json(PART)).rows[2]
    assert found.repeats == (0.25, 0.125)
    assert found.terms[0] == 0.5
    assert math.isnan(found.terms[1])


def test_files_of_the_first_schema_are_read():
    data = json.loads(to_json(WHOLE)) | {"schema": 1}
    for row in data["parts"][0]["rows"]:
        del row["terms"], row["repeats"]
    (part,) = from_json(json.dumps(data)).parts
    assert part.rows[0] == ROWS[0]
    assert part.rows[2].terms == ()


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

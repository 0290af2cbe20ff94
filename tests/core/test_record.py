import json
import math

import pytest
from helpers.records import CELL, COVERAGE, HOST, MEASUREMENT, RECORD, RUN

from bench.core.errors import InputError
from bench.core.record import (
    SCHEMA,
    Coverage,
    Measurement,
    Record,
    record_from_json,
    run_from_json,
    to_json,
)


def test_round_trip():
    assert run_from_json(to_json(RUN)) == RUN
    assert record_from_json(to_json(RECORD)) == RECORD


def test_not_a_number_survives():
    odd = Measurement("x@1", math.nan, None, None, 1, "", "lower", 1)
    record = Record(CELL, HOST, "ok", None, (odd,), {})
    assert math.isnan(record_from_json(to_json(record)).measurements[0].value)


def test_share_of_an_empty_network_is_zero():
    assert Coverage(0, 0, 0, 0, 0, "none").share == 0
    assert COVERAGE.share == 0.9


def test_measurement_by_prefix():
    assert RECORD.measurement("psnr") is MEASUREMENT
    assert RECORD.measurement("ps") is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": 1}', '{"schema": 1, "x": 2}'])
def test_refuses_what_is_no_run(text):
    with pytest.raises(InputError, match="not a run"):
        run_from_json(text)


def test_refuses_a_newer_schema():
    data = json.loads(to_json(RUN)) | {"schema": SCHEMA + 1}
    with pytest.raises(InputError, match="upgrade"):
        run_from_json(json.dumps(data))

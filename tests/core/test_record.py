import json
import math
from dataclasses import replace

import pytest
from core.test_cell import CELL

from bench.core import sound
from bench.core.errors import InputError
from bench.core.record import (
    SCHEMA,
    Coverage,
    Host,
    Measurement,
    Record,
    Run,
    record_from_json,
    run_from_json,
    to_json,
)
from bench.core.rounds import Decided

COVERAGE = Coverage(100, 90, 10, 9, 40, "simulated", {"w4a8": 90}, (("attention", "no weights"),))
MEASUREMENT = Measurement("psnr@5", 30.0, 29.0, 31.0, 5, "dB", "higher", 1, paired=True)
HOST = Host("box", "cpu", "avx2", 2, {"torch": "2"})
RECORD = Record(CELL, HOST, "ok", COVERAGE, (MEASUREMENT,), {"sample": 1.0}, "abc")
RUN = Run("id", "2026-01-01", "abc", False, "bench run", (RECORD,))


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


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"verdict": "fine"}, "verdict 'fine'"),
        ({"counts": ()}, "at no number of images"),
        ({"margin": -1.0}, "a margin of -1.0"),
        ({"level": 1.0}, "at level 1.0"),
        ({"low": 3.0}, "ends before it begins"),
    ],
)
def test_what_was_decided_can_have_happened(change, word):
    known = Decided("delta_kd", "worse", 1.0, 0.95, 1.5, 1.1, 1.9, (100,), 500)
    sound.decided(known)
    with pytest.raises(ValueError, match=word):
        sound.decided(replace(known, **change))

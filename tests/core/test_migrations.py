"""Canned runs of older schemas are read, and mean what they meant."""

import json
from pathlib import Path

import pytest

from bench.core.errors import InputError
from bench.core.migrations import STEPS, migrate
from bench.core.record import SCHEMA, run_from_json, to_json
from bench.system.runs import read_run

CANNED = Path(__file__).parents[1] / "golden" / "schema-1.json"


def test_a_run_of_schema_1():
    run = read_run(CANNED)
    assert run.schema == SCHEMA == 4
    full, quantized, refused = run.records
    assert quantized.measurement("psnr").value == 29.65
    assert quantized.coverage.kernel == "simulated"
    assert full.real == {}
    assert quantized.rounds is None
    assert refused.status == "refused"
    assert run_from_json(to_json(run)) == run


def test_the_file_is_left_as_it_was_made():
    read_run(CANNED)
    assert json.loads(CANNED.read_text())["schema"] == 1


def test_every_schema_but_the_present_one_has_a_step():
    assert set(STEPS) == set(range(1, SCHEMA))


@pytest.mark.parametrize("schema", [0, "1", None])
def test_an_unknown_schema(schema):
    data = json.loads(CANNED.read_text()) | {"schema": schema}
    with pytest.raises(InputError):
        run_from_json(json.dumps(data))
    with pytest.raises(KeyError):
        migrate({"schema": 0, "records": []}, SCHEMA)

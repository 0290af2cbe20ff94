from dataclasses import replace

import pytest
from gates import side

from bench.findings import notes, same_noise

RECORD = side().run.records[1]


def test_nothing_to_note_of_the_same_run():
    assert notes(RECORD, RECORD) == []
    assert same_noise(RECORD, RECORD)


def test_host_and_versions_are_notes():
    host = replace(RECORD.host, isa="avx512_vnni", versions={"torch": "3", "numpy": "2"})
    found = notes(RECORD, replace(RECORD, host=host))
    assert found == ["host isa avx2 → avx512_vnni", "numpy missing → 2", "torch 2 → 3"]


def test_another_device_is_a_note_and_the_noise_is_the_same():
    there = replace(RECORD, host=replace(RECORD.host, device="cuda", isa="H100 sm_90"))
    assert notes(RECORD, there) == ["host device cpu → cuda", "host isa avx2 → H100 sm_90"]
    assert same_noise(RECORD, there)


@pytest.mark.parametrize(
    ("change", "same"),
    [({"seed": 1}, False), ({"images": 9}, False), ({"eta": 0.5}, False), ({"batch": 9}, True)],
)
def test_noise(change, same):
    cell = replace(RECORD.cell, draw=replace(RECORD.cell.draw, **change))
    assert same_noise(RECORD, replace(RECORD, cell=cell)) == same

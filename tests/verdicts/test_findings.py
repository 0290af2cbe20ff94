from dataclasses import replace

import pytest
from helpers.gates import side

from bench.core.elsewhere import Elsewhere
from bench.core.record import Measurement
from bench.verdicts.findings import findings, notes, same_noise

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


@pytest.mark.parametrize(
    ("prompts", "names", "said"),
    [
        ("a", "n", []),
        ("", "n", []),
        ("b", "n", [("protocol", "prompts SHA-256 a → b")]),
        ("b", "other", []),
    ],
)
def test_pictures_of_other_prompts_are_of_another_protocol(prompts, names, said):
    """Not where one run does not say them, or where the pictures are others anyway."""
    old, new = (
        replace(RECORD, elsewhere=Elsewhere("s", n, {}, prompts=p))
        for n, p in (("n", "a"), (names, prompts))
    )
    assert [(f.kind, f.text) for f in findings(old, new)] == said


MAKERS = (
    "extractors efficientnet weights",
    "extractors efficientnet package",
    "dinov2",
    "metrics mine package",
    "samplers theirs version",
)


@pytest.mark.parametrize("name", MAKERS)
def test_what_makes_the_numbers_is_no_library(name):
    """Another one is a finding; one that BASE did not record yet is a note."""
    was, now = (
        replace(RECORD, host=replace(RECORD.host, versions={"torch": "2", name: text}))
        for text in ("1", "2")
    )
    assert [(f.kind, f.text) for f in findings(was, now)] == [("extractor", f"{name} 1 → 2")]
    assert notes(was, now) == []
    assert [f.text for f in findings(was, RECORD)] == [f"{name} 1 → missing"]
    assert findings(RECORD, now) == []
    assert notes(RECORD, now) == [f"{name} missing → 2"]


def test_a_share_that_stays_says_not_that_nothing_is_quantized():
    """Recall may change by 0 though every image moved; PSNR knows."""
    recall = Measurement("delta_recall_x@500", 0.0, None, None, 500, "", "higher", 1, True)
    psnr = RECORD.measurement("psnr")
    moved = replace(RECORD, measurements=(recall, psnr))
    assert findings(RECORD, moved) == []
    inert = replace(RECORD, measurements=(recall, replace(psnr, value=100.0)))
    assert [f.kind for f in findings(RECORD, inert)] == ["inert"]


def test_a_side_that_does_not_say_what_executed():
    silent = replace(RECORD, coverage=None)
    assert [f.text for f in findings(RECORD, silent)] == ["HEAD does not say what executed"]
    assert [f.text for f in findings(silent, RECORD)] == ["BASE does not say what executed"]
    assert findings(silent, silent) == []


def test_a_method_s_file_of_other_content_is_a_finding():
    """The scheme names it alike."""
    name = "methods python sha256"
    scheme = replace(RECORD.cell.scheme, methods=("python:mine.py:f",))
    record = replace(RECORD, cell=replace(RECORD.cell, scheme=scheme))
    old, new = (
        replace(record, host=replace(record.host, versions={**record.host.versions, name: digest}))
        for digest in ("1" * 64, "2" * 64)
    )
    assert str(old.cell) == str(new.cell)
    assert [(f.kind, f.text) for f in findings(old, new)] == [
        ("extractor", f"{name} {'1' * 64} → {'2' * 64}")
    ]
    assert findings(old, old) == []

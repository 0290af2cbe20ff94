"""Certificates: pinned claims, and that whatever was changed afterwards is found."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.gates import side

from bench.core.errors import InputError
from bench.core.estimates import estimate
from bench.core.record import to_json
from bench.core.rounds import Decided
from bench.system import influences
from bench.verdicts import certificate
from bench.verdicts.confidence_sequences import Sequence

METRIC = "delta_kd_efficientnet"


@pytest.fixture
def write(tmp_path):
    """Write a side as the folder of a run."""

    def written(of):
        folder = tmp_path / of.run.id
        folder.mkdir(exist_ok=True)
        (folder / "run.json").write_text(to_json(of.run), encoding="utf-8")
        influences.save(folder / influences.NAME, of.influences)
        return folder

    return written


def terms(of):
    (name,) = [name for name in of.influences if METRIC in name]
    return np.float32(of.influences[name]).astype(float)


def test_a_claim_says_what_it_is_about(write):
    of = side()
    made = certificate.certify(write(of), METRIC, "20")
    (claim,) = made.claims
    assert (claim.checkpoint, claim.scheme, claim.backend) == ("fashion-sam", "w8a8", "simulated")
    assert claim.full_precision == claim.quantized == "a" * 64
    assert (claim.kernel, claim.coverage, claim.images, claim.pairs) == (
        "simulated",
        0.9,
        500,
        500,
    )
    low, high = estimate(-4.0, terms(of)).interval()
    assert (claim.worsening, claim.margin) == (16.0, 20.0)
    assert (claim.low, claim.high) == pytest.approx((low, high))
    assert (claim.bounds, claim.verdict, made.verdict) == ("student", *["non-inferior"] * 2)
    assert (made.metric, made.margin, made.level, made.schema) == (METRIC, "20", 0.95, 1)
    assert len(made.run_json) == len(made.influences_npz) == len(made.seal) == 64


@pytest.mark.parametrize(
    ("margin", "verdict"), [("10", "worse"), ("16", "not shown"), ("5%", "worse"), ("30%", "non-")]
)
def test_verdicts(write, margin, verdict):
    """The change is 16 +- 1.8, full precision 114."""
    assert certificate.certify(write(side()), METRIC, margin).verdict.startswith(verdict)


def test_where_sampling_stopped_at_a_verdict_the_bounds_are_those_of_its_sequence(write):
    of = side()
    decided = Decided(METRIC, "worse", 10.0, 0.95, 16.0, 11.0, 21.0, (100, 500), 500)
    records = [replace(r, decided=decided) for r in of.run.records[1:]]
    of = replace(of, run=replace(of.run, records=(of.run.records[0], *records)))
    (claim,) = certificate.certify(write(of), METRIC, "20").claims
    ends = Sequence().interval(-4.0, terms(of))
    assert claim.bounds == "sequence"
    assert (claim.low, claim.high) == pytest.approx(ends)


def test_it_is_read_as_it_was_written_and_holds(write, tmp_path):
    folder = write(side())
    made = certificate.certify(folder, METRIC, "3%")
    path = tmp_path / "c.json"
    path.write_text(certificate.to_json(made), encoding="utf-8")
    assert certificate.read(path) == made
    assert certificate.differences(made, folder) == []
    assert certificate.to_json(certificate.certify(folder, METRIC, "3%")) == path.read_text()


def test_a_flipped_bit_of_the_influences_is_found(write):
    folder = write(side())
    made = certificate.certify(folder, METRIC, "20")
    path = folder / influences.NAME
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    wrong = certificate.differences(made, folder)
    assert wrong[0].startswith("influences.npz is another file: SHA-256")
    path.unlink()
    wrong = certificate.differences(made, folder)
    assert "no file here" in wrong[0]
    assert wrong[1].startswith("it cannot be made again: ")


def test_other_influences_are_found_though_the_hash_was_changed_too(write):
    of = side()
    made = certificate.certify(write(of), METRIC, "20")
    wider = {name: 3 * values for name, values in of.influences.items()}
    folder = write(replace(of, influences=wider))
    again = certificate.certify(folder, METRIC, "20")
    forged = replace(made, influences_npz=again.influences_npz)
    forged = replace(forged, seal=certificate.seal(forged))
    wrong = certificate.differences(forged, folder)
    assert [line.partition(": ")[2].split(":")[0] for line in wrong] == ["low", "high", "verdict"]


def test_a_changed_margin_is_found_with_and_without_its_seal(write):
    folder = write(side())
    made = certificate.certify(folder, METRIC, "16")
    changed = replace(made, margin="20")
    wrong = certificate.differences(changed, folder)
    assert "seal" in wrong[0]
    assert any("margin: 16.0 stated, 20.0 here" in line for line in wrong)
    assert any("verdict: not shown stated, non-inferior here" in line for line in wrong)
    sealed = replace(changed, seal=certificate.seal(changed))
    assert len(certificate.differences(sealed, folder)) == len(wrong) - 1
    (claim,) = made.claims
    lie = replace(made, claims=(replace(claim, verdict="non-inferior"),))
    lie = replace(lie, seal=certificate.seal(lie))
    (line,) = certificate.differences(lie, folder)
    assert line.endswith("verdict: non-inferior stated, not shown here")


def test_other_weights_and_kernels_are_found(write):
    folder = write(side())
    made = certificate.certify(folder, METRIC, "16")
    (claim,) = made.claims
    for field, value in (("quantized", "b" * 64), ("kernel", "int8"), ("calibration", "c")):
        forged = replace(made, claims=(replace(claim, **{field: value}),))
        forged = replace(forged, seal=certificate.seal(forged))
        (line,) = certificate.differences(forged, folder)
        assert f"{field}: " in line


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"metric": "delta_fd"}, "has no delta_fd"),
        ({"level": 1.0}, "--level must be"),
        ({"level": float("nan")}, "--level must be"),
        ({"margin": "much"}, "--margin takes a size"),
        ({"cells": "w2*"}, "has no measured quantized cell 'w2*'"),
    ],
)
def test_what_cannot_be_certified(write, given, word):
    words = {"metric": METRIC, "margin": "3%", **given}
    with pytest.raises(InputError) as raised:
        certificate.certify(write(side()), **words)
    assert word in str(raised.value)


def test_without_influences_there_is_nothing_to_rest_on(write):
    folder = write(side())
    (folder / influences.NAME).unlink()
    with pytest.raises(InputError, match=r"has no influences\.npz"):
        certificate.certify(folder, METRIC, "3%")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: [data],
        lambda data: data | {"schema": 2},
        lambda data: data | {"schema": True},
        lambda data: data | {"level": "0.95"},
        lambda data: data | {"claims": []},
        lambda data: data | {"claims": 2 * data["claims"]},
        lambda data: data | {"more": 1},
        lambda data: {k: v for k, v in data.items() if k != "metric"},
    ],
)
def test_what_is_no_certificate(write, tmp_path, change):
    made = certificate.certify(write(side()), METRIC, "3%")
    path = tmp_path / "c.json"
    path.write_text(json.dumps(change(json.loads(certificate.to_json(made)))), encoding="utf-8")
    with pytest.raises(InputError) as raised:
        certificate.read(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)

"""The sections of coverage and agreement, on rows of integer kernels."""

from dataclasses import replace

import pytest
from helpers import canned_run

from bench.core.record import Agreement, LayerCoverage, Measurement
from bench.core.scheme import Scheme
from bench.report.coverage import agreement, coverage
from bench.report.rows import rows


@pytest.fixture
def found():
    """The canned rows, the w4a8 ones as if executed by int8 kernels."""
    run = canned_run.run()
    records = []
    for k, record in enumerate(run.records):
        if record.status == "ok" and str(record.cell.scheme) == "w4a8":
            known = replace(
                record.coverage,
                kernel="int8",
                macs_by_kernel={"onednn.qconv2d_pointwise": 9_800_000, "aten.bmm": 200_000},
                bytes_stored=531_000,
                bytes_memory=1_100_000,
                agreement=Agreement(42.26, 0.0316, f"layer{k}", 125.9),
            )
            likeness = Measurement("psnr_simulated@500", 39.3, 38.0, 40.6, 500, "dB", "higher", 1)
            record = replace(record, coverage=known, measurements=(*record.measurements, likeness))
        records.append(record)
    return rows(replace(run, records=tuple(records)))


def test_operators_and_measured_sizes(found):
    text = "\n".join(coverage(found))
    assert "onednn.qconv2d_pointwise 98.0%, aten.bmm 2.0%" in text
    assert "531.0 kB" in text and "1.10 MB" in text
    # Checkpoints that differ only in how well they agree share a line.
    assert sum(line.startswith("| w4a8") for line in text.splitlines()) == 1


def test_what_runs_in_two_halves_is_told_with_what_runs_in_one(found):
    assert not any("W7A8" in line for line in coverage(found))
    row = next(row for row in found if row.kernel == "int8")
    kernels = {"onednn.qconv2d_pointwise, in two halves": 9_800_000}
    covered = replace(row.record.coverage, macs_by_kernel=kernels)
    halved = replace(row, record=replace(row.record, coverage=covered))
    assert sum("W7A8, the reduced range" in line for line in coverage([halved])) == 1


def test_what_was_not_measured_is_not_printed(found):
    simulated = [row for row in found if row.kernel != "int8"]
    line = next(line for line in coverage(simulated) if line.startswith("| w8a8"))
    assert line.count("–") == 2


def test_agreement_of_each_checkpoint(found):
    lines = [line for line in agreement(found) if line.startswith("| ") and "w4a8" in line]
    assert len(lines) == sum(row.kernel == "int8" for row in found) > 1
    for line in lines:
        assert "| 125.9 |" in " ".join(line.split())
        assert "42.3" in line and "3.16%" in line and "39.3 [38.0, 40.6]" in line
    assert len({line.split("|")[5] for line in lines}) == len(lines)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("w~4.5a8", "4.400 bits on average; of the weights 4-bit 90.0%, 8-bit 10.0%"),
        ("w~5a8+by-macs", "4.800 bits on average; of the multiply-accumulates 4-bit 80.0%, 8-bit"),
    ],
)
def test_bits_under_a_budget(words, said):
    """A layer that runs twice has its weights once; float ones (and activations alone) not."""
    run = canned_run.run()
    layers = (
        LayerCoverage("edge", 10, 100, "w8a8", "k"),
        LayerCoverage("twice", 20, 900, "w4a8", "k"),
        LayerCoverage("twice", 20, 900, "w4a8", "k"),
        LayerCoverage("float", 70, 70, "fp32", "k"),
    )
    records = [
        replace(
            record,
            cell=replace(record.cell, scheme=Scheme.parse(words)),
            coverage=replace(record.coverage, layers=layers),
        )
        for record in run.records
        if record.status == "ok" and str(record.cell.scheme) == "w4a8"
    ]
    text = coverage(rows(replace(run, records=tuple(records))))
    assert sum(said in line for line in text) == 1
    # The costs that chose the bits know nothing of a method: said where there is one.
    assert "plain rounding's" not in "".join(text)
    scheme = replace(records[0].cell.scheme, methods=("gptq",))
    more = [replace(r, cell=replace(r.cell, scheme=scheme)) for r in records]
    told = "".join(coverage(rows(replace(run, records=tuple(more)))))
    assert "plain rounding's, whatever method follows" in told
    assert "budget" not in "".join(coverage(rows(run)))


def test_no_kernels_no_section():
    assert agreement(rows(canned_run.run())) == []

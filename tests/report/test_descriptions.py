"""The protocol says what was taken for the description of the checkpoints and how it fits."""

from dataclasses import replace

import pytest

from bench import report
from bench.core.record import Fit, run_from_json, to_json

SAID = {"schedule": "cosine, 1000 timesteps", "prediction": "epsilon", "predicted x_0": "clamped"}


@pytest.fixture
def checked(run):
    """The canned run with fits of its checkpoints, one of which differs, and an assumption."""
    names = list(dict.fromkeys(r.cell.checkpoint.name for r in run.records))
    fits = [Fit(name, SAID, "fits", 0.012, 0.06, 8) for name in names]
    fits[1] = Fit(
        names[1],
        SAID | {"prediction": "sample"},
        "another fits better",
        0.03,
        0.06,
        8,
        better={"predicts epsilon": 0.2},
    )
    fits[2] = Fit(names[2], SAID, "not checked", reason="cifar10 not found")
    records = [
        replace(r, cell=replace(r.cell, checkpoint=replace(r.cell.checkpoint, assumed=("a x",))))
        for r in run.records
    ]
    return replace(run, fits=tuple(fits), records=tuple(records)), names


def test_protocol(checked, folder):
    run, names = checked
    text = report.markdown(run, folder)
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]

    def value(topic):
        (cell,) = [row[2] for row in rows if len(row) > 2 and row[1].endswith(f": {topic}")]
        return cell.replace("\\", "")

    assert value("schedule") == "cosine, 1000 timesteps"
    assert f"{names[1]}: sample" in value("prediction")
    assert value("assumed") == "a x"
    check = value("check of the description")
    assert f"{names[0]} 0.012, 0.20" in check
    assert "its ratio to the 0.06 of the best multiple of x_t" in check
    assert f"{names[1]} 0.03, 0.50, but predicts epsilon (0.20)" in check
    assert f"not checked (cifar10 not found): {names[2]}" in check
    assert "check of the description" in report.page(run, folder)


def test_fits_and_assumptions_are_part_of_run_json(checked, run, tmp_path):
    found, _ = checked
    assert run_from_json(to_json(found)) == found
    # A run of before there were any.
    assert "check of the description" not in report.markdown(run, tmp_path)

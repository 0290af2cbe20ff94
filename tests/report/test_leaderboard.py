"""Lines of many runs: which compare, which is kept, and what is flagged."""

from dataclasses import replace

import pytest
from helpers import canned_run

from bench.core.record import Agreement
from bench.core.scheme import Scheme
from bench.report import leaderboard
from bench.report.leaderboard import FLAGS


def without_intervals_flag(line):
    # The canned run has changes without intervals, on purpose.
    return [flag for flag in line.flags if flag != "no interval"]


def changed(run, name, draw=None, **record):
    """The run under another id, a day later, with other draws or records."""
    records = []
    for r in run.records:
        cell = replace(r.cell, draw=replace(r.cell.draw, **draw)) if draw else r.cell
        records.append(replace(r, cell=cell, **(record if r.coverage else {})))
    return replace(run, id=name, created="2025-01-03T00:00:00+00:00", records=tuple(records))


def test_all_quantized_cells_are_lines_and_only_they():
    found = leaderboard.lines([(canned_run.run("w4a8"), {})])
    told = [(line.row.checkpoint, str(line.row.scheme), line.flags) for line in found]
    assert [name for name, scheme, _ in told if scheme == "w4a8"] == [
        # By the change of KD: 1.10, 2.71, 3.02 and 6.84 by 900.
        *("fmnist-sam", "fmnist-swa", "fmnist-ema", "fmnist-baseline"),
    ]
    # Refused and failed cells come last.
    assert [(s, flags) for _, s, flags in told[4:]] == [("w2a8", ("not measured",))] * 2
    assert [without_intervals_flag(line) for line in found[:4]] == [[]] * 4


def test_the_newest_of_equal_cells_is_kept():
    run = canned_run.run("w4a8")
    found = leaderboard.lines([(changed(run, "later"), {}), (run, {})])
    assert [(line.run, line.times) for line in found] == [("later", 2)] * 6


def test_the_protocol_of_most_is_the_main_one():
    run = canned_run.run("w8a8", "w4a8")
    other = changed(canned_run.run("w4a8"), "other", {"steps": 100})
    found = leaderboard.lines([(run, {}), (other, {})])
    flagged = [line for line in found if "other protocol" in line.flags]
    assert {line.run for line in flagged} == {"other"} and len(flagged) == 4
    # Below all lines of the main protocol.
    assert found.index(flagged[0]) == 8
    letters = leaderboard.protocols(found)["fashion-mnist"]
    main, second = letters
    assert [*letters.values()] == ["A", "B"]
    assert leaderboard.differences(second, main) == "steps 100"


@pytest.mark.parametrize(
    ("record", "flags"),
    [
        ({"equal": 500}, ["not quantized"]),
        ({"equal": 4}, []),
        ({"coverage": None}, ["coverage unknown"]),
    ],
)
def test_what_is_suspicious_is_flagged(record, flags):
    (line, *_) = leaderboard.lines([(changed(canned_run.run("w4a8"), "a", **record), {})])
    assert without_intervals_flag(line) == flags


@pytest.mark.parametrize(
    ("sqnr", "is_flagged"), [(19.9, True), (20.0, False), (float("nan"), True)]
)
def test_kernels_that_disagree_are_flagged(sqnr, is_flagged):
    known = canned_run.coverage(Scheme.parse("w4a8"))
    known = replace(known, agreement=Agreement(sqnr, 0.0, "conv_in", sqnr))
    (line, *_) = leaderboard.lines([(changed(canned_run.run("w4a8"), "a", coverage=known), {})])
    assert ("kernels disagree" in line.flags) is is_flagged


@pytest.mark.parametrize(("quantized", "is_flagged"), [(8_999_999, True), (9_000_000, False)])
def test_low_coverage_is_flagged(quantized, is_flagged):
    known = replace(canned_run.coverage(Scheme.parse("w4a8")), macs_quantized=quantized)
    (line, *_) = leaderboard.lines([(changed(canned_run.run("w4a8"), "a", coverage=known), {})])
    assert ("low coverage" in line.flags) is is_flagged


def test_means_are_of_unflagged_lines_of_a_method():
    def bounded(m):
        return replace(m, low=m.value - 0.001, high=m.value + 0.001) if "delta" in m.name else m

    run = canned_run.with_measurements(canned_run.run("w4a8"), bounded)
    seeds = []
    for r in run.records:
        card = replace(r.cell.checkpoint, seed=1, name=f"{r.cell.checkpoint.name}-1")
        card = replace(card, sha256=card.sha256[::-1])
        measured = tuple(replace(m, value=2 * m.value) for m in r.measurements)
        cell = replace(r.cell, checkpoint=card)
        seeds.append(replace(r, cell=cell, measurements=tuple(map(bounded, measured))))
    table = leaderboard.changes(
        leaderboard.lines([(replace(run, records=(*run.records, *seeds)), {})])
    )
    ((key, by_method),) = table.items()
    assert key == ("fmnist-small", "w4a8", "simulated")
    assert by_method["sam"] == pytest.approx([1.10 / 900, 2.20 / 900])
    assert set(FLAGS) >= {"other protocol", "low coverage"}

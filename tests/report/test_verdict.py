"""Each scheme in a word, by how much, and how far images moved."""

from dataclasses import replace

import pytest
from helpers import canned_run

from bench.report.overview import answer, grid, guide, together
from bench.report.rows import rows
from bench.report.verdict import MARKS, verdicts

# Full precision has a KD of 0.0459 (baseline, 41.27 / 900): 3% of it, which matters, is 0.0014.
WORDS = {
    (0.002, 0.004): "harmed",
    (-0.001, 0.001): "not harmed",
    (-0.001, 0.0013): "not harmed",
    (-0.001, 0.0015): "not decided",
    (-0.004, -0.002): "improved",
    (None, None): "not decided",
}


def judged(low, high, *texts):
    """The verdicts of a run of one checkpoint whose changes of KD all have these ends."""

    def change(measurement):
        if not measurement.name.startswith("delta_kd"):
            return measurement
        middle = measurement.value if low is None else (low + high) / 2
        return replace(measurement, value=middle, low=low, high=high)

    run = canned_run.with_measurements(canned_run.run(*texts), change)
    kept = [r for r in run.records if r.cell.checkpoint.method == "baseline"]
    return verdicts(rows(replace(run, records=tuple(kept))), {})


@pytest.mark.parametrize(("ends", "word"), WORDS.items())
def test_the_word_goes_by_the_interval_and_what_matters(ends, word):
    (found,) = judged(*ends, "w4a8")
    assert found.word == word
    assert answer([found]) == f"w4a8: baseline: {word}"


def test_a_single_cell_has_its_interval_and_its_share():
    (found,) = judged(0.002, 0.004, "w4a8")
    assert found.amount() == "KD +0.0030 [+0.0020, +0.0040], +7% of full precision"
    assert found.amount(is_short=True) == "KD +0.0030 [+0.0020, +0.0040]"
    assert found.moved() == "images moved to PSNR 19.40 dB"
    assert found.ends() == ""


def test_several_cells_have_their_span_and_who_is_least_and_most():
    _, found = verdicts(rows(canned_run.run()), {})
    assert found.count() == "all 4 checkpoints not decided"
    assert found.amount() == (
        "KD +0.001222 to +0.007600, median +0.003183 (+3% to +17% of full precision)"
    )
    assert found.ends() == "least: sam (+0.001222); most: baseline (+0.007600)"
    assert found.moved() == "images moved to PSNR 19.40 to 25.30 dB"


def test_words_of_several_kinds_are_counted():
    both = judged(0.002, 0.004, "w4a8")[0], judged(-0.001, 0.0015, "w8a8")[0]
    mixed = replace(both[0], judged=(*both[0].judged, *both[1].judged))
    assert mixed.count() == "1 of 2 checkpoints harmed, 1 not decided"
    assert mixed.word == "harmed"
    assert answer(both) == "w4a8: baseline: harmed; w8a8: baseline: not decided"
    assert answer(both * 2) == "2 of 4 schemes harm at least one of the checkpoints"
    assert answer([]) == "No quantized cell was measured"


def test_many_cells_are_a_grid_whose_longer_side_runs_down():
    corner, heads, sides = grid(verdicts(rows(canned_run.run()), {}))
    assert (corner, heads, list(sides)) == (
        "Checkpoint",
        ["w8a8", "w4a8"],
        ["sam", "ema", "swa", "baseline"],
    )
    assert [cell[0].word for cell in sides["sam"]] == ["not decided"] * 2
    assert grid(judged(0.002, 0.004)) is None


def test_the_guide_names_the_distance_and_no_floor_that_was_not_measured():
    told = guide(verdicts(rows(canned_run.run()), {}))
    assert told.startswith("KD is the kernel distance")
    assert "floor" not in told
    assert guide([]) == ""
    assert len(set(MARKS.values())) == len(MARKS)


def test_how_many_of_the_harmed_remain_when_all_are_judged_at_once():
    # Normal intervals of half width 1.965 errors (500 images): |z| of 2.1 and 6.
    near, far = judged(0.0001, 0.00302, "w4a8"), judged(0.002, 0.004, "w4a8")
    calm = judged(-0.004, 0.004, "w4a8")
    assert [v[0].word for v in (near, far, calm)] == ["harmed", "harmed", "not decided"]
    assert together([*near, *far, *calm]).endswith(
        "when all 3 cells are judged at once (Holm), 1 of 2 harmed ones remain."
    )
    # Alone, the nearer one is what its interval says; without harm there is nothing to say.
    assert together(near) == together([*calm, *calm]) == ""
    assert "Holm" in guide([*near, *far]) and "Holm" not in guide(near)

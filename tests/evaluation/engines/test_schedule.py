"""Who does what next: each piece once, calibrations once, nothing waits for ever."""

from collections import Counter
from dataclasses import replace

import pytest
from evaluation.engines.test_processes import resolved
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.progress import Done, Progress
from bench.core.record import Record
from bench.evaluation import parts
from bench.evaluation.cost import sampling_cost
from bench.evaluation.engines.schedule import TRIES, Schedule
from bench.evaluation.parts import Part


def done(item, setup=1e-9):
    """What a worker tells at the end of a piece of work."""
    if isinstance(item, Part):
        return Done(item, {"load": setup, "sample": 1.0})
    return Record(item.cell, item.host, "ok", None, (), {})


@pytest.fixture
def cells(cache):
    return resolved(cache, "w8a8", "w4a8")


def test_workers_begin_at_different_checkpoints_and_stay(cells):
    schedule = Schedule(cells)
    first, second = schedule.take(1), schedule.take(2)
    assert [str(first), str(second)] == ["a fp32 float, batch 0", "b fp32 float, batch 0"]
    schedule.tell(1, done(first))
    assert str(schedule.take(1)) == "a fp32 float, batch 1"


def test_a_calibration_is_made_by_one_worker(cache):
    """Another one that would come to cells of it waits until the first one samples."""
    (_, simulated, kernels) = resolved(cache, "w4a8", checkpoints=("a",))
    schedule = Schedule([simulated, kernels])
    first, second = schedule.take(1), schedule.take(2)
    assert [str(first), str(second)] == ["a fp32 float, batch 0", "a w4a8 simulated, batch 0"]
    assert schedule.take(3) is None
    schedule.tell(2, Progress("a w4a8 simulated", "calibrating"))
    assert schedule.take(3) is None
    schedule.tell(2, Progress("a w4a8 simulated", "sampling"))
    assert str(schedule.take(3)) == "a w4a8 int8-x86, batch 0"


def test_what_is_to_be_calibrated_comes_before_what_others_can_help_with(cache):
    schedule, begun = Schedule(resolved(cache, "w8a8", "w4a8", checkpoints=("a",))), []
    while not schedule.is_done:
        item = schedule.take(1)
        begun += [str(item.cell)] if isinstance(item, Part) else []
        schedule.tell(1, done(item))
    plain = ["a fp32 float", "a w8a8 simulated", "a w4a8 simulated"]
    assert list(dict.fromkeys(begun))[:3] == plain


@pytest.mark.parametrize(("setup", "helped"), [(0.5, True), (3.0, False)])
def test_a_worker_helps_where_that_is_quicker_than_its_start(cache, setup, helped):
    """Two batches of a second each are left, and nothing else is to be done."""
    reference = resolved(cache, "w4a8", checkpoints=("a",))[0]
    draw = replace(reference.cell.draw, images=8)
    images = replace(reference.images, cell=replace(reference.cell, draw=draw))
    schedule = Schedule([replace(reference, images=images, reference=images)])
    item = schedule.take(1)
    assert schedule.take(2) is None
    schedule.tell(1, done(item, setup))
    schedule.take(1)
    assert (schedule.take(2) is not None) == helped


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.randoms(use_true_random=False))
def test_each_piece_is_done_once_whatever_happens(tmp_path_factory, workers, random):
    """Workers end in any order, and some are killed: all is done once, and it ends."""
    cells = resolved(tmp_path_factory.getbasetemp(), "w8a8", "w4a8")
    schedule, finished = Schedule(cells), Counter()
    kills = 6
    while not schedule.is_done:
        for who in range(workers):
            if who not in schedule.busy:
                schedule.take(who)
        who = random.choice(sorted(schedule.busy))
        item = schedule.busy[who]
        if kills and schedule.tries[str(item)] < TRIES - 1 and random.random() < 0.3:
            kills -= 1
            assert schedule.lost(who, "killed") == []
            continue
        finished[str(item)] += 1
        schedule.tell(who, done(item))
    assert set(finished.values()) == {1}
    assert len(finished) == len(cells) + 2 * len(cells)


def test_what_kills_again_and_again_is_left_and_the_rest_goes_on(cache):
    """Without the images in full precision nothing is compared with them."""
    cells = resolved(cache, "w4a8", checkpoints=("a",))
    schedule = Schedule(cells)
    for _ in range(TRIES - 1):
        assert str(schedule.take(1)) == "a fp32 float, batch 0"
        assert schedule.lost(1, "killed") == []
    schedule.take(1)
    told = schedule.lost(1, "killed")
    assert {(str(r.cell), r.status, r.error) for r in told} == {
        (str(wanted), "failed", "killed") for wanted in cells
    }


def test_a_part_that_fails_leaves_the_error_to_its_cell(cache):
    cells = resolved(cache, "w4a8", checkpoints=("a",))[:1]
    schedule = Schedule(cells)
    schedule.tell(1, Done(schedule.take(1), {}, "RuntimeError: no kernel"))
    assert str(schedule.take(1)) == str(cells[0])


@pytest.mark.parametrize("count", [1, 3, 7])
def test_shares_are_the_whole_and_do_not_overlap(cells, count):
    shares = [parts.shard(cells, number, count) for number in range(1, count + 1)]
    assert Counter(str(part) for share in shares for part in share) == Counter(
        f"{wanted}, batch {k}" for wanted in cells for k in range(2)
    )
    costs = [sum(sampling_cost(part.cell) for part in share) for share in shares]
    # They differ by no more than a part, of which the dearest is that of a simulation.
    assert max(costs) - min(costs) <= 2 * max(sampling_cost(wanted.cell) for wanted in cells)

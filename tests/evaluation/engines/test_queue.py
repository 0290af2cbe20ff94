"""Tasks over workers: each once, those of a group by one worker, what is lost is done again."""

from dataclasses import dataclass

import pytest

from bench.core.progress import Done, Progress
from bench.evaluation.engines.queue import TRIES, Queue


@dataclass(frozen=True)
class Task:
    name: str
    group: str
    memory: float = 0.0

    def __str__(self):
        return self.name


TASKS = [Task("a1", "a"), Task("a2", "a"), Task("b1", "b"), Task("b2", "b")]


def test_a_worker_stays_at_a_group_and_the_next_begins_at_another():
    queue = Queue(TASKS)
    assert [str(queue.take(who)) for who in (0, 1)] == ["a1", "b1"]
    queue.tell(1, Progress("b1", "half"))
    assert (queue.waiting, set(queue.busy)) == (2, {0, 1})
    queue.tell(1, Done(TASKS[2]))
    assert str(queue.take(1)) == "b2"
    queue.tell(1, Done(TASKS[3]))
    # Nothing is left of its group, so it helps.
    assert str(queue.take(1)) == "a2"
    assert queue.take(2) is None and not queue.is_done
    queue.tell(0, Done(TASKS[0]))
    queue.tell(1, Done(TASKS[1]))
    assert queue.is_done


def test_what_is_lost_is_done_again_and_given_up_in_the_end():
    queue = Queue(TASKS[:1])
    for _ in range(TRIES - 1):
        assert str(queue.take(0)) == "a1"
        assert queue.lost(0, "killed") == []
    queue.take(1)
    assert queue.lost(1, "killed") == [Done(TASKS[0], error="killed")]
    assert queue.is_done


@pytest.mark.parametrize("count", [0, 3])
def test_nothing_to_do_is_done(count):
    queue = Queue([])
    assert queue.is_done and queue.take(count) is None

"""Parts of cells, made by several workers in any order: the bits and numbers of one worker."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
from helpers.cells import Runs

from bench.core.cell import Draw, expand
from bench.core.errors import NotExecuted
from bench.core.progress import Done, Progress
from bench.core.record import Record
from bench.core.scheme import Scheme
from bench.evaluation import parts
from bench.evaluation.engines.schedule import Schedule
from bench.evaluation.generation import Generation
from bench.evaluation.worker import Worker
from bench.models.cards import load_cards, verify
from bench.system import claims

DRAW = Draw(steps=2, images=7, batch=2)
W4A8 = replace(Scheme.parse("w4a8"), calibration=2)


def shared(cells, cache, count):
    """Records by so many workers of this process, which take turns at random."""
    schedule, random = Schedule(cells), Random(count)
    schedule.helps = lambda images: True
    given: dict[int, list] = {who: [] for who in range(count)}

    def items(who) -> Iterator:
        while True:
            yield given[who].pop()

    workers = [Worker("cpu", cache)(items(who)) for who in given]
    while not schedule.is_done:
        for who in given:
            if who not in schedule.busy and (item := schedule.take(who)) is not None:
                given[who].append(item)
        who = random.choice(sorted(schedule.busy))
        told = next(workers[who])
        schedule.tell(who, told)
        if isinstance(told, Record):
            yield told


def files(cache):
    """The bytes of images and features by path."""
    rooms = ("images", "features")
    paths = [path for room in rooms for path in (cache / room).rglob("*.npy")]
    return {str(path.relative_to(cache)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_workers_give_the_bits_and_numbers_of_one(cards, tmp_path, count):
    card = verify(load_cards(cards)[0])
    cells = expand([card], [W4A8], ["simulated"], DRAW)
    cells = [replace(cell, metrics=("psnr", "kernel")) for cell in cells]
    alone, cache = Runs(tmp_path / "alone"), tmp_path / "shared"
    expected = [replace(alone.run(cell), seconds={}) for cell in cells]
    assert [record.status for record in expected] == ["ok", "ok"]
    assert len(files(tmp_path / "alone")) == 16
    resolved = [Runs(cache).resolve(cell) for cell in cells]
    found = {record.cell: record for record in shared(resolved, cache, count)}
    assert all({"sample", "features", "metrics"} <= set(r.seconds) for r in found.values())
    assert [replace(found[cell], seconds={}) for cell in cells] == expected
    assert files(cache) == files(tmp_path / "alone")


def test_what_cannot_be_executed_after_all_is_refused_by_its_cell(cards, tmp_path, monkeypatch):
    def make(*arguments, **named):
        raise NotExecuted("its graph is no graph")

    monkeypatch.setattr(Generation, "make", make)
    card = verify(load_cards(cards)[0])
    runs = Runs(tmp_path)
    cell = replace(expand([card], [W4A8], ["simulated"], DRAW)[1], metrics=("psnr",))
    part = next(parts.works([runs.resolve(cell)])[0].parts())
    (told,) = Worker("cpu", tmp_path)([part])
    assert (told.work, told.error) == (part, "its graph is no graph")
    record = runs.run(cell)
    assert (record.status, record.error) == ("refused", "its graph is no graph")


def test_what_another_command_is_at_is_left_to_it_and_waited_for_in_the_end(cards, tmp_path):
    """Its images and features are not made twice, and the cell is not measured without them."""
    card = verify(load_cards(cards)[0])
    cell = replace(expand([card], [W4A8], ["simulated"], DRAW)[0], metrics=("kernel",))
    runs = Runs(tmp_path)
    wanted = runs.resolve(cell)
    (work,) = parts.works([wanted])
    first, *rest = work.parts()
    worker = Worker("cpu", tmp_path)
    with claims.claimed(first.path):
        (told,) = worker([first])
        assert (told.seconds, told.error) == ({}, "")
    assert first.is_missing() and not list(tmp_path.rglob("*.npy"))
    assert all(isinstance(told, Done | Progress) for told in worker(rest))
    assert [part.is_missing() for part in (first, *rest)] == [True, False, False, False]
    assert runs.run(cell).status == "ok"
    assert not any(part.is_missing() for part in (first, *rest))

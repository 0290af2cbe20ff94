"""Parts of cells, made by several workers in any order: the bits and numbers of one worker."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from helpers.cells import Runs

from bench.core.cell import Draw, expand
from bench.core.record import Record
from bench.core.scheme import Scheme
from bench.evaluation.engines.schedule import Schedule
from bench.evaluation.worker import Worker
from bench.models.cards import load_cards, verify

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


def test_two_and_four_workers_give_the_same_bits_and_numbers(cards, tmp_path):
    card = verify(load_cards(cards)[0])
    cells = expand([card], [W4A8], ["simulated"], DRAW)
    cells = [replace(cell, metrics=("psnr", "kernel")) for cell in cells]
    alone = Runs(tmp_path / "alone")
    expected = [replace(alone.run(cell), seconds={}) for cell in cells]
    assert [record.status for record in expected] == ["ok", "ok"]
    assert len(files(tmp_path / "alone")) == 16
    for count in (2, 4):
        cache = tmp_path / str(count)
        resolved = [Runs(cache).resolve(cell) for cell in cells]
        found = {record.cell: record for record in shared(resolved, cache, count)}
        assert all({"sample", "features", "metrics"} <= set(r.seconds) for r in found.values())
        assert [replace(found[cell], seconds={}) for cell in cells] == expected
        assert files(cache) == files(tmp_path / "alone")

"""Batches that memory does not hold: halved for all cells of a checkpoint, and told."""

import pickle
from types import SimpleNamespace

import pytest

from bench.cli import handing
from bench.core.cell import Checkpoint, Draw, expand
from bench.core.errors import InputError
from bench.core.record import Record
from bench.core.scheme import Scheme
from bench.evaluation.back_off import OutOfMemory, out_of_memory
from bench.system.disk import MachineError
from bench.system.host import fingerprint


class Told:
    """Takes what a bar is told."""

    def __init__(self):
        self.lines, self.records = [], []
        self.tell, self.finish = self.lines.append, self.records.append


def cells():
    cards = [
        Checkpoint(name, "f", "m", "safetensors", name, name * 64, "fashion-mnist")
        for name in "ab"
    ]
    return expand(cards, [Scheme.parse("w4a8")], ["simulated"], Draw(images=16, batch=8))


@pytest.fixture
def execution(monkeypatch):
    """Makes an execution whose engine holds batches of so many images of checkpoint b."""

    def make(most):
        def engine(worker, wanted):
            for each in wanted:
                cell = each.cell
                if cell.checkpoint.name == "b" and cell.draw.batch > most:
                    raise out_of_memory(RuntimeError("CUDA out of memory"), cell)
                yield Record(cell, fingerprint(), "ok", None, (), {})

        monkeypatch.setattr(handing.extensions, "lookup", lambda table, name: engine)
        resolver = SimpleNamespace(cache=None, resolve=lambda cell: SimpleNamespace(cell=cell))
        plan = SimpleNamespace(engine="other", device="cpu")
        return handing.Execution(plan, resolver, Told())

    return make


def test_a_batch_that_does_not_fit_is_halved_for_its_checkpoint(execution):
    run = execution(most=2)
    found = run(cells())
    assert [(r.cell.checkpoint.name, r.cell.draw.batch) for r in found] == [
        ("a", 8),
        ("a", 8),
        ("b", 2),
        ("b", 2),
    ]
    assert [line.rpartition(" ")[2] for line in run.bar.lines] == ["4", "2"]
    assert "b: the memory does not hold 8 images at once" in run.bar.lines[0]
    # What was finished is not run again, and later cells begin with what fits.
    assert len(run.bar.records) == 4
    assert {r.cell.draw.batch for r in run(cells()[2:])} == {2}
    assert len(run.bar.lines) == 2


def test_where_not_even_one_image_fits_the_run_stops(execution):
    with pytest.raises(MachineError, match="not enough memory"):
        execution(most=0)(cells())


def test_only_a_lack_of_memory_is_one():
    cell = cells()[0]
    assert out_of_memory(RuntimeError("shapes do not fit"), cell) is None
    wrapped = RuntimeError("it failed")
    wrapped.__cause__ = MemoryError()
    error = pickle.loads(pickle.dumps(out_of_memory(wrapped, cell)))
    assert isinstance(error, OutOfMemory) and (error.checkpoint, error.batch) == ("a", 8)
    assert str(error).startswith("not enough memory") and "\n" not in str(error)


def test_what_is_found_meanwhile_ends_the_engine(execution, monkeypatch):
    ended, run = [], execution(most=8)

    def engine(worker, wanted):
        try:
            for each in wanted:
                yield Record(each.cell, fingerprint(), "ok", None, (), {})
        finally:
            ended.append(worker)

    def refuse():
        if len(run.bar.records) == 2:
            raise InputError("refused")

    monkeypatch.setattr(handing.extensions, "lookup", lambda table, name: engine)
    run.look = refuse
    with pytest.raises(InputError, match="refused"):
        run(cells())
    assert len(ended) == 1 and len(run.bar.records) == 2

"""A resolved cell: made once, plain, and good for one kind of machine only."""

import pickle
from dataclasses import replace

import pytest

from bench.core.cell import Draw, expand
from bench.core.errors import InputError
from bench.core.progress import Progress
from bench.core.record import Record
from bench.core.scheme import Scheme
from bench.evaluation import keys, resolved
from bench.evaluation.resolved import Resolver
from bench.evaluation.worker import Worker
from bench.models.cards import load_cards, verify
from bench.quant.backends.simulated import Simulated
from bench.system.host import fingerprint

DRAW = Draw(steps=1, images=2, batch=2)


@pytest.fixture
def cells(cards):
    card = verify(load_cards(cards)[0])
    scheme = Scheme.parse("w8a8+minmax")
    return expand([card], [scheme], ["simulated", "int8-x86"], DRAW)


def test_a_cell_is_resolved_once(cells, cache, monkeypatch):
    asked = []

    def digest(*names):
        asked.append(names)
        return "0" * 64

    def refuses(self, scheme, host):
        asked.append(str(scheme))

    monkeypatch.setattr(resolved.reference, "digest", digest)
    monkeypatch.setattr(Simulated, "refuses", refuses)
    resolver = Resolver(fingerprint(), cache)
    first = resolver.resolve(cells[1])
    # Equal cells, also where one was made anew.
    assert resolver.resolve(replace(cells[1], draw=replace(DRAW))) is first
    assert asked == [("fashion-mnist", "efficientnet", "test"), "w8a8+minmax"]
    resolver.resolve(cells[0])
    assert len(asked) == 2
    assert {path.name for path in cache.iterdir()} <= {"fits"}


def test_what_a_resolved_cell_holds(cells, cache):
    resolver = Resolver(fingerprint(), cache)
    full, simulated, kernels = map(resolver.resolve, cells)
    assert full.images == full.reference
    assert {w.reference.key for w in (full, simulated, kernels)} == {full.images.key}
    assert simulated.reference.folder == full.images.folder
    # Of a metric that compares kernels with the simulation.
    assert (full.simulation, simulated.simulation) == (None, None)
    assert kernels.simulation.folder == simulated.images.folder
    assert kernels.images.calibration == simulated.images.calibration
    assert len({wanted.record for wanted in (full, simulated, kernels)}) == 3
    assert full.real_images == {"efficientnet": 10_000}
    assert [path.name for path in full.images.paths] == ["00000.npy"]
    assert full.images.missing() == 1
    assert pickle.loads(pickle.dumps(kernels)) == kernels


def test_cards_that_differ_in_their_config_alone_are_different_cells(cells, cache):
    card = cells[0].checkpoint
    other = replace(card, config={**card.config, "timesteps": 500})
    resolver = Resolver(fingerprint(), cache)
    one, two = (resolver.resolve(replace(cells[0], checkpoint=c)) for c in (card, other))
    assert one.images.key != two.images.key
    assert len({card: 1, other: 2}) == 2


def test_full_precision_in_another_execution_is_no_reference(cells):
    full, simulated, _ = cells
    assert full.is_reference and full.scheme.is_float
    floor = replace(full, backend="simulated")
    assert floor.scheme.is_float and not floor.is_reference
    assert not simulated.is_reference


def test_a_worker_can_be_sent_and_yields_values(cells, cache):
    quick = replace(cells[0], metrics=("kernel",))
    wanted = Resolver(fingerprint(), cache).resolve(quick)
    worker = pickle.loads(pickle.dumps(Worker("cpu", cache)))
    told = list(worker([wanted]))
    assert isinstance(told[-1], Record) and told[-1].status == "ok"
    assert all(isinstance(each, Progress) for each in told[:-1])
    assert sum(each.batches for each in told[:-1]) == 1
    assert list(worker([wanted])) == [told[-1]]


@pytest.mark.parametrize(
    "change",
    [{"threads": 97}, {"isa": "m99"}, {"versions": fingerprint().versions | {"torch": "0"}}],
)
def test_a_worker_keeps_nothing_under_keys_of_another_machine(cells, cache, change):
    wanted = Resolver(replace(fingerprint(), **change), cache).resolve(cells[0])
    with pytest.raises(InputError, match="run the command on such a machine"):
        list(Worker("cpu", cache)([wanted]))
    assert {path.name for path in cache.iterdir()} <= {"fits"}


def test_the_solver_that_allocates_bits_is_in_the_keys_of_budgets_alone(cells):
    host = fingerprint()
    other = replace(host, versions={**host.versions, "scipy": "0"})
    for words, changes in (("w4a8", False), ("w~4.5a8", True)):
        cell = replace(cells[1], scheme=Scheme.parse(words))
        for key in (keys.of_images, keys.of_calibration):
            assert (key(cell, host) != key(cell, other)) == changes

"""Each pair is read once for all functions, and few pairs are in memory at a time."""

import threading
import weakref

import numpy as np
import pytest

from bench.core.errors import InputError, NotMeasured
from bench.measurement.metrics import pair_blocks
from bench.measurement.metrics.pair_blocks import PairFunction, per_image, together

PAIRS = np.random.default_rng(0).integers(0, 256, (2, 23, 1, 12, 12), np.uint8)


class Read:
    """Images that are read as pictures are: a new array each time; what is alive is counted."""

    dtype = PAIRS.dtype

    def __init__(self, images):
        self.images, self.shape = images, images.shape
        self.rows, self.alive, self.most = [], 0, 0
        self.lock = threading.Lock()

    def __len__(self):
        return len(self.images)

    def __getitem__(self, rows):
        block = self.images[rows].copy()
        with self.lock:
            self.rows += range(rows.start, rows.stop)
            self.alive += len(block)
            self.most = max(self.most, self.alive)
        weakref.finalize(block, self.freed, len(block))
        return block

    def freed(self, count):
        with self.lock:
            self.alive -= count


def shift(images, twins):
    return (images.astype(float) - twins).mean((1, 2, 3))


def product(images, twins):
    return (images.astype(float) * twins).mean((1, 2, 3))


@pytest.fixture(params=[1, 3])
def threads(request, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", str(request.param))
    # Blocks of two pairs.
    monkeypatch.setattr(pair_blocks, "VALUES", 8 * 2 * PAIRS[0, 0].size)
    return request.param


@pytest.mark.parametrize("parallel", [(True, True), (True, False), (False, False)])
def test_each_pair_is_read_once_and_few_are_held(threads, parallel):
    images, twins = Read(PAIRS[0]), Read(PAIRS[1])
    functions = {
        name: PairFunction(function, alone)
        for name, function, alone in zip("sp", (shift, product), parallel, strict=True)
    }
    measured = together(functions, images, twins)
    np.testing.assert_array_equal(measured["s"], shift(*PAIRS))
    np.testing.assert_array_equal(measured["p"], product(*PAIRS))
    for read in (images, twins):
        assert sorted(read.rows) == list(range(23))
        # One block for each thread, one that waits and one that is measured.
        assert 2 <= read.most <= 2 * (threads + 2)


def test_functions_with_threads_of_their_own_run_one_at_a_time(threads):
    callers = set()

    def alone(images, twins):
        callers.add(threading.get_ident())
        return shift(images, twins)

    per_image(alone, *PAIRS, parallel=False)
    assert callers == {threading.get_ident()}


def test_one_that_is_not_defined_leaves_the_others(threads):
    asked = []

    def refuses(images, twins):
        asked.append(len(images))
        raise NotMeasured("too small")

    functions = {"no": PairFunction(refuses), "yes": PairFunction(shift)}
    measured = together(functions, *PAIRS)
    assert str(measured["no"]) == "too small"
    np.testing.assert_array_equal(measured["yes"], shift(*PAIRS))
    # It is not asked again, but by threads that were at work already.
    assert sum(asked) <= 2 * (threads + 2)
    with pytest.raises(NotMeasured, match="too small"):
        per_image(refuses, *PAIRS)


def test_other_errors_come_out(threads):
    def broken(images, twins):
        raise InputError("p07 changed while it was scored")

    with pytest.raises(InputError, match="p07 changed"):
        per_image(broken, *PAIRS)

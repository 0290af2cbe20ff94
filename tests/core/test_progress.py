"""Steps: what they tell, and what they return."""

from bench.core.progress import Progress, finished


def inner():
    yield Progress("cell", "sampling", 2)
    return 3


def outer():
    value = yield from inner()
    yield Progress("cell", "psnr")
    return 2 * value


def test_what_a_step_returns_and_tells():
    told = []
    assert finished(outer(), told.append) == 6
    assert list(map(str, told)) == ["cell: sampling", "cell: psnr"]
    assert sum(progress.batches for progress in told) == 2
    assert finished(inner()) == 3

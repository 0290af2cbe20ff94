"""Fits that are found beside a run: told when all are there, and a refusal ends the run."""

import threading

import pytest

from bench.cli import checking
from bench.cli.checking import Checked
from bench.core.cell import Checkpoint
from bench.core.errors import InputError
from bench.core.record import Fit
from bench.evaluation import fits

CARDS = {
    name: Checkpoint(name, "f", "m", "safetensors", name, name * 64, "fashion-mnist")
    for name in "ab"
}


@pytest.fixture
def found(monkeypatch):
    """What is found of each card, once it may be; and by which threads."""
    verdicts, may, threads = {"a": fits.FITS, "b": fits.FITS}, threading.Event(), []

    def of(card, load):
        may.wait(10)
        threads.append(threading.current_thread())
        assert load() == f"network of {card.name}"
        return Fit(card.name, {}, verdicts[card.name], 0.1, 0.95)

    monkeypatch.setattr(checking.fits, "of", of)
    return verdicts, may, threads


def network(card):
    return f"network of {card.name}"


def test_it_goes_on_beside_and_is_told_once(found):
    verdicts, may, threads = found
    verdicts["b"], lines = fits.UNKNOWN, []
    checked = Checked(CARDS, network, False, lines.append, is_beside=True)
    checked.look()
    assert lines == []
    may.set()
    assert [fit.checkpoint for fit in checked.fits()] == ["a", "b"]
    checked.look()
    assert len(lines) == 1 and lines[0].startswith("b: not checked")
    assert threading.current_thread() not in threads
    # Nothing holds a network any more.
    assert checked._load is None


def test_alone_all_is_done_at_once(found):
    _, may, threads = found
    may.set()
    checked = Checked(CARDS, network, False, print)
    assert set(threads) == {threading.current_thread()}
    assert len(checked.fits()) == 2


@pytest.mark.parametrize("is_beside", [True, False])
def test_a_network_worse_than_none_is_refused_unless_forced(found, is_beside):
    verdicts, may, _ = found
    verdicts["b"] = fits.WORSE
    may.set()
    with pytest.raises(InputError, match="'b' denoises worse than no network"):
        Checked(CARDS, network, False, print, is_beside).fits()
    assert len(Checked(CARDS, network, True, lambda line: None, is_beside).fits()) == 2


def test_an_error_of_the_other_thread_is_raised_where_one_looks(found, monkeypatch):
    def of(card, load):
        raise InputError("no such file")

    monkeypatch.setattr(checking.fits, "of", of)
    checked = Checked(CARDS, network, False, print, is_beside=True)
    checked._thread.join()
    with pytest.raises(InputError, match="no such file"):
        checked.look()

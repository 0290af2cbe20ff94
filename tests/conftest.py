"""Shared fixtures: a tiny checkpoint, a private cache, offline, single-threaded."""

from __future__ import annotations

import os
import shutil
import signal
import sys

# What is started in the background of a script ignores Ctrl-C, and so would all that tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
from helpers.entry_point import forget
from helpers.tiny import write_card, write_cards
from hypothesis import HealthCheck, settings

from bench.cli import app
from bench.quant.methods import from_file
from bench.system import freed_memory, interrupts

# How fast a machine draws examples is no property of the code.
settings.register_profile("bench", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bench")

FITS = "fits"
# As the command does, which the tests call without its beginning.
freed_memory.keep()


@pytest.fixture(scope="session")
def fit_of_the_tiny_card(tmp_path_factory):
    """The folder of fits of a cache: how well the description of the tiny checkpoint fits its
    weights, which takes seconds to find out and is the same for all tests."""
    from bench.core import extensions
    from bench.evaluation import fits
    from bench.models.cards import load_cards, verify

    folder = tmp_path_factory.mktemp("fit")
    # Where the real images are not at hand the check is left out, and nothing is kept.
    (folder / FITS).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder))
        card = verify(load_cards(write_cards(folder, [write_card(folder)]))[0])
        fits.of(card, lambda: extensions.lookup("sources", card.source)(card))
    return folder / FITS


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A private cache folder for each test, gone after it."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("BENCH_CACHE", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def signals_of_the_tests(monkeypatch):
    """A command that runs in this process leaves the handlers of signals as they are."""
    monkeypatch.setattr(interrupts, "install", lambda *numbers: None)


@pytest.fixture
def cards(tmp_path, cache, fit_of_the_tiny_card):
    """A card file of one tiny random checkpoint, and in the cache how well it fits."""
    shutil.copytree(fit_of_the_tiny_card, cache / FITS)
    return write_cards(tmp_path, [write_card(tmp_path)])


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on the path, into which `helpers.entry_point.install` puts packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(folder)
    yield folder
    monkeypatch.undo()
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]
    forget()


@pytest.fixture
def bench(monkeypatch, capsys):
    """Run `bench WORDS...`; return (exit code, stdout, stderr)."""

    def run(*words):
        # Each command reads the files that it is given, as a process of its own does.
        from_file.forget()
        monkeypatch.setattr(sys, "argv", ["bench", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            app.main()
        return stopped.value.code, *capsys.readouterr()

    return run

"""Only the known noise is dropped, and only while the block runs."""

import ctypes
import gc
import logging
import sys
import warnings

import pytest

from bench.system.quiet import NOISE, load, quiet_compiler, quiet_import, quiet_solver


@pytest.mark.parametrize("name", NOISE)
def test_the_known_message_is_dropped_inside_the_block_only(name, caplog, monkeypatch):
    logger = logging.getLogger(name)
    # Without what a backend dropped for good (`quiet_products`).
    monkeypatch.setattr(logger, "filters", [])
    with caplog.at_level(logging.WARNING, logger=name):
        with quiet_import():
            logger.warning("%s: no such library", NOISE[name][0])
            logger.warning("something else")
        logger.warning("%s: no such library", NOISE[name][0])
    assert [record.getMessage() for record in caplog.records] == [
        "something else",
        f"{NOISE[name][0]}: no such library",
    ]


def test_the_compiler_may_warn_of_other_things():
    with pytest.warns(UserWarning) as caught, quiet_compiler():
        warnings.warn("To copy construct from a tensor, it is recommended ...", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["something else"]


def test_the_solver_writes_nothing_to_stdout(capfd):
    """Lines that wait in a buffer of C do not come later either."""
    library = ctypes.CDLL(None)
    print("before")
    with pytest.raises(ValueError, match="as ever"), quiet_solver():
        library.puts(b"a line of C")
        raise ValueError("as ever")
    library.puts(b"after")
    library.fflush(None)
    assert capfd.readouterr().out.split() == ["before", "after"]


def test_nothing_is_searched_for_garbage_during_an_import():
    assert gc.isenabled()
    with pytest.raises(ImportError), quiet_import(), quiet_import():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()
    # Whoever does without it keeps doing so.
    gc.disable()
    try:
        with quiet_import():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_blocks_of_threads_may_overlap():
    first, second = quiet_import(), quiet_import()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_what_is_loaded_for_good_is_left_alone_by_later_searches(monkeypatch, tmp_path):
    (tmp_path / "loaded_for_good.py").write_text("held = [[] for _ in range(1000)]")
    monkeypatch.syspath_prepend(tmp_path)
    before = gc.get_freeze_count()
    try:
        load(["no_module_of_that_name", "loaded_for_good"])
        assert len(sys.modules["loaded_for_good"].held) == 1000
        count = gc.get_freeze_count()
        assert count >= before + 1000
        # Nothing is loaded now, and nothing more is kept.
        more = [[] for _ in range(1000)]
        load(["no_module_of_that_name", "loaded_for_good"])
        assert gc.get_freeze_count() <= count and len(more) == 1000
    finally:
        gc.unfreeze()

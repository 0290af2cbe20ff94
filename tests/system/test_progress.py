"""The bar of a run: cells, images per second, and what an interrupted run keeps."""

import io
import re
from dataclasses import replace

import pytest
from helpers.records import CELL, RECORD
from rich.console import Console

from bench.core.progress import Progress
from bench.system.progress import Bar


def bar(terminal):
    stream = io.StringIO()
    return Bar(Console(file=stream, force_terminal=terminal, width=150, height=20)), stream


def work(count=2):
    cells = [replace(CELL, draw=replace(CELL.draw, seed=k, batch=5)) for k in range(count)]
    return cells, [(cell, 4, 2.0) for cell in cells]


def test_a_bar_moves_inside_a_cell_and_tells_cells_and_images():
    made, stream = bar(True)
    cells, planned = work()
    with made:
        made.start(planned)
        for _ in range(3):
            made.advance(Progress(str(cells[0]), "sampling", batches=1))
        task = made._progress.tasks[0]
        assert (task.completed, task.total) == (6.0, 16.0)
        assert task.fields["cells"] == "cell 1 of 2"
        assert task.fields["rate"].endswith("images/s")
        made.finish(replace(RECORD, cell=cells[0]))
        made.advance(Progress(str(cells[1]), "loaded"))
        assert made._progress.tasks[0].fields["cells"] == "cell 2 of 2"
    assert ": ok" in stream.getvalue()


def test_an_interrupted_run_says_what_it_keeps():
    made, stream = bar(False)
    cells, planned = work()
    with pytest.raises(KeyboardInterrupt), made:
        made.start(planned)
        made.advance(Progress(str(cells[0]), "sampling", batches=2))
        made.finish(replace(RECORD, cell=cells[0]))
        raise KeyboardInterrupt
    assert stream.getvalue().splitlines()[-1] == (
        "kept in the cache: 1 of 2 cells, and 10 images sampled by this command; no report was "
        "written yet"
    )
    with pytest.raises(ValueError, match="x"), bar(False)[0]:
        raise ValueError("x")


@pytest.mark.parametrize("width", [150, 100, 80])
def test_a_narrow_terminal_takes_from_the_last_words_and_not_from_the_times(width):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=width, height=20, color_system=None)
    made = Bar(console)
    cells, planned = work(19)
    with made:
        made.start(planned)
        made.advance(Progress(str(cells[0]), "sampling", batches=1))
        made._progress.tasks[0].fields["rate"] = "123.4 images/s"
        stream.seek(0)
        stream.truncate()
        made._progress.refresh()
    line = re.sub(r"\x1b\[\S*?[A-Za-z]", "", stream.getvalue()).rpartition("\r")[2].rstrip()
    assert "123.4 images/s" in line and "cell 1 of 19" in line and " left " in line
    assert len(re.findall(r"\d:\d\d:\d\d|-:--:--", line)) == 2
    assert len(line) <= width
    assert line.endswith("sampling") == (width > 80)

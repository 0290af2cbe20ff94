"""Engine `processes`: order, what is shared, what is killed, and that numbers stay the same."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from helpers.fake_worker import FakeWorker

from bench.core.cell import Checkpoint, Draw, expand
from bench.core.errors import InputError
from bench.core.progress import Progress
from bench.core.record import Record
from bench.core.scheme import Scheme
from bench.evaluation.engines.processes import _Process, run
from bench.evaluation.resolved import ResolvedCell, images_of
from bench.system.disk import MachineError
from bench.system.host import fingerprint


def resolved(cache, *schemes, checkpoints=("a", "b")):
    """Cells of checkpoints, each in full precision, simulated and as int8."""
    cards = [
        Checkpoint(name, "f", "m", "safetensors", name, name * 64, "fashion-mnist")
        for name in checkpoints
    ]
    cells = expand(
        cards, map(Scheme.parse, schemes), ["simulated", "int8-x86"], Draw(images=4, batch=2)
    )
    host = fingerprint()
    return [
        ResolvedCell(
            cell,
            host,
            cache,
            cache / f"{k}.json",
            images_of(cell, host, cache),
            images_of(cell.reference, host, cache),
        )
        for k, cell in enumerate(cells)
    ]


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log"
    path.touch()
    return path


def lines(log):
    """(process, work) in the order in which it was begun."""
    return [tuple(line.split("; ")) for line in log.read_text().splitlines()]


def test_batches_first_and_each_once_and_cells_when_their_images_are_there(cache, log):
    cells = resolved(cache, "w8a8", "w4a8")
    told = list(run(FakeWorker(log), cells, "2"))
    found = [each for each in told if isinstance(each, Record)]
    assert Counter(r.status for r in found) == {"ok": len(cells)}
    assert {r.cell for r in found} == {wanted.cell for wanted in cells}
    # Each cell has two batches of its own, whose time its record states.
    assert {r.seconds["sample"] for r in found} == {2.0}
    begun = lines(log)
    assert len({process for process, _ in begun}) == 2
    order = [name for _, name in begun]
    assert Counter(order) == Counter(
        [str(c) for c in cells] + [f"{c}, batch {k}" for c in cells for k in range(2)]
    )
    for wanted in cells:
        name = str(wanted)
        for batch in range(2):
            assert order.index(f"{name}, batch {batch}") < order.index(name)
            reference = str(wanted.cell.reference)
            assert order.index(f"{reference}, batch {batch}") < order.index(name)


def test_a_killed_process_loses_nothing(cache, log):
    """What it was at is done by another one."""
    cells = resolved(cache, "w4a8+skip=once", checkpoints=("a",))
    told = [each for each in run(FakeWorker(log), cells, "1") if isinstance(each, Record)]
    assert Counter(r.status for r in told) == {"ok": len(cells)}
    assert len({process for process, _ in lines(log)}) == 2


@pytest.mark.slow
def test_work_that_always_kills_its_process_fails_its_cells_and_no_other(cache, log):
    cells = resolved(cache, "w8a8", "w4a8+skip=killed", checkpoints=("a",))
    told = [each for each in run(FakeWorker(log), cells, "1") if isinstance(each, Record)]
    by_status = {
        status: [str(r.cell) for r in told if r.status == status] for status in ("ok", "failed")
    }
    assert sorted(by_status["failed"]) == [
        "a w4a8+skip=killed int8-x86",
        "a w4a8+skip=killed simulated",
    ]
    assert len(by_status["ok"]) == 3
    (error,) = {r.error for r in told if r.status == "failed"}
    assert error.startswith("its process was ended by SIGKILL")


@pytest.mark.parametrize(
    ("word", "kind", "says"),
    [("refused", InputError, "no such file"), ("full", MachineError, "no room")],
)
def test_what_stops_a_run_stops_it_here_too(cache, log, word, kind, says):
    cells = resolved(cache, f"w4a8+skip={word}", checkpoints=("a",))
    with pytest.raises(kind, match=says):
        list(run(FakeWorker(log), cells, "2"))


def test_who_stops_listening_ends_the_processes(cache, log):
    cells = resolved(cache, "w4a8+skip=asleep", checkpoints=("a",))
    told = run(FakeWorker(log), cells, "2")
    for each in told:
        if isinstance(each, Progress) and "asleep" in each.subject:
            break
    told.close()
    for process in {int(process) for process, _ in lines(log)}:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


PROGRAM = """
import sys
from pathlib import Path
from evaluation.engines.test_processes import resolved
from helpers.fake_worker import FakeWorker
from bench.evaluation.engines.processes import run
for told in run(FakeWorker(Path(sys.argv[1])), resolved(Path(sys.argv[2]), "w4a8+skip=asleep"),
                "2"):
    pass
"""


def test_a_ctrl_c_leaves_no_process(cache, log):
    paths = os.pathsep.join(path for path in sys.path if path)
    words = [sys.executable, "-c", PROGRAM, str(log), str(cache)]
    command = subprocess.Popen(
        words, env=os.environ | {"PYTHONPATH": paths}, stderr=subprocess.DEVNULL
    )
    while sum("asleep" in name for _, name in lines(log)) < 2:
        assert command.poll() is None
        time.sleep(0.05)
    # To that process alone, as `kill` sends it; a terminal reaches all of them.
    command.send_signal(signal.SIGINT)
    assert command.wait(60) != 0
    processes = {int(process) for process, _ in lines(log)}
    assert len(processes) == 2
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_a_process_ends_where_nobody_listens_any_more(cache, log):
    orphan = _Process(FakeWorker(log))
    orphan.give(resolved(cache, "w4a8", checkpoints=("a",))[0])
    orphan.connection.close()
    assert orphan.process.wait() == 1
    idle = _Process(FakeWorker(log))
    idle.connection.close()
    assert idle.process.wait() in (0, 1)


SIZES = ("--scheme", "w4a8", "--backend", "simulated", "--checkpoints", "*", "--images", "6")
SIZES += ("--steps", "1", "--batch", "3", "--metrics", "psnr,ssim")


@pytest.mark.slow
def test_the_numbers_are_those_of_one_process(bench, cards, cache, tmp_path, monkeypatch):
    found = {}
    for name in ("processes:2", "local"):
        shutil.copytree(cache / "fits", tmp_path / name / "fits")
        monkeypatch.setenv("BENCH_CACHE", str(tmp_path / name))
        out = tmp_path / "out" / name
        words = ("run", *SIZES, "--cards", cards, "--out", out, "--engine", name)
        code, _, stderr = bench(*words)
        assert code == 0, stderr
        (path,) = out.glob("*/run.json")
        run = json.loads(path.read_text())
        assert run["engine"] == {"name": name}
        found[name] = [{**record, "seconds": None} for record in run["records"]]
        assert {record["status"] for record in found[name]} == {"ok"}
    assert found["processes:2"] == found["local"]

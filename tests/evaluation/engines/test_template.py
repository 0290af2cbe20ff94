"""Workers that are copies of one process: they work, end and are missed as any other."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from evaluation.engines.test_processes import lines, resolved
from helpers.fake_worker import FakeWorker

from bench.core.record import Record
from bench.evaluation.engines import template
from bench.evaluation.engines.processes import _Process, run
from bench.evaluation.engines.template import Forked, Template
from bench.system import host

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="of Linux alone")


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.fixture
def prepared(monkeypatch):
    """Makes a template of few modules the one that is there."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert template._takes_orphans()

    def make(*modules):
        made = Template(["bench.evaluation.engines.processes", *modules])
        template._made.append(made)
        return made

    with template.held():
        yield make
    assert not template._made


def test_copies_do_the_work_and_who_is_killed_is_followed_by_another(prepared, cache, log):
    cells, made = resolved(cache, "w4a8+skip=once"), prepared()
    told = [each for each in run(FakeWorker(log), cells, "2") if isinstance(each, Record)]
    assert Counter(r.status for r in told) == {"ok": len(cells)}
    # One kills itself, as its cell says.
    assert len({process for process, _ in lines(log)}) == 3
    assert made.process.poll() is None


def test_a_copy_is_a_child_of_the_command_and_says_how_it_ended(prepared, log):
    prepared()
    worker = _Process(FakeWorker(log))
    assert isinstance(worker.process, Forked) and worker.process.poll() is None
    stat = Path(f"/proc/{worker.process.pid}/stat").read_text()
    assert int(stat.split()[3]) == os.getpid()
    with pytest.raises(subprocess.TimeoutExpired):
        worker.process.wait(0.05)
    os.kill(worker.process.pid, signal.SIGKILL)
    assert worker.receive() is None
    assert "ended by SIGKILL" in worker.reason()
    worker.stop()
    other = _Process(FakeWorker(log))
    other.stop()
    assert other.process.poll() in (-signal.SIGTERM, 0)


def test_a_copy_ends_where_nobody_listens_any_more(prepared, log):
    prepared()
    idle = _Process(FakeWorker(log))
    idle.connection.close()
    assert idle.process.wait(30) == 0


@pytest.mark.parametrize("is_killed", [True, False])
def test_without_a_template_that_can_be_copied_workers_are_started(
    prepared, log, tmp_path, monkeypatch, is_killed
):
    (tmp_path / "with_a_thread.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    made = prepared(*([] if is_killed else ["with_a_thread"]))
    if is_killed:
        made.process.kill()
    worker = _Process(FakeWorker(log))
    assert isinstance(worker.process, subprocess.Popen)
    worker.stop()


def test_what_is_prepared(monkeypatch):
    """One, where workers of one thread on a CPU are or may be several, and within the block."""
    made = []

    class Noted:
        def __init__(self):
            made.append(self)

        def stop(self):
            made.remove(self)

    monkeypatch.setattr(template, "Template", Noted)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(host, "cores", lambda: 2)
    for engine, device in (("local", "cpu"), ("processes:1", "cpu"), ("ray", "cpu"),
                           ("processes:2", "cuda")):  # fmt: skip
        with template.held():
            template.expect(engine, device)
            template.begin()
            template.prepare(engine, device)
            assert not made and template.prepared() is None
    for engine in ("auto", "processes:2"):
        with template.held():
            template.expect(engine, "cpu")
            template.begin()
            template.prepare("processes:2", "cpu")
            assert len(made) == 1 and template.prepared() is made[0]
            # It was loaded with one thread.
            monkeypatch.setenv("OMP_NUM_THREADS", "2")
            assert template.prepared() is None
            monkeypatch.setenv("OMP_NUM_THREADS", "1")
        assert not made
    with template.held():
        template.expect("auto", "cpu")
        template.begin()
        # So short a run that it takes one process.
        template.prepare("local", "cpu")
        assert not made
    template.begin()
    assert not made


def test_a_template_ends_with_its_command():
    code = (
        "import os, signal, sys; from bench.evaluation.engines.template import Template; "
        "made = Template(['bench.core.errors']); print(made.process.pid, flush=True); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    place, start = Path(f"/proc/{int(done.stdout)}/stat"), time.monotonic()
    # Whoever takes in how it ended may leave it as a zombie.
    while place.exists() and ") Z " not in place.read_text():
        assert time.monotonic() - start < 60
        time.sleep(0.05)


def test_what_is_loaded_is_there():
    """A name that is none would only cost time, and nobody would see it."""
    root = Path(template.__file__).parents[3]
    names = [name for name in template.LOADED if name.startswith("bench.")]
    assert names
    for name in names:
        assert root.joinpath(*name.split(".")).with_suffix(".py").is_file(), name

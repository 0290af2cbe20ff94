"""Full disks, little memory, and many processes at once: one line, and nothing is lost."""

import errno
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from helpers.cells import Runs
from helpers.fashion import fashion
from helpers.records import RUN

from bench.cli import execution, publishing
from bench.core.cell import Draw, expand
from bench.core.record import to_json
from bench.core.scheme import Scheme
from bench.evaluation.probe_context import Plan
from bench.evaluation.probing import Prober
from bench.models.cards import load_cards, verify
from bench.system import disk, store
from bench.system.host import fingerprint
from bench.system.runs import read_run, run_folders
from bench.verdicts import baseline

DRAW = Draw(steps=1, images=4, batch=2)
W4A8 = replace(Scheme.parse("w4a8"), calibration=2)


@pytest.fixture
def cells(cards):
    card = verify(load_cards(cards)[0])
    return expand([card], [W4A8], ["simulated"], DRAW)


def refusing(number, part):
    """`os.open` on a disk that refuses new files below a folder of that name."""
    opened = os.open

    def refused(path, flags, *mode, **more):
        if flags & os.O_CREAT and part in str(path):
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, flags, *mode, **more)

    return refused


@pytest.mark.parametrize("part", ["quantized", "images", "features", "records"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EMFILE])
def test_a_disk_that_takes_nothing_stops_and_is_no_failed_cell(
    cells, cache, monkeypatch, part, number
):
    monkeypatch.setattr(os, "open", refusing(number, f"/{part}/"))
    with pytest.raises(disk.MachineError) as stopped:
        for cell in cells:
            Runs(cache).run(cell)
    assert os.strerror(number) in str(stopped.value) and "\n" not in str(stopped.value)
    monkeypatch.undo()
    assert not [path for path in cache.rglob("*") if path.name.startswith(".bench-")]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 4 TB"),
        OSError(errno.EMFILE, "Too many open files"),
        RuntimeError("Error while serializing: I/O error: No space (os error 28)"),
    ],
)
def test_what_is_the_machines_is_no_failed_cell(cells, cache, monkeypatch, error):
    def broken(*arguments):
        raise error

    monkeypatch.setattr("bench.quant.backends.full_precision.FullPrecision.__call__", broken)
    with pytest.raises(disk.MachineError, match="repeat the command"):
        Runs(cache).run(cells[0])


@fashion
def test_a_full_disk_is_no_failed_probe(cells, cache, monkeypatch):
    from evaluation.test_probing import SETTING

    plan = Plan(("flatness",), (W4A8,), "simulated", DRAW, SETTING)

    def full(self, subject, part, earlier):
        raise RuntimeError("worker died") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bench.measurement.probes.flatness.Flatness.__call__", full)
    with pytest.raises(disk.MachineError, match="No space left on device; make room"):
        list(Prober(fingerprint(), cache, plan).run(cells[0].checkpoint))


@pytest.mark.slow
def test_a_cache_that_is_removed_meanwhile_is_made_again(cells, cache):
    """Once between the images and what is measured of them."""
    removed = []

    def remove(progress):
        if progress.stage == "psnr" and not removed:
            removed.append(progress)
            shutil.rmtree(cache)

    records = [Runs(cache, remove).run(cell) for cell in cells]
    assert removed and [record.status for record in records] == ["ok", "ok"]
    elsewhere = cache / "elsewhere"
    again = [Runs(elsewhere).run(cell) for cell in cells]
    assert [r.measurements for r in again] == [r.measurements for r in records]


def test_a_cache_that_never_keeps_anything_stops(cells, cache):
    def remove(progress):
        if progress.stage == "frechet":
            shutil.rmtree(cache)

    with pytest.raises(disk.MachineError, match=r"files vanish from .* BENCH_CACHE"):
        Runs(cache, remove).run(cells[0])


def publish(out, stem, text):
    def write(folder, name):
        store.save_text(folder / "a", text + name)

    return store.publish(out, stem, write)


def test_folders_of_one_name_get_names_of_their_own(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda k: publish(tmp_path, "stem", f"{k} "), range(24)))
    names = {folder.name for folder in found}
    assert names == {"stem", *(f"stem-{k}" for k in range(2, 25))}
    for k, folder in enumerate(found):
        assert (folder / "a").read_text() == f"{k} {folder.name}"
    assert not list(tmp_path.glob(".bench-*"))


def test_a_name_that_is_taken_while_the_report_is_written(tmp_path):
    """The last moment: another process renames its own folder first."""
    seen = []

    def write(folder, name):
        seen.append(name)
        store.save_text(folder / "a", name)
        if len(seen) == 1:
            store.save_text(tmp_path / name / "a", "of another run")

    folder = store.publish(tmp_path, "stem", write)
    assert (seen, folder.name) == (["stem", "stem-2"], "stem-2")
    assert (folder / "a").read_text() == "stem-2"
    assert (tmp_path / "stem" / "a").read_text() == "of another run"


def test_a_run_that_cannot_be_written_leaves_nothing(tmp_path):
    def write(folder, name):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(disk.MachineError, match="No space left on device; make room"):
        store.publish(tmp_path, "stem", write)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_no_run_and_is_removed(tmp_path):
    dead = tmp_path / disk.unfinished_name().replace(f"-{os.getpid()}-", f"-{2**22 + 3}-")
    store.save_text(dead / "run" / "run.json", to_json(RUN))
    assert run_folders(tmp_path) == []
    folder = publish(tmp_path, "stem", "")
    assert list(tmp_path.iterdir()) == [folder]


def test_baselines_that_are_accepted_at_once_are_all_kept(tmp_path):
    for k in range(3):
        store.save_text(tmp_path / f"run{k}" / "run.json", to_json(replace(RUN, id=f"run{k}")))
    code = (
        "import sys; from pathlib import Path; from bench.verdicts import baseline;"
        "[baseline.accept(Path(sys.argv[1]), 'run0', f'{sys.argv[2]} {k}') for k in range(10)]"
    )
    words = [[sys.executable, "-c", code, str(tmp_path), str(k)] for k in range(3)]
    running = [subprocess.Popen(word) for word in words]
    assert [process.wait() for process in running] == [0, 0, 0]
    reasons = [pin.reason for pin in baseline.pins(tmp_path)]
    assert sorted(reasons) == sorted(f"{k} {j}" for k in range(3) for j in range(10))


def test_one_process_waits_for_another_only_so_long(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "PATIENCE", 0.1)
    with (
        store.locked(tmp_path),
        pytest.raises(store.InputError, match=r"another process holds .*\.bench\.lock"),
        store.locked(tmp_path),
    ):
        pass


@pytest.mark.slow
def test_two_runs_at_once_give_the_numbers_of_one(cards, tmp_path):
    """They share a cache, begin with nothing, and end in the same second or not."""
    words = [sys.executable, "-m", "bench", "run", "--scheme", "w4a8", "--checkpoints", "*"]
    words += ["--backend", "simulated"]
    words += ["--images", "6", "--steps", "1", "--batch", "3", "--cards", str(cards)]
    words += ["--out", str(tmp_path / "out")]
    environment = os.environ | {"BENCH_CACHE": str(tmp_path / "shared")}
    running = [
        subprocess.Popen(words, env=environment, stdout=-1, stderr=-1, text=True) for _ in range(2)
    ]
    told = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], told
    assert not any("damaged" in text for text in told), told
    runs = [read_run(folder) for folder in run_folders(tmp_path / "out")]
    first, second = ([r.measurements for r in run.records] for run in runs)
    assert first == second
    assert {run.id for run in runs} == {p.name for p in (tmp_path / "out").iterdir() if p.is_dir()}
    # What is finished needs no torch, and next to no time.
    code = (
        "import sys, time; from pathlib import Path\n"
        "from bench.evaluation import pipeline, records\n"
        "from bench.evaluation.resolved import Resolver\n"
        "from bench.system.host import fingerprint\n"
        "from bench.models import cards\n"
        "from bench.core.cell import Draw, expand\n"
        "from bench.core.scheme import Scheme\n"
        f"card = cards.verify(cards.load_cards(Path({str(cards)!r}))[0])\n"
        "draw = Draw(steps=1, images=6, batch=3)\n"
        "cells = expand([card], [Scheme.parse('w4a8')], ['simulated'], draw)\n"
        "resolver = Resolver(fingerprint(), Path(sys.argv[1]))\n"
        "assert all(records.cached(resolver.resolve(cell)) for cell in cells)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "shared")], check=True)


def test_two_runs_that_end_in_the_same_second_are_both_there(cells, cache, tmp_path, monkeypatch):
    class Now(datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime(2026, 1, 1, tzinfo=timezone.utc)

    monkeypatch.setattr(publishing, "datetime", Now)
    runs = Runs(cache)
    described = publishing.described([runs.run(cells[0])])
    folders = [
        execution._write(tmp_path / "out", described, runs.resolver, redact=False)
        for _ in range(2)
    ]
    assert folders[1].name == f"{folders[0].name}-2"
    assert [read_run(folder).id for folder in folders] == [f.name for f in folders]
    index = (tmp_path / "out" / "index.md").read_text()
    assert all(folder.name in index for folder in folders)

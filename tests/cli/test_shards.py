"""Shares of a run and workers: the same images to the bit, and the same measurements."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

from bench.cli import shards
from bench.core.errors import InputError
from bench.evaluation.engines.schedule import Schedule
from bench.evaluation.generation import Generation

SIZES = ("--scheme", "w4a8", "--backend", "simulated", "--checkpoints", "*", "--images", "7")
SIZES += ("--steps", "1", "--batch", "2", "--metrics", "psnr,ssim", "--floor", "none")


def images(cache):
    """The bytes of all images and features by their path in a cache."""
    return {
        str(path.relative_to(cache)): path.read_bytes()
        for room in ("images", "features")
        for path in (cache / room).rglob("*.npy")
    }


def measured(out):
    """The records of the only run in a folder, without times."""
    (path,) = out.glob("*/run.json")
    records = json.loads(path.read_text())["records"]
    assert {record["status"] for record in records} == {"ok"}
    return [{**record, "seconds": None} for record in records]


@pytest.fixture
def anew(bench, cards, cache, tmp_path, monkeypatch):
    """Run a command in a cache of its own; what it told on stderr."""

    def run(name, *words):
        if not (tmp_path / name).exists():
            shutil.copytree(cache / "fits", tmp_path / name / "fits")
        monkeypatch.setenv("BENCH_CACHE", str(tmp_path / name))
        where = ("--cards", cards, "--out", tmp_path / "out" / name)
        code, _, stderr = bench("run", *SIZES, *where, *words)
        assert code == 0, stderr
        return stderr

    return run


@pytest.mark.slow
def test_shards_give_the_images_and_numbers_of_one_command(anew, tmp_path, monkeypatch):
    """Two of three shares, then both of two: their number may change on the way."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    told = [anew("shards", "--engine", "local", "--shard", f"{k}/3") for k in (1, 3)]
    assert "shard 1/3: 4 batches made" in told[0] and "shard 3/3: 2 batches made" in told[1]
    assert not (tmp_path / "out" / "shards").exists()
    made = images(tmp_path / "shards")
    again = [anew("shards", "--engine", "local", "--shard", f"{k}/2") for k in (1, 2)]
    assert "1/2: 1 batches made" in again[0] and "2/2: 1 batches made" in again[1]
    assert made.items() <= images(tmp_path / "shards").items()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").rglob("*.npy")}
    anew("shards", "--engine", "local")
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "shards").rglob("*.npy")}
    anew("one", "--engine", "local")
    assert images(tmp_path / "shards") == images(tmp_path / "one")
    assert measured(tmp_path / "out" / "shards") == measured(tmp_path / "out" / "one")


@pytest.mark.slow
def test_machines_without_a_common_disk_share_by_a_mirror(anew, tmp_path, monkeypatch):
    """Each of two shares in a cache of its own; a third machine samples nothing, and reports."""
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    anew("one", "--engine", "local")
    monkeypatch.setenv("BENCH_MIRROR", f"memory://{tmp_path.name}")
    for k in (1, 2):
        assert " batches made, " in anew(f"machine{k}", "--engine", "local", "--shard", f"{k}/2")
    # What sharing out leaves to be made, it says in the end: here nothing.
    monkeypatch.setattr(Generation, "_sample", lambda *words: pytest.fail("sampled again"))
    anew("machine3", "--engine", "local")
    assert images(tmp_path / "machine3") == images(tmp_path / "one")
    assert measured(tmp_path / "out" / "machine3") == measured(tmp_path / "out" / "one")
    halves = [images(tmp_path / f"machine{k}").keys() for k in (1, 2)]
    assert not halves[0] & halves[1]
    fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


@pytest.mark.slow
def test_any_number_of_workers_gives_the_images_and_numbers_of_one(anew, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # So short a run that no worker would help another one.
    monkeypatch.setattr(Schedule, "helps", lambda self, images: True)
    words = ("--metrics", "frechet,psnr,kernel")
    for count in (1, 2, 4):
        anew(f"workers{count}", *words, "--workers", count)
    anew("local", *words, "--engine", "local")
    for count in (1, 2, 4):
        assert images(tmp_path / f"workers{count}") == images(tmp_path / "local")
        found = measured(tmp_path / "out" / f"workers{count}")
        assert found == measured(tmp_path / "out" / "local")


def test_what_is_not_there_at_the_end_is_told():
    share = [SimpleNamespace(is_missing=lambda k=k: k == 1) for k in range(3)]
    assert shards.told((1, 2), share[::2], 3).startswith("shard 1/2: 2 batches made, 3 s; when ")
    says = "shard 2/2: 2 batches made, 1 not: they failed, or another command is at them, 3 s; "
    assert shards.told((2, 2), share, 3).startswith(says)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "1/2/3", "-1/4", "1/1000000"])
def test_what_is_no_share_is_refused(text, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with pytest.raises(InputError, match="--shard is I/N with I from 1 to N"):
        shards.parsed(text)


def test_a_share_needs_a_number_of_threads_that_all_commands_have(bench, monkeypatch):
    assert shards.parsed(None) is None
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert shards.parsed("2/4") == (2, 4)
    monkeypatch.delenv("OMP_NUM_THREADS")
    code, _, stderr = bench("run", "--bits", "4", "--shard", "1/2")
    assert code == 2 and "--shard: set OMP_NUM_THREADS" in stderr


def test_shares_are_of_runs_whose_images_are_known(bench, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for words in (("--precision", "1"), ("--probes", "all")):
        code, _, stderr = bench("run", "--bits", "4", "--shard", "1/2", *words)
        assert code == 2 and "--shard is for runs of a fixed N without --probes" in stderr


def test_workers_and_an_engine_that_says_their_number_exclude_each_other(bench):
    for words, says in (
        (("--workers", "0"), "--workers must be 1 to 999, not 0"),
        (("--workers", "2", "--engine", "local"), "leave out --engine local"),
        (("--workers", "2", "--engine", "processes:3"), "leave out --engine processes:3"),
        (("--address", "host:1"), "--address is that of a Ray cluster: say --engine ray, not"),
        (("--address", "host", "--engine", "ray"), "takes the address of a cluster"),
    ):
        code, _, stderr = bench("run", "--bits", "4", *words)
        assert code == 2 and says in stderr


def workers_of(process):
    """The processes that a command has started."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(word) for word in path.read_text().split()] if process.poll() is None else []


@pytest.mark.slow
def test_killed_workers_and_commands_lose_nothing(anew, cards, cache, tmp_path, monkeypatch):
    """Two workers, the command, and two more workers are killed at random moments; the batches
    that were there stay as they are, and the numbers are those of an unbroken run."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    sizes = (*SIZES, "--images", "60", "--steps", "10")
    broken, random = tmp_path / "broken", Random(0)
    shutil.copytree(cache / "fits", broken / "fits")
    words = [sys.executable, "-m", "bench", "run", *sizes, "--cards", str(cards)]
    words += ["--workers", "2"]
    before, killed = {}, 0
    for is_last in (False, True):
        # A fast machine may have finished the first time.
        out = ["--out", str(tmp_path / "out" / ("broken" if is_last else "first"))]
        command = subprocess.Popen(words + out, env={**os.environ, "BENCH_CACHE": str(broken)})
        kills = 2
        while kills and command.poll() is None:
            time.sleep(random.uniform(0, 8))
            if found := workers_of(command):
                os.kill(random.choice(found), signal.SIGKILL)
                kills, killed = kills - 1, killed + 1
        if not is_last:
            command.kill()
        command.wait()
        now = images(broken)
        assert before.items() <= now.items()
        before = now
    assert command.returncode == 0 and killed
    anew("unbroken", "--images", "60", "--steps", "10", "--engine", "local")
    assert images(broken) == images(tmp_path / "unbroken")
    assert measured(tmp_path / "out" / "broken") == measured(tmp_path / "out" / "unbroken")

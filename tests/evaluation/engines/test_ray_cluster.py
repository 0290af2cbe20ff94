"""Engine `ray`: the same records whatever the cluster; what is lost is done by another worker."""

import contextlib
import json
import os
import pickle
import re
import shutil
import socket
import sys
import threading
import time
from collections import Counter
from types import SimpleNamespace

import pytest
from evaluation.engines.test_processes import lines, resolved
from helpers.fake_worker import FakeWorker

from bench.core.errors import InputError
from bench.core.record import Record
from bench.evaluation.back_off import OutOfMemory
from bench.evaluation.engines import cluster_worker, ray_cluster
from bench.system import artifacts, disk
from bench.system.disk import MachineError

ray = pytest.importorskip("ray")
STORE = 80 * 2**20


@contextlib.contextmanager
def cluster(nodes, monkeypatch, cpus=1):
    """A Ray cluster of several nodes of this machine, to which this process is connected."""
    from ray.cluster_utils import Cluster

    # Workers import the helpers of the tests.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    size = {"num_cpus": cpus, "object_store_memory": STORE}
    made = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            made.add_node(**size)
        ray.init(made.address, log_to_driver=False, logging_level="ERROR")
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.mark.parametrize(
    "argument", ["8", "host", "auto,0", "auto,", "host:port", "http://host:1", "auto,2,3"]
)
def test_an_argument_that_is_none_is_refused_before_anything_is_done(argument):
    with pytest.raises(InputError, match="takes the address of a cluster"):
        list(ray_cluster.run(None, (), argument))


def test_without_ray_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install"):
        list(ray_cluster.run(None, ()))


@pytest.mark.parametrize("is_named", [True, False])
def test_nobody_at_an_address_is_one_line_at_once(is_named, cache, log, monkeypatch):
    with socket.socket() as taken:
        # A port at which nobody listens.
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        cells = resolved(cache, "w8a8", checkpoints=("a",))
        start = time.monotonic()
        monkeypatch.setenv("RAY_ADDRESS", address)
        argument = address if is_named else "auto"
        with pytest.raises(InputError, match=f"no Ray cluster at {argument} .*refused"):
            list(ray_cluster.run(FakeWorker(log), cells, argument))
        assert time.monotonic() - start < 30


@pytest.mark.slow
def test_each_piece_is_done_once_by_workers_of_two_nodes(cache, log, monkeypatch):
    """And what ends a worker is done by another one; what stops a run stops it here, too."""
    with cluster(2, monkeypatch):
        cells = resolved(cache, "w8a8", "w4a8+skip=once")
        told = list(ray_cluster.run(FakeWorker(log), cells))
        found = [each for each in told if isinstance(each, Record)]
        assert Counter(r.status for r in found) == {"ok": len(cells)}
        assert {r.cell for r in found} == {wanted.cell for wanted in cells}
        begun = lines(log)
        assert len({process for process, _ in begun}) > 1
        again = [name for name, count in Counter(name for _, name in begun).items() if count > 1]
        assert len(again) == 1
        assert "skip=once" in again[0]
        for word, kind, says in (("refused", InputError, "no such"), ("full", MachineError, "no")):
            bad = resolved(cache, f"w4a8+skip={word}", checkpoints=("a",))
            with pytest.raises(kind, match=says) as stopped:
                list(ray_cluster.run(FakeWorker(log), bad))
            assert type(stopped.value) is kind
        monkeypatch.setenv("OMP_NUM_THREADS", "64")
        with pytest.raises(InputError, match=r"no machine of the Ray cluster has room.*CPU 64"):
            list(ray_cluster.run(FakeWorker(log), cells))
        # What a worker checks its machine by is gone.
        assert not (cache / "tokens").exists()


@pytest.fixture
def token(tmp_path, cache):
    path = cache / "tokens" / "0"
    artifacts.save_text(path, artifacts.bound(path), "text")
    return cluster_worker.Token(tmp_path, path, "text", cluster_worker.code())


def test_the_reason_of_an_end_names_no_machine():
    text = "The actor died before it finished.\n\tactor_id: 12\n\tip: 192.0.2.2\nThe node is dead."
    assert ray_cluster._reason(ray.exceptions.RayError(text)) == (
        "RayError: The actor died before it finished. The node is dead."
    )
    assert ray_cluster._reason(ValueError("a\nb")) == "ValueError: b"


def test_the_file_that_machines_are_checked_by_is_gone_with_the_command(cache, log):
    worker = SimpleNamespace(cache=cache)
    with ray_cluster._token(worker) as token:
        assert artifacts.load_text(token.path, artifacts.bound(token.path)) == token.text
        # One that is killed leaves it to the next.
        disk.sweep(cache)
        assert token.path.exists()
        of_the_dead = token.path.with_name(re.sub(r"-\d+-", "-999999999-", token.path.name))
        shutil.copy(token.path, of_the_dead)
        disk.sweep(cache)
        assert not of_the_dead.exists()
        assert token.path.exists()
    assert not token.path.parent.exists()


@pytest.fixture
def machine(monkeypatch):
    """Gives what a machine of a cluster says at its start, with changes of the real token."""
    monkeypatch.setattr(cluster_worker, "LOOKS", 1)
    # It is to be where the command was.
    monkeypatch.setattr(os, "chdir", os.stat)

    def says(token, **changes):
        from dataclasses import replace

        given = FakeWorker(token.folder / "log"), replace(token, **changes)
        return cluster_worker.ClusterWorker(given).ready()

    return says


def test_a_machine_is_checked_before_it_gets_work(token, machine, tmp_path):
    assert machine(token) == ""
    assert "has no folder" in machine(token, folder=tmp_path / "none")
    assert "has another bench" in machine(token, code="0")
    told = machine(token, path=tmp_path / "other" / "tokens" / "0")
    assert f"does not see the cache {tmp_path / 'other'}" in told
    assert "does not see the cache" in machine(token, text="that of another run")


def test_workers_have_the_variables_that_decide_numbers_and_no_secret(token, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("BENCH_MIRROR", "s3://bucket")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("HF_TOKEN", "secret")
    found = cluster_worker.environment(token)
    assert (found["OMP_NUM_THREADS"], found["BENCH_MIRROR"]) == ("3", "s3://bucket")
    assert found["BENCH_CACHE"] == str(token.cache)
    assert "secret" not in found.values()


def test_too_little_memory_reaches_the_command_as_that(token, cache):
    class Full(FakeWorker):
        def __call__(self, items):
            for _ in items:
                raise OutOfMemory("no room", "a", 50)
                yield

    worker = cluster_worker.ClusterWorker((Full(token.folder / "log"), token))
    (error,) = worker.do(resolved(cache, "w8a8", checkpoints=("a",))[0])
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.checkpoint, again.batch) == (OutOfMemory, "a", 50)


def test_a_worker_keeps_its_network_between_pieces_of_work(token, cache):
    """That is, one generator of the worker does them all."""
    calls = []

    class Counting(FakeWorker):
        def __call__(self, items):
            calls.append(1)
            return super().__call__(items)

    worker = cluster_worker.ClusterWorker((Counting(token.folder / "log"), token))
    cells = resolved(cache, "w8a8", checkpoints=("a",))
    for wanted in cells:
        *_, last = worker.do(wanted)
        assert isinstance(last, Record)
        assert last.cell == wanted.cell
    assert calls == [1]


def test_what_a_worker_says_of_the_cache_reaches_the_command(token, cache):
    class Telling(FakeWorker):
        def __call__(self, items):
            for told in super().__call__(items):
                print("a warning of a library", file=sys.stderr)
                print("bench: a file is damaged", file=sys.stderr)
                yield told

    worker = cluster_worker.ClusterWorker((Telling(token.folder / "log"), token))
    said = list(worker.do(resolved(cache, "w8a8", checkpoints=("a",))[0]))
    assert [each for each in said if isinstance(each, str)] == ["bench: a file is damaged"] * 2


SIZES = ("--scheme", "w4a8", "--backend", "simulated", "--checkpoints", "*", "--images", "8")
SIZES += ("--steps", "1", "--batch", "2", "--metrics", "psnr,ssim")


@pytest.fixture
def measured(bench, cards, cache, tmp_path, monkeypatch):
    """Runs `bench run` in a cache of its own; its records less times, and the bits of its images.

    The words of several commands one after the other, of which the last one reports.
    """

    def run(name, *commands):
        folder = tmp_path / name
        shutil.copytree(cache / "fits", folder / "fits")
        monkeypatch.setenv("BENCH_CACHE", str(folder))
        for words in commands:
            code, _, stderr = bench(
                "run", *SIZES, "--cards", cards, "--out", folder / "out", *words
            )
            assert code == 0, stderr
        (path,) = folder.glob("out/*/run.json")
        records = [{**r, "seconds": None} for r in json.loads(path.read_text())["records"]]
        assert {record["status"] for record in records} == {"ok"}
        images = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.glob("images/*/*.npy"))
        }
        assert len(images) == 8
        return records, images

    return run


@pytest.mark.slow
def test_the_numbers_are_the_same_whoever_makes_them(measured, monkeypatch):
    """One process, 1, 2 and 4 workers of this machine, a cluster of 1, 2 and 4 nodes, shares."""
    unbroken = measured("local", ["--engine", "local"])
    for count in (1, 2, 4):
        assert measured(f"workers-{count}", ["--workers", count]) == unbroken
        with cluster(count, monkeypatch):
            assert measured(f"ray-{count}", ["--engine", "ray"]) == unbroken
    shares = [["--engine", "local", "--shard", f"{number}/3"] for number in (3, 1, 2)]
    assert measured("shares", *shares, ["--engine", "local"]) == unbroken


@pytest.mark.slow
def test_a_node_that_is_removed_costs_no_number(measured, tmp_path, monkeypatch):
    """It goes once the first batch of images is there; the other one does the rest."""
    unbroken = measured("local", ["--engine", "local"])
    with cluster(1, monkeypatch) as made:
        node = made.add_node(num_cpus=1, object_store_memory=STORE)
        removed = []

        def remove():
            while not [*tmp_path.glob("broken/images/*/*.npy")]:
                time.sleep(0.02)
            made.remove_node(node, allow_graceful=False)
            removed.append(len([*tmp_path.glob("broken/images/*/*.npy")]))

        remover = threading.Thread(target=remove)
        remover.start()
        assert measured("broken", ["--engine", "ray"]) == unbroken
        remover.join()
    assert removed[0] < 8

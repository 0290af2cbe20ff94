"""Which engine `auto` takes, by sizes alone."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.tiny import write_card, write_cards

from bench.core.cell import Cell, Checkpoint, Draw
from bench.core.scheme import Scheme
from bench.evaluation import cost
from bench.evaluation.engines import automatic
from bench.system import devices, host, hub

GB = 10**9


def cells(checkpoints, images=500):
    cards = [
        Checkpoint(f"c{k}", "c", "ema", "safetensors", "none", "0" * 64, "fashion-mnist", seed=k)
        for k in range(checkpoints)
    ]
    draw = Draw(images=images)
    return [Cell(card, Scheme(4, 8), "simulated", draw) for card in cards for _ in range(3)]


@pytest.fixture
def machine(monkeypatch):
    """Makes the machine one of so many cores and bytes, and the networks one of so many values."""

    def make(cores, memory=64 * GB, outputs=300_000):
        monkeypatch.setattr(host, "cores", lambda: cores)
        monkeypatch.setattr(host, "memory", lambda: memory)
        monkeypatch.setattr(cost, "outputs", lambda card: outputs)

    return make


@pytest.mark.parametrize(
    ("cores", "checkpoints", "expected"),
    [
        (2, 4, ("processes:2", 1)),
        (8, 4, ("processes:8", 1)),
        (8, 1, ("processes:3", 2)),
        (1, 4, ("local", 1)),
    ],
)
def test_processes_take_the_cores(machine, cores, checkpoints, expected):
    """A checkpoint has work for three and a half processes: 3 cells, 500 images, 20 steps."""
    machine(cores)
    assert automatic.chosen(cells(checkpoints), "cpu", None) == expected


def test_a_gpu_and_a_short_run_are_for_one_process(machine):
    machine(8)
    assert automatic.chosen(cells(4), "cuda", None) == ("local", 8)
    assert automatic.chosen(cells(4, images=1), "cpu", None) == ("local", 8)


def test_memory_bounds_the_processes(machine):
    """Half of 16 GB holds three processes of 1.3 GB and 50 images of 6 million values, or 1.2 GB;
    networks of 300 million values fit once, in one process with all cores."""
    machine(8, memory=16 * GB, outputs=6_000_000)
    assert automatic.chosen(cells(8), "cpu", None) == ("processes:3", 2)
    machine(8, memory=16 * GB, outputs=300_000_000)
    assert automatic.chosen(cells(8), "cpu", None) == ("local", 8)
    machine(8, memory=0)
    assert automatic.chosen(cells(8), "cpu", None) == ("local", 8)


def test_weights_of_the_hub_count(machine, monkeypatch, tmp_path):
    """Half of 16 GB holds three processes of 1.3 GB and three copies of 0.4 GB."""
    machine(8, memory=16 * GB, outputs=1)
    monkeypatch.setattr(automatic, "LEAST", 1e-9)
    with (tmp_path / "weights").open("wb") as file:
        file.truncate(4 * 10**8)
    monkeypatch.setattr(hub, "folder", lambda uri, revision: tmp_path)
    remote = [replace(c, checkpoint=replace(c.checkpoint, uri="hf:a/b")) for c in cells(8)]
    assert automatic.chosen(remote, "cpu", None) == ("processes:3", 2)


def test_threads_that_the_user_set_are_kept(machine):
    machine(8)
    assert automatic.chosen(cells(8), "cpu", 4) == ("processes:2", 4)
    assert automatic.chosen(cells(8), "cpu", 2) == ("processes:4", 2)
    assert automatic.chosen(cells(8), "cpu", 8) == ("local", 8)


def test_each_of_several_gpus_has_a_process(machine, monkeypatch):
    machine(8)
    monkeypatch.setattr(devices, "visible", lambda device: ["0", "1"] if device == "cuda" else [])
    assert automatic.chosen(cells(4), "cuda", None) == ("processes:2", 4)
    assert automatic.chosen(cells(4), "cuda:1", None) == ("local", 8)


def test_the_threads_of_workers_do_not_depend_on_their_number(machine, monkeypatch):
    machine(8)
    monkeypatch.setattr(devices, "visible", lambda device: ["0", "1"] if device == "cuda" else [])
    for count in (1, 2, 4):
        name = automatic.checked(automatic.AUTO, count)
        assert name == f"processes:{count}"
        assert automatic.threads_of(name, "cpu") == 1
        assert automatic.threads_of(name, "cuda") == 4


@pytest.mark.slow
def test_a_run_takes_the_engine_and_says_so(bench, cards, monkeypatch, tmp_path):
    """The records are those of one process with as many threads."""
    two_cards = write_cards(tmp_path, [write_card(tmp_path, name) for name in ("one", "two")])
    words = ("run", "--scheme", "w4a8", "--backend", "simulated", "--images", "8", "--steps", "2")
    words += ("--batch", "4", "--cards", two_cards)
    monkeypatch.setattr(host, "cores", lambda: 2)
    code, out, error = bench(*words, "--out", tmp_path / "one")
    assert code == 0 and "engine: " not in error
    monkeypatch.setattr(automatic, "LEAST", 1e-9)
    shutil.rmtree(Path(os.environ["BENCH_CACHE"]) / "records")
    shutil.rmtree(Path(os.environ["BENCH_CACHE"]) / "images")
    code, again, error = bench(*words, "--out", tmp_path / "two")
    assert code == 0 and "engine: processes:2, 1 thread each" in error
    runs = [
        json.loads(Path(name.strip()).with_name("run.json").read_text()) for name in (out, again)
    ]
    assert [run["engine"]["name"] for run in runs] == ["local", "processes:2"]
    first, second = (
        [(each["cell"]["checkpoint"]["name"], each["measurements"]) for each in run["records"]]
        for run in runs
    )
    assert first == second


def test_address_and_number_of_workers_are_part_of_the_name_of_a_cluster():
    pytest.importorskip("ray")
    assert automatic.checked("ray") == "ray"
    assert automatic.checked("ray", None, "host:6379") == "ray:host:6379"
    assert automatic.checked("ray", 8) == "ray:,8"
    assert automatic.checked("ray", 8, "local") == "ray:local,8"
    assert automatic.threads_of("ray:local,8", "cpu") == 1

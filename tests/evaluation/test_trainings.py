"""Seeds of a recipe by an engine: the bits of one after the other, and resumed where killed."""

import os
import signal
import time
from pathlib import Path

import pytest
import yaml
from helpers.idx import write_fashion
from helpers.tiny import TINY_NETWORK

from bench.cli import train
from bench.core import extensions
from bench.core.errors import InputError
from bench.core.progress import Done
from bench.evaluation import trainings
from bench.evaluation.trainings import TrainingWorker
from bench.models.cards import load_cards
from bench.models.training import cards, recipes
from bench.models.training.cards import Destination
from bench.models.training.recipe import Recipe
from bench.system.disk import MachineError
from bench.system.host import fingerprint


@pytest.fixture
def recipe(monkeypatch):
    """Six updates of the smallest network, under a name."""
    made = Recipe(
        "tiny", "fashion-mnist", (1, 28, 28), TINY_NETWORK, updates=6, batch=4, swa_start=0.5,
        swa_every=1,
    )  # fmt: skip
    monkeypatch.setitem(recipes.RECIPES, "tiny", made)
    return made


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A tiny Fashion-MNIST, named by the environment."""
    monkeypatch.setenv("BENCH_DATA", str(write_fashion(tmp_path / "data", 40)))


def weights(folder):
    """The bytes of all weights by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


def done(engine, cache, tasks):
    """What an engine tells of the end of tasks, by their names."""
    worker = TrainingWorker("cpu", fingerprint(), cache)
    told = extensions.lookup("engines", engine)(worker, tasks)
    return {str(each.work): each for each in told if isinstance(each, Done)}


def test_workers_train_the_bits_of_one_after_the_other(bench, data, recipe, tmp_path, capsys):
    for seed in (0, 2):
        cards.run(recipe.changed({"seed": str(seed)}), Destination(tmp_path / "one", device="cpu"))
    capsys.readouterr()
    out = tmp_path / "several"
    words = ("train", "--recipe", "tiny", "--seeds", "0,2", "--device", "cpu", "--out", out)
    code, stdout, stderr = bench(*words, "--engine", "processes:2")
    assert code == 0, stderr
    assert "tiny-seed2: 6/6  loss" in stderr and "tiny: trained" in stderr
    assert weights(out) == weights(tmp_path / "one") and len(weights(out)) == 6
    names = [card["name"] for card in yaml.safe_load(stdout)["checkpoints"]]
    assert names == [f"tiny{s}-{m}" for s in ("", "-seed2") for m in ("baseline", "ema", "swa")]
    assert [card.seed for card in load_cards(out / "tiny-seed2-baseline.yaml")] == [2, 2, 2]


def test_one_that_fails_stops_no_other(data, recipe, tmp_path, cache):
    tasks = trainings.tasks(recipe, Destination(tmp_path / "out", "mine", "cpu"), (0, 1))
    assert list(map(str, tasks)) == ["mine", "mine-seed1"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine-baseline.snapshot.pt").write_bytes(b"no snapshot")
    found = done("local", cache, tasks)
    assert "not a whole snapshot" in found["mine"].error
    assert found["mine-seed1"].error == ""
    assert list(weights(tmp_path / "out")) == [
        f"mine-seed1-{kind}.safetensors" for kind in ("baseline", "ema", "swa")
    ]


def test_a_full_disk_stops_all(data, recipe, tmp_path, cache, monkeypatch):
    def full(*words):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cards, "write_cards", full)
    tasks = trainings.tasks(recipe, Destination(tmp_path / "out", "", "cpu"), (0,))
    with pytest.raises(MachineError):
        done("local", cache, tasks)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--seeds", "3..1"), "--seeds takes seeds as in 3..7 or 1,5,9, not '3..1'"),
        (("--seeds", "1,"), "--seeds takes seeds"),
        (("--seeds", "-1..2"), "--seeds takes seeds"),
        (("--seeds", "1..3,2"), "each once"),
        (("--seeds", "0..999999999"), "--seeds takes seeds"),
        (("--seeds", "1,2", "--seed", "3"), "say one of them"),
        (("--engine", "processes:2"), "name --seeds"),
        (("--seeds", "1,2", "--engine", "auto"), "say local, processes:2 or ray here"),
        (("--seeds", "1,2", "--engine", "none"), "unknown"),
    ],
)
def test_flags_that_make_no_sense_are_one_line(bench, recipe, words, says, tmp_path):
    code, _, stderr = bench("train", "--recipe", "tiny", *words, "--out", tmp_path / "out")
    assert code == 2 and says in stderr and len(stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_nothing_trained_is_bad_input(bench, data, recipe, tmp_path):
    words = ("--recipe", "tiny", "--seeds", "1,2", "--device", "cpu", "--batch", "50")
    code, _, stderr = bench("train", *words, "--out", tmp_path / "out")
    assert code == 2 and "nothing was trained: fashion-mnist has 40 images" in stderr


def test_files_of_another_machine_that_are_not_here_are_told(recipe, tmp_path):
    (task,) = trainings.tasks(recipe, Destination(tmp_path), (0,))
    with pytest.raises(InputError, match="was written on another machine"):
        train._told([Done(task, result="checkpoints: []")])


@pytest.mark.slow
def test_a_ray_cluster_trains_the_same_bits(data, recipe, tmp_path, cache):
    pytest.importorskip("ray")
    for engine in ("local", "ray:local,2"):
        tasks = trainings.tasks(recipe, Destination(tmp_path / engine, "", "cpu"), (1, 2))
        assert [each.error for each in done(engine, cache, tasks).values()] == ["", ""]
    assert weights(tmp_path / "ray:local,2") == weights(tmp_path / "local")


@pytest.mark.slow
def test_a_killed_worker_goes_on_from_its_snapshot(data, recipe, tmp_path, cache):
    longer = recipe.changed({"updates": "900"})
    cards.run(longer, Destination(tmp_path / "one", device="cpu"))
    out = tmp_path / "several"
    tasks = trainings.tasks(longer, Destination(out, "", "cpu"), (0,))
    worker = TrainingWorker("cpu", fingerprint(), cache)
    killed, told, others = None, [], children()
    for each in extensions.lookup("engines", "processes:1")(worker, tasks):
        told.append(each)
        if killed is None and (out / "tiny-baseline.snapshot.pt").exists():
            (killed,) = children() - others
            os.kill(killed, signal.SIGKILL)
            time.sleep(0.1)
    assert killed and told[-1].error == ""
    assert weights(out) == weights(tmp_path / "one")


def children():
    """The processes that this one has started."""
    path = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    return {int(word) for word in path.read_text().split()}

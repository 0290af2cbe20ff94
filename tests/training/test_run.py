"""`bench train`: files, cards and provenance of a short run, and going on after a SIGKILL."""

import gzip
import os
import signal
import struct
import subprocess
import sys

import numpy as np
import pytest
import yaml

from bench import registry, tables
from bench.errors import InputError
from bench.training import run

SMALL = {"updates": 3, "batch": 4, "seed": 0}


@pytest.fixture
def dataset(monkeypatch, tmp_path):
    """A folder with the IDX files of a tiny Fashion-MNIST, named by the environment."""
    folder = tmp_path / "data" / "fashion-mnist"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    for stem in ("train", "t10k"):
        header = struct.pack(">4B3I", 0, 0, 8, 3, *pixels.shape)
        with gzip.open(folder / f"{stem}-images-idx3-ubyte.gz", "wb") as stream:
            stream.write(header + pixels.tobytes())
    monkeypatch.setenv("BENCH_DATA", str(folder.parent))
    return folder


@pytest.mark.parametrize(
    ("rho", "rule", "methods"),
    [(0.0, "baseline", ["baseline", "ema", "swa"]), (0.05, "sam", ["sam", "sam+ema", "sam+swa"])],
)
def test_one_run_gives_three_valid_cards(dataset, tmp_path, capsys, rho, rule, methods):
    out = tmp_path / "out"
    run.run("tiny", out, rho=rho, **SMALL)
    path = out / f"tiny-{rule}.yaml"
    assert capsys.readouterr().out == path.read_text()
    cards = registry.load_cards(path)
    assert [card.method for card in cards] == methods
    assert [card.name for card in cards] == [f"tiny-{method}" for method in methods]
    for card in cards:
        denoiser = tables.lookup("sources", card.source)(registry.verify(card))
        assert denoiser.shape == (1, 28, 28)
    made = yaml.safe_load((out / f"tiny-{rule}.made.yaml").read_text())
    assert made["recipe"]["rho"] == rho
    assert made["recipe"]["updates"] == 3
    assert "torch" in made["versions"]


@pytest.mark.parametrize("wrong", [{"updates": 0}, {"batch": 0}, {"rho": -1.0}])
def test_sizes_out_of_range(dataset, tmp_path, wrong):
    with pytest.raises(InputError, match="at least"):
        run.run("tiny", tmp_path / "out", **({"rho": 0.0} | SMALL | wrong))
    assert not (tmp_path / "out").exists()


def test_a_snapshot_of_another_recipe_is_refused(dataset, tmp_path):
    run.run("tiny", tmp_path, rho=0.0, **SMALL)
    with pytest.raises(InputError, match="--name"):
        run.run("tiny", tmp_path, rho=0.0, **SMALL | {"seed": 1})


def test_sigkill_and_repeat_gives_the_same_bits(dataset, tmp_path):
    code = (
        "import os, signal, sys\n"
        "from bench.training import loop\n"
        "loop.train.__defaults__, step = (2,), loop.Trainer.step\n"
        "def dying(self):\n"
        "    if self.update == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return step(self)\n"
        "if 'die' in sys.argv: loop.Trainer.step = dying; sys.argv.remove('die')\n"
        "from bench.cli import main\nmain()\n"
    )
    words = ["train", "--name", "tiny", "--updates", "5", "--batch", "4"]

    def train(out, *more):
        command = [sys.executable, "-c", code, *more, *words, "--out", str(out)]
        return subprocess.run(command, env=dict(os.environ), capture_output=True, text=True)

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert train(whole).returncode == 0
    assert train(broken, "die").returncode == -signal.SIGKILL
    assert (broken / "tiny-baseline.snapshot.pt").exists()
    assert not list(broken.glob("*.safetensors"))
    assert train(broken).returncode == 0
    for path in whole.glob("*.safetensors"):
        assert (broken / path.name).read_bytes() == path.read_bytes()
    assert len(list(whole.glob("*.safetensors"))) == 3

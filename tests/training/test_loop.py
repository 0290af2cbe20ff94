import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from tiny import TINY_NETWORK

from bench.training import loop
from bench.training.recipe import Recipe

RECIPE = Recipe(updates=6, batch=4, warmup=2, swa_start=0.5, swa_every=1, ema_decay=0.9)


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    monkeypatch.setattr(loop, "SMALL_NETWORK", TINY_NETWORK)


def images():
    return torch.randint(0, 256, (9, 1, 28, 28), generator=torch.Generator().manual_seed(0),
                         dtype=torch.uint8)  # fmt: skip


def weights_after(recipe, snapshot, **changes):
    trainer = loop.train(recipe, images(), snapshot, lambda done, loss: None, **changes)
    return trainer.weights()


def equal(a, b):
    return all(torch.equal(a[kind][name], b[kind][name]) for kind in a for name in a[kind])


def test_averages_are_the_explicit_ones(tmp_path):
    trainer, path = loop.Trainer(RECIPE, images()), []
    ema = [p.detach().clone() for p in trainer.parameters]
    for update in range(1, 7):
        trainer.step()
        path.append([p.detach().clone() for p in trainer.parameters])
        decay = min(0.9, update / (9 + update))
        ema = [decay * a + (1 - decay) * p for a, p in zip(ema, path[-1], strict=True)]
    found = trainer.weights()
    names = [name for name, _ in trainer.model.named_parameters()]
    for k, name in enumerate(names):
        swa = torch.stack([weights[k] for weights in path[3:]]).mean(0)
        assert torch.allclose(found["raw"][name], path[-1][k], atol=0)
        assert torch.allclose(found["swa"][name], swa, atol=1e-6)
        assert torch.allclose(found["ema"][name], ema[k], atol=1e-6), name


def test_resumed_run_has_the_same_bits(tmp_path):
    for rho in (0.0, 0.05):
        recipe = Recipe(**(RECIPE.to_dict() | {"rho": rho}))
        whole = weights_after(recipe, tmp_path / f"whole{rho}.pt")
        stopped = loop.Trainer(recipe, images())
        for _ in range(4):
            stopped.step()
        stopped.save(tmp_path / f"stopped{rho}.pt")
        assert equal(whole, weights_after(recipe, tmp_path / f"stopped{rho}.pt"))


def test_methods_see_the_same_data():
    plain = loop.Trainer(RECIPE, images())
    sam = loop.Trainer(Recipe(**(RECIPE.to_dict() | {"rho": 0.05})), images())
    for a, b in zip(plain.batch(3), sam.batch(3), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(plain.batch(3)[2], plain.batch(4)[2])


def test_an_epoch_has_no_repeats():
    trainer = loop.Trainer(RECIPE, torch.arange(8, dtype=torch.uint8).view(8, 1, 1, 1))
    seen = torch.cat([trainer.batch(k)[0] for k in (0, 1)]).flatten()
    assert len(seen.unique()) == 8


def test_learning_rate_warms_up():
    trainer = loop.Trainer(RECIPE, images())
    rates = []
    for _ in range(3):
        trainer.step()
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates == [pytest.approx(5e-4), pytest.approx(1e-3), pytest.approx(1e-3)]


def test_snapshot_of_another_recipe_is_refused(tmp_path):
    loop.Trainer(RECIPE, images()).save(tmp_path / "a.pt")
    with pytest.raises(ValueError, match="another recipe"):
        weights_after(Recipe(**(RECIPE.to_dict() | {"seed": 1})), tmp_path / "a.pt")


SCRIPT = """
import sys, torch
sys.path.insert(0, {tests!r})
import test_loop
from pathlib import Path
torch.set_num_threads(1)
test_loop.loop.SMALL_NETWORK = test_loop.TINY_NETWORK
recipe = test_loop.Recipe(**(test_loop.RECIPE.to_dict() | {{"updates": 40}}))
weights = test_loop.weights_after(recipe, Path({snapshot!r}), save_every=1)
torch.save(weights, {out!r})
"""


def test_sigkill_and_repeat_gives_the_same_bits(tmp_path):
    """Kill the process at an arbitrary moment of writing snapshots; repeat until it ends."""
    here = os.path.dirname(__file__)

    def start(name):
        paths = {"snapshot": str(tmp_path / f"{name}.pt"), "out": str(tmp_path / f"{name}.out")}
        code = SCRIPT.format(tests=here, **paths)
        environment = os.environ | {"PYTHONPATH": os.path.dirname(here)}
        return subprocess.Popen([sys.executable, "-c", code], env=environment)

    assert start("whole").wait() == 0
    killed = start("killed")
    while not (tmp_path / "killed.pt").exists():
        assert killed.poll() is None
        time.sleep(0.02)
    time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert start("killed").wait() == 0
    whole = torch.load(tmp_path / "whole.out", weights_only=True)
    assert equal(whole, torch.load(tmp_path / "killed.out", weights_only=True))

"""`bench train`: files, cards and provenance of a short run, and going on after a SIGKILL."""

import os
import signal
import subprocess
import sys

import pytest
import yaml
from helpers.tiny import TINY_NETWORK

from bench.core import extensions
from bench.core.errors import InputError
from bench.models.cards import load_cards, verify
from bench.models.training.cards import Destination, method_name, run


@pytest.mark.parametrize(
    ("method", "methods"),
    [
        ("baseline", ["baseline", "ema", "swa"]),
        ("ip", ["ip", "ip+ema", "ip+swa"]),
        ("sam", ["sam", "sam+ema", "sam+swa"]),
    ],
)
def test_one_run_gives_three_valid_cards(dataset, recipe, tmp_path, capsys, method, methods):
    out = tmp_path / "out"
    run(recipe.changed({"method": method}), Destination(out, device="cpu"))
    path = out / f"tiny-{method}.yaml"
    stdout, stderr = capsys.readouterr()
    assert stdout == path.read_text()
    assert f"{1 + (method == 'sam')} gradient" in stderr
    assert "images/s" in stderr
    cards = load_cards(path)
    assert [card.method for card in cards] == methods
    assert [card.name for card in cards] == [f"tiny-{name}" for name in methods]
    assert {card.family for card in cards} == {"tiny"}
    for card in cards:
        denoiser = extensions.lookup("sources", card.source)(verify(card))
        assert denoiser.shape == (1, 28, 28)
    made = yaml.safe_load((out / f"tiny-{method}.made.yaml").read_text())
    assert made["recipe"]["method"] == method
    assert made["recipe"]["updates"] == 6
    (place,) = made["made_by"]
    assert "torch" in place["versions"]
    assert (place["device"], place["compiled"]) == ("cpu", False)
    # Repeating a finished run trains nothing, so nothing new made the weights.
    run(recipe.changed({"method": method}), Destination(out, device="cpu"))
    assert yaml.safe_load((out / f"tiny-{method}.made.yaml").read_text()) == made


def test_seeds_are_repetitions_of_one_family(dataset, recipe, tmp_path):
    run(recipe.changed({"seed": "2"}), Destination(tmp_path, device="cpu"))
    cards = load_cards(tmp_path / "tiny-seed2-baseline.yaml")
    assert cards[0].name == "tiny-seed2-baseline"
    assert {(card.family, card.seed) for card in cards} == {("tiny", 2)}


def test_a_learned_variance_is_on_the_card_and_loads(dataset, recipe, tmp_path):
    changes = {"learns_variance": "true", "network.unet.out_channels": "8"}
    changes |= {"predicts": "v_prediction"}
    run(recipe.changed(changes), Destination(tmp_path, device="cpu"))
    card = load_cards(tmp_path / "tiny-baseline.yaml")[0]
    denoiser = extensions.lookup("sources", card.source)(verify(card))
    assert denoiser.learns_variance
    assert denoiser.predicts == "v_prediction"


@pytest.mark.parametrize(
    ("method", "average", "name"),
    [
        ("baseline", "raw", "baseline"),
        ("baseline", "ema@0.9999", "ema@0.9999"),
        ("ip+sam", "raw", "ip+sam"),
        ("ip", "swa", "ip+swa"),
    ],
)
def test_names_of_methods(method, average, name):
    assert method_name(method, average) == name


def test_bad_places_are_refused(dataset, recipe, tmp_path):
    with pytest.raises(InputError, match="--name"):
        run(recipe, Destination(tmp_path / "out", name="a/b"))
    for device in ("gpu", "cpu:x"):
        with pytest.raises(InputError, match=f"no device '{device}'"):
            run(recipe, Destination(tmp_path / "out", device=device))
    with pytest.raises(InputError, match="set out_channels"):
        run(
            recipe.changed({"learns_variance": "true"}),
            Destination(tmp_path / "out", device="cpu"),
        )
    assert not (tmp_path / "out").exists()


CODE = f"""
import os, signal, sys
from bench.models.training import cards, loop, recipes
from bench.models.training.recipe import Recipe
recipes.RECIPES["tiny"] = Recipe("tiny", "fashion-mnist", (1, 28, 28), {TINY_NETWORK!r},
    batch=4, updates=7, swa_start=0.1, swa_every=1)
loop.train.__defaults__, step = (None, 2), loop.Trainer.step
def dying(self):
    if self.update == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self)
if "die" in sys.argv:
    loop.Trainer.step = dying
    sys.argv.remove("die")
from bench.cli.app import main
main()
"""


@pytest.mark.slow
def test_sigkill_and_repeat_gives_the_same_bits(dataset, tmp_path):
    words = ["train", "--recipe", "tiny", "--method", "sam", "--rho", "0.1", "--device", "cpu"]

    def train(out, *more):
        command = [sys.executable, "-c", CODE, *more, *words, "--out", str(out)]
        return subprocess.run(command, env=dict(os.environ), capture_output=True, text=True)

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = train(whole)
    assert done.returncode == 0, done.stderr
    assert train(broken, "die").returncode == -signal.SIGKILL
    assert (broken / "tiny-sam.snapshot.pt").exists()
    assert not list(broken.glob("*.safetensors"))
    assert train(broken).returncode == 0
    names = sorted(path.name for path in whole.glob("*.safetensors"))
    assert names == [
        "tiny-sam-ema.safetensors",
        "tiny-sam-swa.safetensors",
        "tiny-sam.safetensors",
    ]
    for name in names:
        assert (broken / name).read_bytes() == (whole / name).read_bytes()

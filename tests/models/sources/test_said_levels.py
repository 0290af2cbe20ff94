"""Noise levels that a card describes: of weights in a file, of a user's network, of a folder."""

import json
import math

import pytest
import torch
from helpers.folders import save_unet
from helpers.tiny import TINY_CONFIG, write_card, write_cards

from bench.core.cell import Draw
from bench.core.errors import InputError
from bench.core.noise_levels import NoiseLevels
from bench.models.cards import load_cards, verify
from bench.models.samplers.drawing import images
from bench.models.samplers.heun import heun
from bench.models.samplers.noise import image_generators
from bench.models.sources import diffusers_folder, python, python_code, said_levels, weights_file
from bench.quant.layers import export
from bench.system import trust
from bench.system.quiet import quiet_import

with quiet_import():
    from diffusers import EDMEulerScheduler

NETWORK = """
import torch
from torch import nn

class Labelled(nn.Module):
    def __init__(self):
        super().__init__()
        self.level, self.label = nn.Linear(1, 1), nn.Embedding(4, 1)
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x, t, y):
        return self.conv(x) + (self.level(t[:, None]) + self.label(y))[:, :, None, None]
"""


def of_file(folder, **config):
    """The denoiser of a card with this config beside the tiny network's."""
    without = {k: TINY_CONFIG[k] for k in ("shape", "network")}
    entry = write_card(folder, config={**without, **config})
    (card,) = load_cards(write_cards(folder, [entry]))
    return weights_file.load(verify(card))


def refused(folder, *words, **config):
    with pytest.raises(InputError) as caught:
        of_file(folder, **config)
    assert "\n" not in str(caught.value)
    for word in ("card 'tiny'", *words):
        assert word in str(caught.value)


def test_levels_of_each_kind(tmp_path):
    edm = of_file(tmp_path, levels={"kind": "edm", "sigma_max": 50})
    assert (edm.predicts, edm.sigma_data, edm.clips) == ("edm", 0.5, False)
    x, level = torch.randn(2, 1, 28, 28), edm.levels.near(0.0)
    assert (level.signal, level.noise) == (1.0, pytest.approx(1.0))
    scaled, told = edm.inputs(x, level)
    assert torch.allclose(scaled, x / 1.25**0.5) and float(told[0]) == pytest.approx(0, abs=1e-9)
    sigmas = {"kind": "sigmas", "sigma_min": 0.01, "told": "log_sigma"}
    plain = of_file(tmp_path, levels=sigmas, timesteps=50)
    assert (plain.predicts, plain.sigma_data, len(plain.levels)) == ("epsilon", None, 50)
    assert plain.levels.at(0).told == pytest.approx(math.log(0.01))
    flow = of_file(tmp_path, levels={"kind": "flow", "shift": 3.0, "told": "time"})
    assert (flow.predicts, flow.levels.at(999).told) == ("flow_prediction", 1.0)
    assert flow.levels.at(499).noise == pytest.approx(0.75)
    velocity = of_file(tmp_path, levels={"kind": "flow"}, predicts="velocity")
    assert velocity.predicts == "velocity"
    between = of_file(tmp_path, levels={"kind": "fractional"}, schedule="linear")
    assert between.clips and between.levels.between(10.5).told == 10.5
    assert "and between" in between.description["schedule"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"levels": "edm"}, ("levels must be a mapping with a kind",)),
        ({"levels": {"kind": "adm"}}, ("did you mean 'edm'?",)),
        ({"levels": {"kind": ["edm"]}}, ("levels must be a mapping with a kind",)),
        ({"levels": {"kind": "edm", "sigma": 3.0}}, ("levels of kind edm: sigma",)),
        ({"levels": {"kind": "edm", "sigma_max": "80"}}, ("sigma_max", "number")),
        ({"levels": {"kind": "edm", "sigma_max": 0.001}}, ("below sigma_max",)),
        ({"levels": {"kind": "edm", "sigma_data": -0.5}}, ("sigma_data must be a positive",)),
        ({"levels": {"kind": "edm", "told": "sigma"}}, ("told", "c_noise")),
        ({"levels": {"kind": "flow", "shift": 0}}, ("shift must be a positive number",)),
        ({"levels": {"kind": "flow", "told": "sigma"}}, ("told", "reversed_time")),
        ({"levels": {"kind": "flow"}, "schedule": "linear"}, ("exclude each other",)),
        ({"levels": {"kind": "flow"}, "predicts": "epsilon"}, ("velocity, sample at levels of",)),
        ({"levels": {"kind": "flow"}, "rescale_timesteps": True}, ("of whole timesteps",)),
        ({"schedule": "linear", "predicts": "edm"}, ("predicts must be one of epsilon, v_pred",)),
        ({"null_class": -1}, ("null_class must be a label",)),
        ({"null_class": 0}, ("null_class 0 is none of the network's 0 labels",)),
    ],
)
def test_what_is_no_kind_of_levels_is_told_in_one_line(tmp_path, config, words):
    refused(tmp_path, *words, **config)


def test_a_scheduler_on_the_card(tmp_path):
    shown = of_file(tmp_path, scheduler={"_class_name": "EDMEulerScheduler", "sigma_data": 1.0})
    assert (shown.predicts, shown.sigma_data) == ("edm", 1.0)
    both = {"scheduler": {"_class_name": "EDMEulerScheduler"}, "levels": {"kind": "edm"}}
    refused(tmp_path, "levels and scheduler exclude each other", **both)


@pytest.fixture
def labelled(tmp_path):
    (tmp_path / "net.py").write_text(NETWORK)
    trust.allow(True)
    function = f"{tmp_path / 'net.py'}:Labelled"
    torch.manual_seed(0)
    network, _ = python.built(function, None, {})
    torch.save(network.state_dict(), tmp_path / "w.pt")

    def load(**config):
        entry = {"name": "c", "family": "c", "method": "baseline", "source": "python"}
        entry |= {"uri": "w.pt", "dataset": "fashion-mnist", "network": "net.py:Labelled"}
        (card,) = load_cards(write_cards(tmp_path, [{**entry, "config": config}]))
        return python.load(verify(card))

    yield load, network
    trust.allow(False)
    python_code.forget()


FLOW = {"shape": [1, 8, 8], "levels": {"kind": "flow", "told": "time"}, "predicts": "velocity"}


def test_a_network_of_the_user_is_told_level_and_label(labelled):
    load, network = labelled
    denoiser = load(**FLOW, classes=3, null_class=1)
    level, x = denoiser.levels.near(0.0), torch.randn(2, 1, 8, 8)
    inputs = denoiser.inputs(x, level, torch.tensor([0, 3]))
    assert [i.dtype for i in inputs] == [torch.float32, torch.float32, torch.int64]
    with torch.no_grad():
        expected = network(x, torch.full((2,), 0.5), torch.tensor([0, 3]))
        assert torch.allclose(denoiser.model(*inputs), expected, atol=1e-6)
        assert torch.allclose(export(denoiser.model, *inputs)(*inputs), expected, atol=1e-6)
    # Guided by label 1, which no image has.
    draw = Draw(steps=3, images=4, batch=4, guidance=2.0)
    assert images(denoiser, heun, image_generators("a", 0, range(4)), draw).shape[0] == 4
    assert (denoiser.classes, denoiser.null_label) == (3, 1)
    assert set(denoiser.labels(torch.arange(3)).tolist()) == {0, 2, 3}
    for wrong in ({"classes": 3, "null_class": 4}, {"null_class": 0}):
        with pytest.raises(InputError, match=r"null_class \d stands beside the labels of"):
            load(**FLOW, **wrong)


def test_a_folder_with_a_scheduler_of_edm_and_a_null_label(tmp_path):
    network = save_unet(tmp_path / "model", scheduler=EDMEulerScheduler(), num_class_embeds=4)
    entry = {"name": "c", "family": "c", "method": "baseline", "source": "diffusers"}
    entry |= {"uri": "model", "dataset": "cifar10", "config": {"null_class": 3}}
    (card,) = load_cards(write_cards(tmp_path, [entry]))
    denoiser = diffusers_folder.load(verify(card))
    assert (denoiser.classes, denoiser.null_label, denoiser.predicts) == (3, 3, "edm")
    assert denoiser.description["steps of its scheduler"].startswith("karras sigmas, rho 7")
    level, x = denoiser.levels.near(-2.0), torch.randn(2, 3, 16, 16)
    sigma, y = math.exp(1), torch.tensor([0, 3])
    with torch.no_grad():
        made = denoiser.model(*denoiser.inputs(x, level, y))
        scaled = x / (sigma**2 + 0.25) ** 0.5
        expected = network.eval()(scaled, torch.full((2,), 0.25), y).sample
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-5)
    entry["config"] = {"null_class": 4}
    (card,) = load_cards(write_cards(tmp_path, [entry]))
    with pytest.raises(InputError, match="null_class 4 is none of the network's 4 labels"):
        diffusers_folder.load(verify(card))
    path = tmp_path / "model" / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "time_embedding_type": "learned"}))
    with pytest.raises(InputError, match="time_embedding_type = 'learned' embeds whole timesteps"):
        diffusers_folder.load(verify(card))


def test_the_words_of_import():
    assert said_levels.parse("edm") == {"kind": "edm"}
    assert said_levels.parse("{kind: flow, shift: 3}") == {"kind": "flow", "shift": 3}
    for wrong in ("adm", "3", "{kind: flow, shift: x}", "{"):
        with pytest.raises(ValueError, match="fractional, sigmas, edm, flow, or a mapping"):
            said_levels.parse(wrong)
    assert isinstance(said_levels.levels({"kind": "flow"}, 10), NoiseLevels)

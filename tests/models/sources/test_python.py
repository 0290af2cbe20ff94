"""Networks by a function of the user: loaded like others, and what may be wrong with one."""

import copy
import hashlib

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bench.core.cell import Checkpoint
from bench.core.errors import InputError
from bench.models.cards import load_cards, verify
from bench.models.sources import python, python_code, python_drafts
from bench.system import trust

NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, channels=1, width=4, bias=True):
        super().__init__()
        self.enter = nn.Conv2d(channels, width, 3, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(width)
        self.leave = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x, t):
        return self.leave(torch.relu(self.norm(self.enter(x)))) + t[:, None, None, None] / 1000

class Labelled(Net):
    def forward(self, x, t, y):
        return Net.forward(self, x, t) + y[:, None, None, None]

def named(**words):
    return Net(**words), lambda network, x, t: {"sample": network(x, t)}["sample"] * 2
"""
# Functions that do what they must not, and a word of the line that is told.
BAD = """
import os
import torch
from torch import nn

class Own(nn.Conv2d):
    def __init__(self):
        super().__init__(1, 1, 3, padding=1)

class Raising(Own):
    def forward(self, x, t):
        return super().forward(x).view(7)

class Random(Own):
    def forward(self, x, t):
        return torch.randn(x.shape)

class Mixing(Own):
    def forward(self, x, t):
        return x + x.mean(0, keepdim=True)

class Infinite(Own):
    def forward(self, x, t):
        return x / 0

class Wide(Own):
    def forward(self, x, t):
        return super().forward(x)[..., :4]

class Dictionary(Own):
    def forward(self, x, t):
        return {"sample": x}

def raising():
    raise ValueError("no such width")

def leaving():
    raise SystemExit(3)

def nothing():
    return None

def three():
    return Own(), None, None

text = "no function"
"""
FAULTS = {
    "raising": "raising fails (ValueError: no such width, line 35)",
    "leaving": "leaving fails (SystemExit: 3, line 38)",
    "nothing": "gives a NoneType: it must give an nn.Module",
    "three": "gives a tuple: it must give an nn.Module",
    "text": "text is a str, not a function",
    "rasing": "there is no rasing in the file (did you mean 'raising'?)",
    "Raising": "the network fails (RuntimeError: shape '[7]' is invalid",
    "Random": "it draws random numbers, or mixes the images of a batch",
    "Mixing": "it draws random numbers, or mixes the images of a batch",
    "Infinite": "the network gives NaN or infinite values",
    "Wide": "the network gives [1, 8, 4] for images of shape [1, 8, 8], not [1, 8, 8]",
    "Dictionary": "the network gives a dict, not a tensor",
}


@pytest.fixture
def folder(tmp_path):
    """A folder with the files, in a process that may execute code."""
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "bad.py").write_text(BAD)
    trust.allow(True)
    yield tmp_path
    trust.allow(False)
    python_code.forget()


def module(folder, **words):
    torch.manual_seed(0)
    network, _ = python.built(f"{folder / 'net.py'}:Net", None, words)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value))
    return network


def checkpoint(folder, function="net.py:Net", weights="w.pt", **config):
    config = {"shape": [1, 8, 8], "schedule": "linear", "predicts": "epsilon", **config}
    network = f"{folder}/{function}" if ".py:" in function else function
    return Checkpoint(
        "c", "c", "baseline", "python", str(folder / weights), "", "d", config, network=network
    )


def loaded(card):
    return python.load(verify(card))


INPUTS = torch.ones(2, 1, 8, 8), torch.tensor([0, 900])


@pytest.mark.parametrize("kind", ["plain", "wrapped", "beside", "safetensors", "folder", "parts"])
def test_weights_lie_in_any_container(folder, kind):
    network, weights = module(folder), "w.pt"
    state = network.state_dict()
    state["norm.num_batches_tracked"] += 3
    other = {name: value + 1 for name, value in state.items()}
    if kind == "plain":
        torch.save(state, folder / weights)
    elif kind == "wrapped":
        wrapped = {f"module._orig_mod.{name}": value for name, value in state.items()}
        torch.save({"epoch": 3, "state_dict": wrapped, "optimizer": {}}, folder / weights)
    elif kind == "beside":
        # lucidrains' trainer: a diffusion with its buffers, and an average of it.
        betas = {"betas": torch.linspace(1e-4, 0.02, 1000), "sqrt_alphas": torch.ones(1000)}
        raw = {f"model.{name}": value for name, value in other.items()} | betas
        ema = {f"ema_model.model.{name}": value for name, value in state.items()}
        ema |= {f"ema_model.{name}": value for name, value in betas.items()}
        torch.save({"step": 1, "model": raw, "ema": ema}, folder / weights)
    elif kind == "safetensors":
        save_file(state, folder / (weights := "w.safetensors"))
    else:
        (folder / (weights := "w")).mkdir()
        names = sorted(state)
        parts = [names] if kind == "folder" else [names[:3], names[3:]]
        for k, part in enumerate(parts):
            name = (
                "model.safetensors" if kind == "folder" else f"m-0000{k + 1}-of-00002.safetensors"
            )
            save_file({name: state[name] for name in part}, folder / weights / name)
    card = checkpoint(folder, weights=weights)
    if kind == "beside":
        config = {**card.config, "weights": "ema", "schedule": "file"}
        card = Checkpoint(**{**vars(card), "config": config, "method": "ema"})
    denoiser = loaded(card)
    with torch.no_grad():
        assert torch.equal(denoiser.model(*INPUTS), network(*INPUTS))
    assert (len(denoiser.levels), denoiser.predicts) == (1000, "epsilon")


def test_a_call_convention_classes_and_arguments(folder):
    network = module(folder, width=8)
    torch.save(network.state_dict(), folder / "w.pt")
    words = {"arguments": {"width": 8}}
    with torch.no_grad():
        plain = network(*INPUTS)
        twice = loaded(checkpoint(folder, "net.py:named", **words))
        assert torch.equal(twice.model(*INPUTS), 2 * plain)
        labelled = loaded(checkpoint(folder, "net.py:Labelled", classes=10, **words))
        x, t = INPUTS
        inputs = labelled.inputs(x, labelled.levels.at(0), torch.tensor([3, 7]))
        made = labelled.model(*inputs)
        assert torch.allclose(
            made - network(x, 0 * t), torch.tensor([3.0, 7])[:, None, None, None]
        )
    assert labelled.classes == 10
    copy.deepcopy(twice.model)


def test_code_is_executed_where_it_is_allowed_alone(folder):
    (folder / "net.py").write_text(NETWORK + "\nopen('executed', 'w')")
    torch.save({}, folder / "w.pt")
    trust.allow(False)
    for call in (verify, python.load):
        with pytest.raises(InputError, match="read it, and say --trust-code"):
            call(checkpoint(folder))
    network = f"{folder / 'net.py'}:Net"
    with pytest.raises(InputError, match="--trust-code"):
        python_drafts.draft(folder / "w.pt", network, {"sample_size": "8"})
    assert not (folder / "executed").exists()


def test_changed_code_is_refused_and_every_key_has_the_code(folder):
    torch.save(module(folder).state_dict(), folder / "w.pt")
    card = verify(checkpoint(folder))
    digest = hashlib.sha256(NETWORK.encode()).hexdigest()
    assert card.code == {"net.py": digest}
    assert card.content()["code"] == {"net.py": digest}
    assert str(folder) not in str(card.content())
    python_code.forget()
    (folder / "net.py").write_text(NETWORK + "# another")
    with pytest.raises(InputError, match=r"field code: net.py has .* the code was changed"):
        verify(card)


def test_what_lies_beside_the_file_is_code_too(folder):
    (folder / "parts").mkdir()
    (folder / "parts" / "layers.py").write_text(NETWORK)
    (folder / "net.py").write_text("from parts.layers import Net\n")
    torch.save(module(folder).state_dict(), folder / "w.pt")
    network = f"{folder / 'net.py'}:Net"
    code = python_code.digests(network)
    assert set(code) == {"net.py", "parts/layers.py"}
    python_code.forget()
    card = checkpoint(folder)
    with pytest.raises(InputError, match=r"parts/layers.py lies beside .* does not name it"):
        loaded(card)
    python_code.forget()
    named = Checkpoint(**{**vars(card), "code": code})
    loaded(named)
    python_code.forget()
    (folder / "parts" / "layers.py").write_text(NETWORK + "# another")
    with pytest.raises(InputError, match=r"field code: parts/layers.py has"):
        loaded(named)


def test_a_function_of_an_installed_module(folder):
    layer = nn.Conv2d(1, 1, 3, padding=1)
    torch.save(layer.state_dict(), folder / "w.pt")
    card = verify(checkpoint(folder, "safetensors.torch:save"))
    assert set(card.code) == {"safetensors"}
    assert card.content()["network"] == "safetensors.torch:save"
    with pytest.raises(InputError, match="no module no_such_module is installed"):
        verify(checkpoint(folder, "no_such_module:Net"))


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_is_told_in_a_line(folder, name):
    layer = nn.Conv2d(1, 1, 3, padding=1)
    torch.save(layer.state_dict(), folder / "w.pt")
    with pytest.raises(InputError) as told:
        loaded(checkpoint(folder, f"bad.py:{name}"))
    assert FAULTS[name] in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arguments": {"depth": 3}}, "unexpected keyword argument 'depth'"),
        ({"arguments": {"width": 8}}, "weights do not fit the network"),
        ({"arguments": {"bias": False}}, "weights do not fit the network"),
        ({"classes": -1}, "classes must be a whole number"),
        ({"network": {"patch": 1}}, "unknown field network of source python"),
    ],
)
def test_what_does_not_fit_is_refused(folder, changes, words):
    torch.save(module(folder).state_dict(), folder / "w.pt")
    with pytest.raises(InputError, match=words):
        loaded(checkpoint(folder, **changes))


def test_missing_files_and_other_texts(folder):
    torch.save({}, folder / "w.pt")
    with pytest.raises(InputError, match="cannot be read as a file of Python"):
        verify(checkpoint(folder, "gone.py:Net"))
    with pytest.raises(InputError, match=r"names no function: write FILE.py:FUNCTION"):
        python_code.parse("net.py")
    (folder / "broken.py").write_text("def net(:\n")
    with pytest.raises(InputError, match=r"the file cannot be executed .*line 1"):
        loaded(checkpoint(folder, "broken.py:net"))


def test_a_card_names_the_function_relative_to_itself(folder):
    cards = folder / "cards.yaml"
    entry = "{name: a, family: a, method: baseline, source: python, uri: w.pt, dataset: cifar10"
    cards.write_text(f"checkpoints: [{entry}, network: 'net.py:Net'}}]")
    trust.allow(False)
    (card,) = load_cards(cards)
    assert card.network == f"{folder / 'net.py'}:Net"
    cards.write_text(f"checkpoints: [{entry}}}]")
    with pytest.raises(InputError, match="field network: source python has one"):
        load_cards(cards)

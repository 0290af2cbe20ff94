"""What training code writes around weights, written here by the libraries themselves."""

import pickle

import pytest
import torch
from helpers.tiny import TINY_CONFIG, TINY_NETWORK, write_card, write_cards
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel

from bench.core.errors import InputError
from bench.models.cards import load_cards, verify
from bench.models.networks import build_network
from bench.models.sources import state_dicts
from bench.models.sources.weights_file import load
from bench.system import store
from bench.system.quiet import quiet_import

with quiet_import():
    from diffusers.training_utils import EMAModel


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return build_network(TINY_NETWORK)


def shifted(state, by):
    return {name: value + by for name, value in state.items()}


def loaded(folder, data, method="baseline", **config):
    """Write `data` as people do, with a card; load it."""
    path = folder / "weights.pt"
    torch.save(data, path)
    changes = {"source": "torch", "uri": path.name, "sha256": store.sha256(path)}
    entry = write_card(folder, method=method, config=TINY_CONFIG | config, **changes)
    (card,) = load_cards(write_cards(folder, [entry]))
    return load(verify(card)).model.state_dict()


def same(found, expected):
    return all(torch.equal(found[name], value) for name, value in expected.items())


def containers(network):
    """name: (content, kinds and the shift of the raw weights that each has)."""
    state = network.state_dict()
    prefixed = {f"ema_model.{k}": v + 1 for k, v in state.items()}
    prefixed |= {f"online_model.{k}": v for k, v in state.items()}
    return {
        "plain": (state, {None: 0}),
        "DataParallel": ({f"module.{k}": v for k, v in state.items()}, {None: 0}),
        "compiled": ({f"_orig_mod.{k}": v for k, v in state.items()}, {None: 0}),
        "lucidrains ema": (prefixed, {"ema": 1, "raw": 0}),
        "lucidrains trainer": (
            {"step": 5, "model": state, "opt": {}, "ema": prefixed, "version": "1"},
            {"ema": 1, "raw": 0},
        ),
        "k-diffusion": ({"model": state, "model_ema": shifted(state, 2)}, {"ema": 2, "raw": 0}),
        "lightning": ({"state_dict": state, "epoch": 3}, {"raw": 0}),
    }


CONTAINERS = (
    "plain",
    "DataParallel",
    "compiled",
    "lucidrains ema",
    "lucidrains trainer",
    "k-diffusion",
    "lightning",
)


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers(network, tmp_path, name):
    content, kinds = containers(network)[name]
    for kind, shift in kinds.items():
        method = "baseline" if kind in (None, "raw") else kind
        found = loaded(tmp_path, content, method, weights=kind)
        assert same(found, shifted(network.state_dict(), shift))
    if len(kinds) > 1:
        with pytest.raises(InputError, match="does not say which"):
            loaded(tmp_path, content)


def test_diffusers_ema(network, tmp_path):
    average = EMAModel(network.parameters(), decay=0.5)
    with torch.no_grad():
        moved = [torch.nn.Parameter(p + 1) for p in network.parameters()]
    average.step(moved)
    found = loaded(tmp_path, average.state_dict(), "ema", weights="ema")
    names = [name for name, _ in network.named_parameters()]
    assert same(found, dict(zip(names, average.shadow_params, strict=True)))
    assert not same(found, network.state_dict())
    with pytest.raises(InputError, match="does not say which"):
        loaded(tmp_path, average.state_dict())
    content = average.state_dict()
    content["shadow_params"] = content["shadow_params"][::-1]
    with pytest.raises(InputError, match="at the place of unet"):
        loaded(tmp_path, content, "ema", weights="ema")


@pytest.mark.parametrize("kind", ["swa", "ema"])
def test_torch_averaged_model(network, tmp_path, kind):
    average = AveragedModel(network)
    average.update_parameters(network)
    assert same(loaded(tmp_path, average.state_dict(), kind, weights=kind), network.state_dict())
    with pytest.raises(InputError, match="must be ema or swa"):
        loaded(tmp_path, average.state_dict())


def test_the_kind_is_held_against_the_method(network, tmp_path):
    content, _ = containers(network)["k-diffusion"]
    with pytest.raises(InputError, match="weights ema contradict method 'baseline'"):
        loaded(tmp_path, content, "baseline", weights="ema")
    with pytest.raises(InputError, match=r"weights raw contradict method 'sam\+ema'"):
        loaded(tmp_path, content, "sam+ema", weights="raw")
    assert loaded(tmp_path, content, "sam+ema", weights="ema")


class Touch:
    """A pickle that makes a file when it is executed."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def optimizer(network):
    found = torch.optim.AdamW(network.parameters())
    network(torch.zeros(1, 1, 28, 28), torch.zeros(1)).sum().backward()
    found.step()
    return found.state_dict()


def test_an_optimizer_is_refused(network, tmp_path):
    with pytest.raises(InputError, match="state of an optimizer"):
        loaded(tmp_path, optimizer(build_network(TINY_NETWORK)))


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_a_pickle_is_refused_and_not_executed(tmp_path, protocol):
    made = tmp_path / "made"
    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps({"a": Touch(made)}, protocol))
    with pytest.raises(InputError, match=r"refused|no whole file"):
        state_dicts.read(path)
    torch.save({"a": Touch(made)}, path)
    with pytest.raises(InputError, match=r"its pickle calls (io|builtins)\.open"):
        state_dicts.read(path)
    assert not made.exists()


def test_other_files_are_refused_with_the_reason(network, tmp_path):
    path = tmp_path / "file.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(InputError, match="TorchScript"):
        state_dicts.read(path)
    torch.save(network.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match=r"no whole file of torch\.save"):
        state_dicts.read(path)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(InputError, match="git lfs pull"):
        state_dicts.read(path)
    torch.save([torch.zeros(3)], path)
    with pytest.raises(InputError, match="no state dict but a list"):
        state_dicts.read(path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(InputError, match="epoch is a int"):
        state_dicts.read(path)


def test_nan_is_refused(network, tmp_path):
    state = shifted(network.state_dict(), 0)
    state["unet.conv_in.weight"].view(-1)[0] = float("nan")
    with pytest.raises(InputError, match="NaN"):
        loaded(tmp_path, state)


def test_containers_in_safetensors(network, tmp_path):
    path = tmp_path / "both.safetensors"
    state = network.state_dict()
    save_file(
        {f"model_ema.{k}": v + 1 for k, v in state.items()}
        | {f"model.{k}": v for k, v in state.items()},
        path,
    )
    found = state_dicts.read(path)
    assert set(found.sets) == {"ema", "raw"}
    bare = {name.removeprefix("unet."): value for name, value in state.items()}
    assert same(found.sets["ema"], shifted(bare, 1))

"""Settings of other people's classes beside the weights: passed over, not imported, not called."""

import argparse
import sys
import types
import typing
from collections import defaultdict, deque
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.core.errors import InputError
from bench.models.sources import pickles

CLASSES = {
    "omegaconf": (),
    "omegaconf.dictconfig": ("DictConfig",),
    "omegaconf.listconfig": ("ListConfig",),
    "omegaconf.base": ("ContainerMetadata", "Metadata"),
    "omegaconf.nodes": ("AnyNode",),
    "easydict": ("EasyDict",),
}


@pytest.fixture
def library(monkeypatch):
    """Classes under OmegaConf's names, while a file is written; afterwards there are none."""
    made = {}
    for name, classes in CLASSES.items():
        module = types.ModuleType(name)
        for word in classes:
            bases = (dict,) if word == "EasyDict" else ()
            made[word] = type(word, bases, {"__module__": name})
            setattr(module, word, made[word])
        monkeypatch.setitem(sys.modules, name, module)
    yield types.SimpleNamespace(**made)
    assert not [name for name in sys.modules if name.startswith("omegaconf")]


def of(kind, **state):
    found = kind()
    vars(found).update(state)
    return found


@pytest.mark.parametrize("zipped", [True, False])
def test_settings_of_omegaconf_are_passed_over(library, zipped, tmp_path, monkeypatch):
    """As Lightning keeps the hyper parameters of latent-diffusion's trainings."""
    cache = defaultdict(dict, {"now": {"a": 1}})
    words = {"optional": True, "key": None, "ref_type": typing.Any, "object_type": dict}
    about = of(library.ContainerMetadata, resolver_cache=cache, **words)
    node = of(library.AnyNode, _metadata=of(library.Metadata, **words), _val=3)
    several = of(library.ListConfig, _content=[node], _metadata=about)
    settings = of(library.DictConfig, _content={"a": node, "b": several}, _metadata=about)
    node._parent = settings
    easy = of(library.EasyDict, rate=3)
    easy["rate"] = 3
    content = {
        "state_dict": {"a.weight": torch.ones(2)},
        "hyper_parameters": settings,
        "opt": argparse.Namespace(place=Path("x"), last=deque([1, 2]), more=easy),
    }
    torch.save(content, tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    for name in CLASSES:
        monkeypatch.delitem(sys.modules, name)
    found = pickles.read(tmp_path / "a.ckpt")
    assert set(found) == set(content)
    assert torch.equal(found["state_dict"]["a.weight"], torch.ones(2))
    assert isinstance(found["hyper_parameters"], pickles.Left)


def test_weights_in_a_mapping_with_a_default_are_kept(tmp_path):
    weights = defaultdict(list, {"a": torch.ones(2)})
    torch.save({"model": weights, "losses": deque([0.5])}, tmp_path / "a.pt")
    found = pickles.read(tmp_path / "a.pt")
    assert list(found["model"]) == ["a"] and torch.equal(found["model"]["a"], torch.ones(2))
    assert found["losses"] == [0.5]


def test_the_advice_for_a_whole_network_has_no_key(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "a.pt")
    with pytest.raises(InputError) as caught:
        pickles.read(tmp_path / "a.pt")
    advice = str(caught.value)
    assert "calls torch.nn.modules.linear.Linear" in advice
    assert "torch.save(x.state_dict(), 'weights.pt') where x is a whole network" in advice

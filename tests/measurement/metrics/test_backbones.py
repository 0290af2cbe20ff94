import os

import pytest
import torch
from helpers import random_backbones

from bench.core import extensions
from bench.core.errors import InputError
from bench.measurement.features import exchange
from bench.measurement.metrics import backbones, identities


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    monkeypatch.delenv(backbones.VARIABLE, raising=False)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.mark.parametrize(
    ("name", "command"),
    [("lpips", "bench fetch lpips"), ("lpips_vgg", "bench fetch dists"), ("dists", "bench fetch")],
)
def test_missing_weights_are_one_line_before_anything_is_computed(name, command):
    with pytest.raises(InputError) as refused:
        extensions.lookup("metrics", name)()
    line = str(refused.value)
    assert command in line and "--backbones or BENCH_BACKBONES" in line and "\n" not in line


def test_another_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(backbones.VARIABLE, str(tmp_path))
    path = tmp_path / backbones.FILES["alexnet"].name
    path.write_bytes(b"something else")
    with pytest.raises(InputError, match=r"has SHA-256 .*, the published alexnet-owt-.* fetch it"):
        backbones.find("alexnet")


def test_what_torch_hub_has_downloaded_is_taken(tmp_path, monkeypatch):
    place = tmp_path / "torch" / "hub" / "checkpoints"
    place.mkdir(parents=True)
    random_backbones.install(monkeypatch, "alexnet", place)
    monkeypatch.delenv(backbones.VARIABLE)
    assert backbones.find("alexnet").parent == place
    cached = tmp_path / "cache" / "weights"
    cached.mkdir(parents=True)
    os.link(place / backbones.FILES["alexnet"].name, cached / backbones.FILES["alexnet"].name)
    assert backbones.find("alexnet").parent == cached


def test_what_is_fetched_lies_where_it_is_looked_for(tmp_path, monkeypatch, capsys):
    cached = tmp_path / "cache" / "weights"
    cached.mkdir(parents=True)
    random_backbones.install(monkeypatch, "alexnet", cached)
    monkeypatch.delenv(backbones.VARIABLE)
    # It is there, so nothing is downloaded.
    exchange.fetch("lpips")
    assert capsys.readouterr().out == f"{backbones.find('alexnet')}\n"
    ((target, address, digest),) = exchange.FETCHED["dists"]()
    assert address == "https://download.pytorch.org/models/vgg16-397923af.pth"
    assert (target.parent, digest[:8]) == (cached, "397923af")


def test_building_draws_no_random_numbers_and_takes_every_weight():
    before = torch.get_rng_state()
    layers = backbones.built("alexnet", random_backbones.state("alexnet"))
    assert torch.equal(before, torch.get_rng_state())
    assert not layers.training
    for name, value in layers.state_dict().items():
        assert torch.equal(value, random_backbones.state("alexnet")[f"features.{name}"])
    with pytest.raises(RuntimeError, match="Missing key"):
        backbones.built("alexnet", {})


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setitem(identities.WEIGHTS, "dists", ("nobody-has-it", "x", "y", "vgg16"))
    with pytest.raises(InputError, match=r"^metric dists needs nobody-has-it: pip install .*\]'$"):
        extensions.identity("metrics", "dists")

"""Where networks are evaluated. A GPU is played by names; `second_device` runs on a real other
device."""

import dataclasses
import types

import pytest
import torch
from torch import nn

from bench.core.cell import Draw, expand
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.noise_levels import NoiseLevels
from bench.evaluation.resolved import images_of
from bench.models.cards import load_cards
from bench.models.schedules import alpha_bar
from bench.system import devices
from bench.system.host import fingerprint


@pytest.fixture
def two_gpus(monkeypatch):
    """What torch says where there are two."""
    accelerator = types.SimpleNamespace(
        is_available=lambda: True,
        current_accelerator=lambda: torch.device("cuda"),
        device_count=lambda: 2,
    )
    monkeypatch.setattr(torch, "accelerator", accelerator)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Card {device}")


def test_names(two_gpus):
    found = [devices.find(name) for name in ("cpu", "auto", "cuda", "cuda:0", "cuda:1", "cpu:0")]
    assert found == ["cpu", "cuda", "cuda", "cuda", "cuda:1", "cpu"]


@pytest.mark.parametrize("name", ["cuda:2", "mps", "meta", "cpu:1"])
def test_a_device_that_is_not_here(two_gpus, name):
    with pytest.raises(InputError, match=f"no device '{name}' here: choose --device cpu"):
        devices.find(name)


def test_no_accelerator(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert devices.find("auto") == "cpu"
    with pytest.raises(InputError, match="no device 'cuda' here"):
        devices.find("cuda")
    with pytest.raises(InputError, match="no device 'gpu': choose cpu, cuda or mps"):
        devices.find("gpu")


def test_the_host_names_a_gpu_and_its_libraries(two_gpus):
    here, there = fingerprint(), fingerprint("cuda:1")
    assert (there.device, there.isa) == ("cuda:1", "Card cuda:1 sm_90")
    assert {"cuda", "cudnn"} <= set(there.versions) - set(here.versions)


def test_a_device_has_keys_of_its_own(tmp_path, cards):
    (cell,) = expand(load_cards(cards), [], [], Draw())
    host = fingerprint()
    folders = {
        images_of(cell, dataclasses.replace(host, **change), tmp_path).folder
        for change in ({}, {"device": "cuda"}, {"device": "cuda", "isa": "another card"})
    }
    assert len(folders) == 3


def test_all_parts_of_a_denoiser_move(monkeypatch):
    # Undone at the end of the test.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    decoder = nn.Conv2d(4, 3, 1)
    full = Denoiser(
        nn.Linear(2, 2),
        NoiseLevels.discrete(alpha_bar("cosine")),
        "epsilon",
        (4, 2, 2),
        decode=decoder,
    )
    assert devices.placed(full, "cpu") is full and full.device == "cpu"
    there = devices.placed(full, "meta")
    assert there.device == next(there.model.parameters()).device.type == "meta"
    assert decoder.weight.device == torch.device("meta")
    # Convolutions on a GPU compute in float32, not in 10 bits of it.
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    # And in the same order each time.
    assert torch.backends.cudnn.deterministic

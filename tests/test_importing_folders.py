"""`bench import` of diffusers folders: the card says what the files say, and what was assumed."""

import shutil

import pytest
import torch
import yaml
from helpers import commands
from helpers.folders import edit, save_average, save_index, save_unet, save_vq
from safetensors.torch import load_file

from bench.core import extensions
from bench.models.cards import load_cards, verify

WEIGHTS = "diffusion_pytorch_model.safetensors"
DATA = ("--dataset", "cifar10")


@pytest.fixture
def bench(monkeypatch, capfd):
    """Run `bench import WORDS...`; return (exit code, stdout, stderr), the libraries' too."""
    return commands.importing(monkeypatch, capfd)


def imported(result, path):
    """(entry of the card, comments, denoiser) of an import that went well."""
    code, stdout, stderr = result
    assert code == 0, stderr
    # Nothing but that the images are not at hand, the samples, and the card.
    known = ("not checked whether the description", "samples", ": loads; `bench run")
    assert all(any(words in line for words in known) for line in stderr.splitlines()), stderr
    (card,) = load_cards(path)
    (entry,) = yaml.safe_load(path.read_text())["checkpoints"]
    denoiser = extensions.lookup("sources", card.source)(verify(card))
    return entry, [line for line in stdout.splitlines() if line.startswith("#")], denoiser


def refused(result, *words):
    code, stdout, stderr = result
    assert (code, stdout, len(stderr.splitlines())) == (2, "", 1), stderr
    for word in words:
        assert word in stderr


def test_a_quantized_decoder_and_its_scale_stand_on_the_card(bench, tmp_path):
    model = tmp_path / "ldm"
    save_unet(model, in_channels=4, out_channels=4, sample_size=16)
    save_vq(model)
    edit(model / "vqvae" / "config.json", scaling_factor=None)
    # The images have twice the edge of the latents.
    entry, told, denoiser = imported(bench(model), tmp_path / "ldm.yaml")
    assert entry["dataset"] == "cifar10"
    assert entry["config"]["scaling_factor"] == 1.0
    assert any("vqvae/config.json has no scaling_factor" in line for line in told)
    assert denoiser.decode is not None
    words = ("--name", "half", "--set", "scaling_factor=0.5")
    entry, *_ = imported(bench(model, *words), tmp_path / "half.yaml")
    assert entry["config"]["scaling_factor"] == 0.5
    refused(bench(model, "--set", "scaling_factor=big"), "must be a number")
    refused(bench(model, "--set", "scaling_factor=nan", "--name", "n"), "positive number")


def test_the_average_of_a_training(bench, tmp_path):
    model = tmp_path / "trained"
    network = save_unet(model)
    named = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
    save_index(model, "DDPMPipeline", **named)
    save_average(network, model)
    average = load_file(model / "unet_ema" / WEIGHTS)["conv_in.bias"]
    refused(bench(model, *DATA), "holds unet and unet_ema", "--set weights=ema")
    words = (*DATA, "--set", "weights=ema")
    entry, _, denoiser = imported(bench(model, *words), tmp_path / "trained.yaml")
    assert (entry["method"], entry["config"]) == ("ema", {"weights": "ema"})
    assert torch.equal(denoiser.model.unet.conv_in.bias, average)
    result = bench(model / "unet_ema", *DATA)
    entry, _, denoiser = imported(result, model / "unet_ema.yaml")
    assert (entry["method"], entry["config"]) == ("ema", {"weights": "ema"})
    assert torch.equal(denoiser.model.unet.conv_in.bias, average)


def test_one_file_of_an_average(bench, tmp_path):
    """Its config.json holds the decay beside the network."""
    model = tmp_path / "trained"
    save_average(save_unet(model), model)
    path = model / "unet_ema" / WEIGHTS
    _, _, denoiser = imported(bench(path, *DATA), path.with_suffix(".yaml"))
    assert denoiser.shape == (3, 16, 16)


def test_a_variant_alone_stands_on_the_card(bench, tmp_path):
    model = tmp_path / "half"
    save_unet(model).half().save_pretrained(model / "unet", variant="fp16")
    (model / "unet" / WEIGHTS).unlink()
    entry, told, _ = imported(bench(model, *DATA), tmp_path / "half.yaml")
    assert entry["config"] == {"variant": "fp16"}
    assert any("stored in float16, variant fp16; computed in float32" in line for line in told)


def test_sizes_of_two_numbers(bench, tmp_path):
    model = tmp_path / "wide"
    save_unet(model, sample_size=[16, 24])
    refused(bench(model), "sides that differ", "--dataset")
    *_, denoiser = imported(bench(model, *DATA), tmp_path / "wide.yaml")
    assert denoiser.shape == (3, 16, 24)
    save_unet(tmp_path / "square", sample_size=[32, 32])
    entry, *_ = imported(bench(tmp_path / "square"), tmp_path / "square.yaml")
    assert entry["dataset"] == "cifar10"
    save_unet(tmp_path / "none", sample_size=None)
    refused(bench(tmp_path / "none"), "sample_size is not set", "--set sample_size=N")
    result = bench(tmp_path / "none", "--set", "sample_size=32")
    *_, denoiser = imported(result, tmp_path / "none.yaml")
    assert denoiser.shape == (3, 32, 32)


def test_sizes_of_two_numbers_beside_a_file(bench, tmp_path):
    save_unet(tmp_path, sample_size=[16, 24])
    path = tmp_path / "unet" / WEIGHTS
    entry, _, denoiser = imported(bench(path, *DATA), path.with_suffix(".yaml"))
    assert entry["config"]["shape"] == [3, 16, 24]
    assert denoiser.shape == (3, 16, 24)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_embed_type": "timestep"}, "class_embed_type = 'timestep'"),
        ({"time_embedding_type": "fourier"}, "time_embedding_type = 'fourier'"),
        ({"a_field_of_tomorrow": 1}, "a_field_of_tomorrow = 1"),
        ({"sample_size": [16, 24, 3]}, "two of them"),
    ],
)
def test_fields_beside_a_file_are_refused_by_name(bench, tmp_path, changes, words):
    save_unet(tmp_path)
    edit(tmp_path / "unet" / "config.json", **changes)
    refused(bench(tmp_path / "unet" / WEIGHTS, *DATA), words)
    refused(bench(tmp_path, *DATA), words)


def test_fields_that_the_folder_decides(bench, tmp_path):
    save_unet(tmp_path / "model")
    refused(bench(tmp_path / "model", "--set", "schedule=linear"), "the folder decides it",
            "it leaves weights, variant, predicts, sample_size, scaling_factor")  # fmt: skip
    shutil.rmtree(tmp_path / "model" / "scheduler")
    refused(bench(tmp_path / "model", *DATA), "holds no scheduler_config.json")

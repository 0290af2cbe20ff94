"""Files that are no weights, or weights of something else: one clear line for each."""

import json
import os
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from functools import partial

import numpy as np
import pytest
import torch
from helpers.folders import UNET
from safetensors.torch import save_file
from torch import nn

from bench.core.cell import Checkpoint
from bench.core.errors import InputError
from bench.evaluation import importing
from bench.models.cards import load_cards, verify
from bench.models.sources import state_dicts
from bench.system.quiet import quiet_import

with quiet_import():
    from diffusers import UNet2DConditionModel, UNet2DModel


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return UNet2DModel(**UNET).state_dict()


def refused(path, words, **fields):
    given = importing.Given(dataset="cifar10", config={"sample_size": "16"} | fields)
    with pytest.raises(InputError, match=words) as caught:
        importing.write_card(str(path), given, path.parent / "card.yaml")
    assert "\n" not in str(caught.value)
    assert not (path.parent / "card.yaml").exists()


def saved(folder, content, name="file.pt"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, folder / name)
    return folder / name


def changed(state, value, name="conv_in.weight"):
    return OrderedDict(state) | {name: value}


def huge():
    """1.6 KB of file that ask for 4 TB."""
    return torch.zeros(1).expand(1 << 40)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda v: v.to(torch.float8_e4m3fn), "conv_in.weight is stored in float8_e4m3fn: take"),
        (lambda v: v.to(torch.int8), "stored in int8"),
        (lambda v: v.to(torch.uint8), "stored in uint8"),
        (lambda v: v.to(torch.bool), "stored in bool"),
        (lambda v: v.to(torch.complex64), "stored in complex64"),
        (lambda v: v.to_sparse(), "no plain memory"),
        (lambda v: v.to("meta"), "no plain memory"),
        (lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8), "no plain memory"),
        (lambda v: v * float("nan"), "holds NaN or infinite"),
        (lambda v: v[:, :, 0, 0], "do not fit|cannot be built"),
        (lambda v: torch.tensor(3.0), "not the weights of a UNet2DModel"),
        (lambda v: v[:0], "UNet2DModel|do not fit|cannot be built"),
        (lambda v: huge(), r"repeats 4 stored bytes: save it by value"),
        (lambda v: v[:1].clone().expand(8, 3, 3, 3), r"repeats 108 stored bytes"),
    ],
)
def test_odd_tensors(tmp_path, state, value, words):
    made = changed(state, value(state["conv_in.weight"]))
    refused(saved(tmp_path, made), words)


def test_a_file_that_repeats_its_bytes_in_many_names(tmp_path, state):
    block = torch.zeros(400_000)
    many = {f"down_blocks.9.x{k}.weight": block for k in range(40)}
    refused(saved(tmp_path, changed(state, block) | many), "repeat the same stored bytes")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({0: torch.zeros(2), 1: torch.zeros(2)}, "a tensor has the name 0, a int"),
        ({"model": {3: torch.zeros(2)}}, "a tensor has the name 3"),
        ({("a", "b"): torch.zeros(2)}, "a tensor has the name .*tuple"),
        ({"model": {}}, "holds no weights"),
        ({}, "holds no weights"),
        ({"model": {"a": {"b": 3}}}, "holds no weights"),
        (torch.zeros(3), "no state dict but a Tensor"),
        ([torch.zeros(3)], "no state dict but a list"),
        (7, "no state dict but a int"),
        ("words", "no state dict but a str"),
        (None, "no state dict but a NoneType"),
        ({"a.b": torch.zeros(1), "a": {"b": torch.zeros(1)}}, "two weights of the name a.b"),
    ],
)
def test_contents_without_weights(tmp_path, content, words):
    refused(saved(tmp_path, content), words)


def test_deep_nesting(tmp_path):
    content = {"a": torch.zeros(1)}
    for _ in range(60):
        content = {"x": content}
    refused(saved(tmp_path, content), "nests mappings more than 32 deep")


class Config:
    """A class of somebody's training."""

    def __init__(self):
        self.lr = 3


class Settings(dict):
    """A mapping of somebody's training."""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (Config(), r"its pickle calls .*Config"),
        (Settings(a=1), r"its pickle calls .*Settings"),
        (partial(torch.optim.Adam, lr=1), r"its pickle calls functools.partial"),
        (nn.Linear(2, 2), r"its pickle calls torch.nn.modules.linear.Linear"),
        (os.system, r"refused"),
    ],
)
def test_classes_of_others_are_named(tmp_path, state, content, words):
    path = saved(tmp_path, {"model": state, "config": content})
    refused(path, words)
    if content is not os.system:
        refused(path, r"save the state dict alone: x = torch.load\(PATH, weights_only=False\)")


def test_a_network_as_arrays_of_numpy_is_named(tmp_path, state):
    arrays = {name: value.numpy() for name, value in state.items()}
    refused(saved(tmp_path, arrays), "conv_in.weight is a _reconstruct|is a ndarray")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(arrays))
    refused(tmp_path / "plain.pkl", r"refused|no whole file of torch.save")
    np.savez(tmp_path / "arrays.npz", **arrays)
    refused(tmp_path / "arrays.npz", "an archive of NumPy's arrays")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "a page of the web"),
        (b"\n<html>", "a page of the web"),
        (b"\x89HDF\r\n\x1a\n" + b"x" * 90, "HDF5"),
        (b"GGUF\x03\x00", "GGUF"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x93NUMPY\x01\x00", "one array of NumPy"),
        (b"PK\x03\x04" + b"x" * 90, "no whole file of torch.save"),
        (b"\x80\x02" + b"x" * 90, "no whole file of torch.save|refused"),
        (b"\x80\x04}\x94.", "no whole file of torch.save"),
        (b"words of no format at all", "no whole"),
        (struct.pack("<Q", 1 << 60) + b"{}", "no whole"),
        (struct.pack("<Q", 99) + b"{}", "no whole safetensors"),
        (struct.pack("<Q", 2) + b"{}", "no weights|no whole safetensors"),
        (struct.pack("<Q", 4) + b'{"a"', "no whole safetensors"),
    ],
)
@pytest.mark.parametrize("name", ["file.safetensors", "file.pt"])
def test_bytes_of_no_format(tmp_path, content, words, name):
    path = tmp_path / name
    path.write_bytes(content)
    refused(path, words)


def tensors_of(header, data=b"\x00" * 64):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


ENTRY = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": ENTRY | {"shape": [1 << 40]}},
        {"a": ENTRY | {"shape": [-1]}},
        {"a": ENTRY | {"data_offsets": [0, 1 << 50]}},
        {"a": ENTRY | {"dtype": "X7"}},
        {"a": 3},
        {"__metadata__": {"a": 3}, "a": ENTRY},
        {"__metadata__": [1], "a": ENTRY},
        [1],
    ],
)
def test_bad_headers_of_safetensors(tmp_path, header):
    path = tmp_path / "file.safetensors"
    path.write_bytes(tensors_of(header))
    refused(path, "no whole safetensors")


def test_a_name_twice_in_safetensors(tmp_path):
    entry = json.dumps(ENTRY)
    text = f'{{"conv_in.weight": {entry}, "conv_in.weight": {entry}}}'.encode()
    path = tmp_path / "file.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\x00" * 16)
    refused(path, "no whole safetensors|neither an ADM network")


def test_truncated_files(tmp_path, state):
    path = saved(tmp_path, {"model": state})
    whole = path.read_bytes()
    torch.save({"model": state}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    old = (tmp_path / "old.pt").read_bytes()
    save_file(state, tmp_path / "file.safetensors")
    tensors = (tmp_path / "file.safetensors").read_bytes()
    for name, content in (("a.pt", whole), ("b.pt", old), ("c.safetensors", tensors)):
        for length in (1, 9, 100, len(content) // 2, len(content) - 1):
            (tmp_path / name).write_bytes(content[:length])
            refused(tmp_path / name, "no whole|is empty|refused")


def test_archives_that_torch_did_not_write(tmp_path, state):
    path = saved(tmp_path, state)
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(path) as one, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as two:
        for entry in one.infolist():
            two.writestr(entry.filename, one.read(entry))
    refused(packed, "was compressed after torch.save")
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.write(path, "inner.pt")
    refused(tmp_path / "other.pt", "an archive of inner.pt, not a file of torch.save")


def test_places_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "fifo.pt")
    refused(tmp_path / "fifo.pt", "no regular file")
    (tmp_path / "zero.pt").symlink_to("/dev/zero")
    refused(tmp_path / "zero.pt", "no regular file")
    (tmp_path / "loop.pt").symlink_to("loop.pt")
    refused(tmp_path / "loop.pt", "symbolic links")
    (tmp_path / "gone.pt").symlink_to("nowhere.pt")
    refused(tmp_path / "gone.pt", "no checkpoint")
    refused(tmp_path / ("x" * 300), "too long")
    refused(tmp_path / "a\0b.pt", "null")
    refused(tmp_path / "none.pt", "no checkpoint")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "")


def test_a_file_without_permission(tmp_path, state, monkeypatch):
    path = saved(tmp_path, state)

    def denied(self, *arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", denied)
    refused(path, "cannot be read \\(Permission denied\\)")
    card = Checkpoint("a", "a", "baseline", "torch", str(path), "", "cifar10")
    with pytest.raises(InputError, match="Permission denied"):
        verify(card)


def adm(**extra):
    names = {"input_blocks.0.0.weight": (32, 3, 3, 3), "time_embed.0.weight": (128, 32)}
    names |= {"out.2.weight": (6, 32, 3, 3)} | extra
    return {name: torch.zeros(shape) for name, shape in names.items()}


LEVEL = {
    "middle_block.1.qkv.weight": (96, 32, 1),
    "input_blocks.1.0.out_layers.3.weight": (32, 32, 3, 3),
    "input_blocks.1.0.emb_layers.1.weight": (64, 128),
    "output_blocks.0.0.out_layers.3.weight": (32, 64, 3, 3),
    "output_blocks.1.0.out_layers.3.weight": (32, 64, 3, 3),
}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (adm(), "uneven output_blocks"),
        (adm(**LEVEL), "do not fit|does not divide"),
        (
            {k: v for k, v in adm(**LEVEL).items() if "qkv" not in k},
            r"no 'middle_block.1.qkv.weight'",
        ),
        (adm(**(LEVEL | {"middle_block.1.qkv.weight": (96, 32, 1, 1)})), "consistency models"),
        (adm(**(LEVEL | {"middle_block.1.encoder_kv.weight": (64, 512, 1)})), "GLIDE"),
        (adm(**(LEVEL | {"transformer.resblocks.0.a": (3,)})), "GLIDE"),
        (adm(**(LEVEL | {"input_blocks.0.0.weight": (32, 6, 3, 3)})), "super-resolution"),
        (adm(**(LEVEL | {"input_blocks.0.0.weight": (32, 3, 3)})), "not for images"),
        (adm(**(LEVEL | {"time_embed.0.weight": (128, 64)})), "channel_mult"),
        (adm(**(LEVEL | {"input_blocks.1.0.emb_layers.1.weight": ()})), "ADM network"),
        (adm(**{"out.2.weight": ()}), "images|ADM network"),
    ],
)
def test_networks_with_adm_s_names_that_are_none(tmp_path, content, words):
    refused(saved(tmp_path, content), words)


def named(*names):
    return {name: torch.zeros(4, 4) for name in names}


@pytest.mark.parametrize("prefix", ["", "model.model.", "ema.ema_model.model."])
@pytest.mark.parametrize(
    ("content", "title"),
    [
        (("init_conv.weight", "downs.0.0.block1.proj.weight", "final_conv.weight"), "lucidrains'"),
        (("temb.dense.0.weight", "down.0.block.0.conv1.weight", "conv_in.weight"), "DDIM's and"),
        (("all_modules.0.weight", "all_modules.1.bias"), "score_sde"),
        (("encoder.conv_in.weight", "decoder.conv_in.weight"), "autoencoders"),
        (("patch_embed.proj.weight", "in_blocks.0.a", "out_blocks.0.a"), "U-ViT"),
    ],
)
def test_networks_of_others_are_named(tmp_path, prefix, content, title):
    tensors = named(*(prefix + name for name in content))
    refused(
        saved(tmp_path, {"state": tensors, "step": 3}),
        f"a network of .*{title}.*(bench loads|--network)",
    )


def test_a_network_for_text_is_named(tmp_path):
    network = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
        cross_attention_dim=8, attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    refused(saved(tmp_path, network.state_dict()), "UNet2DConditionModel, which is conditioned")


def test_networks_that_are_no_images(tmp_path):
    torch.manual_seed(0)
    latent = UNet2DModel(**(UNET | {"in_channels": 4, "out_channels": 4}))
    refused(saved(tmp_path, latent.state_dict()), "takes 4 channels, which are no images")
    fourier = UNet2DModel(**(UNET | {"time_embedding_type": "fourier"}))
    refused(saved(tmp_path, fourier.state_dict()), "Fourier|continuous|fourier")


def test_patches(tmp_path, capsys):
    torch.manual_seed(0)
    network = UNet2DModel(**(UNET | {"in_channels": 12, "out_channels": 12})).eval()
    path = saved(tmp_path, network.state_dict())
    fields = {"sample_size": "32", "patch": "2", "attention_head_dim": "8"}
    importing.write_card(str(path), importing.Given(config=fields), tmp_path / "card.yaml")
    (card,) = load_cards(tmp_path / "card.yaml")
    assert card.config["shape"] == [3, 32, 32] and card.dataset == "cifar10"
    assert card.config["network"]["unet"]["sample_size"] == 16


def test_two_sides(tmp_path, state):
    path = saved(tmp_path, state)
    fields = {"sample_size": "16x24", "attention_head_dim": "8"}
    given = importing.Given(dataset="cifar10", config=fields)
    importing.write_card(str(path), given, tmp_path / "card.yaml")
    (card,) = load_cards(tmp_path / "card.yaml")
    assert card.config["shape"] == [3, 16, 24]
    (tmp_path / "card.yaml").unlink()
    with pytest.raises(InputError, match="sides that differ fit no data set"):
        importing.write_card(str(path), importing.Given(config=fields), tmp_path / "card.yaml")


def test_read_does_not_execute(tmp_path):
    """What stands in for settings is neither imported nor called."""

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "made"),))

    path = saved(tmp_path, {"args": Evil(), "a": torch.zeros(1)})
    with pytest.raises(InputError, match="refused"):
        state_dicts.read(path)
    assert not (tmp_path / "made").exists()


SCORE_SDE = {"module.all_modules.0.W": torch.ones(4), "module.all_modules.1.weight": torch.ones(4)}
UNNAMED = {"shadow_params": [torch.ones(4)], "decay": 0.999}
LORA = "down_blocks.1.attentions.0.to_q"
STEERED = {
    "time_embedding.linear_1.weight": torch.ones(4, 4),
    "conv_in.weight": torch.ones(4, 4),
    "controlnet_down_blocks.0.weight": torch.ones(4),
}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"model": SCORE_SDE, "ema": UNNAMED}, "holds a network of score_sde"),
        ({f"unet.{LORA}.lora_A.weight": torch.ones(4, 4)}, "LoRA's, which is added to another"),
        ({"lora_unet_x.lora_down.weight": torch.ones(4, 4)}, "LoRA's, which is added to another"),
        (STEERED, "ControlNetModel, which steers another network"),
    ],
)
def test_what_is_added_to_networks_and_averages_of_others(tmp_path, content, words):
    refused(saved(tmp_path, content), words)


@pytest.mark.parametrize(
    "name", ["model-00001-of-00002.safetensors", "model.safetensors.index.json"]
)
def test_a_part_of_weights_in_several_files(tmp_path, name):
    (tmp_path / name).write_bytes(b"{}")
    refused(tmp_path / name, "one part of weights in several files: import their folder")

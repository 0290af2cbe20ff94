"""Several checkpoints in one command: one card file, or nothing."""

import pytest
import torch
from helpers import commands
from helpers.folders import UNET
from safetensors.torch import save_file

from bench.models.cards import load_cards, verify
from bench.system.quiet import quiet_import

with quiet_import():
    from diffusers import UNet2DModel

FIELDS = ("--set", "attention_head_dim=8", "--set", "sample_size=16")
FIELDS += ("--dataset", "cifar10", "--force")


@pytest.fixture
def bench(monkeypatch, capsys):
    return commands.importing(monkeypatch, capsys)


@pytest.fixture
def two(tmp_path):
    """The same network in two files."""
    torch.manual_seed(0)
    network = UNet2DModel(**(UNET | {"norm_num_groups": 8}))
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    first, second = tmp_path / "mine.safetensors", tmp_path / "mine-ema.safetensors"
    second.write_bytes(first.read_bytes())
    return first, second


def test_several_paths_come_into_one_file_and_one_family(bench, two, tmp_path):
    code, stdout, stderr = bench(*two, *FIELDS, "--method", "baseline,ema")
    assert code == 0
    cards = load_cards(tmp_path / "mine.yaml")
    assert [(c.name, c.family, c.method) for c in cards] == [
        ("mine", "mine", "baseline"),
        ("mine-ema", "mine", "ema"),
    ]
    assert [verify(card) for card in cards] == cards
    assert "family mine of all" in stderr
    assert stdout == (tmp_path / "mine.yaml").read_text()
    assert (tmp_path / "mine-ema.samples.png").is_file()


def test_where_one_is_wrong_no_card_is_written(bench, two, tmp_path):
    two[1].write_bytes(b"no weights")
    code, stdout, _ = bench(*two, *FIELDS)
    assert (code, stdout) == (2, "")
    assert not (tmp_path / "mine.yaml").exists()


def test_words_for_several_paths(bench, two):
    for words, said in (
        (("--name", "a"), "--name is for one PATH"),
        (("--method", "ema,swa,sam"), "names 3 methods for 2 PATHs"),
    ):
        code, stdout, stderr = bench(*two, *FIELDS, *words)
        assert (code, stdout) == (2, "") and said in stderr
    code, _, stderr = bench(two[0], two[0], *FIELDS)
    assert code == 2 and "two checkpoints are named 'mine'" in stderr

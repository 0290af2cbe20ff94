"""The files of docs/networks: networks of other authors as a user writes them, held against
independent ones."""

from pathlib import Path

import pytest
import torch

from bench.models.sources import python, python_code
from bench.quant.layers import export
from bench.system import trust
from bench.system.quiet import quiet_import

with quiet_import():
    from diffusers import UNet2DModel

FOLDER = Path(__file__).parents[3] / "docs" / "networks"
SMALL = {"channels": 1, "sample_size": 8}
FUNCTIONS = {
    "ddim_model.py:Model": {**SMALL, "ch": 8, "mult": [1, 2], "blocks": 1, "at": [4]},
    "lucidrains_unet.py:Unet": {"channels": 1, "dim": 8, "dim_mults": [1, 2]},
    "edm_songunet.py:edm": {**SMALL, "width": 8, "mult": [1, 2], "blocks": 1, "at": [4]},
    "sit.py:sit": {**SMALL, "width": 16, "depth": 1, "heads": 2, "patch": 2},
}


@pytest.fixture(autouse=True)
def trusted():
    trust.allow(True)
    yield
    trust.allow(False)


def built(function, **words):
    name = f"{FOLDER / function}"
    network, call = python.built(name, None, words or FUNCTIONS[function])
    torch.manual_seed(0)
    for value in network.parameters():
        value.normal_(std=0.2)
    return python.UserNetwork(network, call, 0, 1000, function).eval()


SLOW = ("edm_songunet.py:edm", "sit.py:sit")


@pytest.mark.parametrize(
    "function", [pytest.param(f, marks=[pytest.mark.slow] * (f in SLOW)) for f in FUNCTIONS]
)
def test_each_is_a_network_that_can_be_exported(function):
    model = built(function)
    assert not python.check(model, f"{FOLDER / function}", [1, 8, 8])
    inputs = torch.randn(2, 1, 8, 8), torch.tensor([10, 700])
    with torch.no_grad():
        assert torch.allclose(export(model, *inputs)(*inputs), model(*inputs), atol=1e-4)


def test_the_model_of_ddim_is_the_unet_that_diffusers_converts_it_to():
    """The names of diffusers' own conversion of DDPM's checkpoints."""
    words = {"sample_size": 16, "ch": 32, "mult": [1, 2], "blocks": 1, "at": [8]}
    own = built("ddim_model.py:Model", **words).network
    other = UNet2DModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=16,
        norm_eps=1e-6,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        attention_head_dim=None,
    ).eval()
    pairs = (
        ("temb.dense.0", "time_embedding.linear_1"),
        ("temb.dense.1", "time_embedding.linear_2"),
        ("norm_out", "conv_norm_out"),
        ("mid.block_1", "mid_block.resnets.0"),
        ("mid.block_2", "mid_block.resnets.1"),
        ("mid.attn_1", "mid_block.attentions.0"),
        ("down.", "down_blocks."),
        ("up.1", "up_blocks.0"),
        ("up.0", "up_blocks.1"),
        (".block.", ".resnets."),
        (".attn.", ".attentions."),
        ("downsample.conv", "downsamplers.0.conv"),
        ("upsample.conv", "upsamplers.0.conv"),
        ("temb_proj", "time_emb_proj"),
        ("nin_shortcut", "conv_shortcut"),
    )
    attention = ((".norm.", ".group_norm."), (".q.", ".to_q."), (".k.", ".to_k."))
    attention += ((".v.", ".to_v."), (".proj_out.", ".to_out.0."))
    weights = {}
    for name, value in own.state_dict().items():
        for old, new in (*pairs, *(attention if "attn" in name else ())):
            name = name.replace(old, new)
        weights[name] = value.flatten(1) if "attentions" in name and value.ndim == 4 else value
    norms = [m for m in own.modules() if isinstance(m, torch.nn.GroupNorm)]
    for norm in (*norms, *(m for m in other.modules() if isinstance(m, torch.nn.GroupNorm))):
        norm.num_groups = 16
    other.load_state_dict(weights)
    x, t = torch.randn(3, 3, 16, 16), torch.tensor([0, 500, 999])
    with torch.no_grad():
        expected = other(x, t).sample
        assert float((own(x, t) - expected).abs().max() / expected.abs().max()) < 1e-5


def test_code_of_a_file_is_only_itself():
    assert set(python_code.digests(f"{FOLDER / 'sit.py'}:sit")) == {"sit.py"}

"""The files of docs/networks: networks of other authors as a user writes them, held against
independent ones."""

import ast
from pathlib import Path

import pytest
import torch
from helpers.edm_reference import Reference

from bench.core.noise_levels import NoiseLevels
from bench.models.networks import CodedNetwork
from bench.models.sources import python, python_code
from bench.quant.layers import export
from bench.system import trust
from bench.system.quiet import quiet_import

with quiet_import():
    from diffusers import DiTTransformer2DModel, UNet2DModel

FOLDER = Path(__file__).parents[3] / "docs" / "networks"
SMALL = {"channels": 1, "sample_size": 8}
FUNCTIONS = {
    "ddim_model.py:Model": {**SMALL, "ch": 8, "mult": [1, 2], "blocks": 1, "at": [4]},
    "lucidrains_unet.py:Unet": {"channels": 1, "dim": 8, "dim_mults": [1, 2]},
    "edm_songunet.py:SongUNet": {
        "channels": 1,
        "width": 8,
        "sides": {"8x8": 8, "4x4": 16},
        "blocks": 1,
        "at": "4x4",
    },
    "sit.py:sit": {**SMALL, "width": 16, "depth": 1, "heads": 2, "patch": 2, "classes": 3},
}
LEVELS = {
    "edm_songunet.py:SongUNet": NoiseLevels.sigmas(0.002, 80.0, told="c_noise"),
    "sit.py:sit": NoiseLevels.flow(told="reversed_time"),
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
    classes = FUNCTIONS[function].get("classes", 0)
    return CodedNetwork(network, call, classes, 1000, function).eval()


@pytest.mark.parametrize("file", sorted(path.name for path in FOLDER.glob("*.py")))
def test_each_is_short(file):
    """Lines of code: none that is blank, an import, or of the text at the top."""
    text = (FOLDER / file).read_text(encoding="utf-8")
    first, *rest = ast.parse(text).body
    aside = [first, *(node for node in rest if isinstance(node, ast.Import | ast.ImportFrom))]
    counted = set(range(1, len(text.splitlines()) + 1))
    for node in aside:
        counted -= set(range(node.lineno, node.end_lineno + 1))
    assert 40 < sum(bool(text.splitlines()[k - 1].strip()) for k in counted) < 60


SLOW = ("edm_songunet.py:SongUNet", "sit.py:sit")


@pytest.mark.parametrize(
    "function", [pytest.param(f, marks=[pytest.mark.slow] * (f in SLOW)) for f in FUNCTIONS]
)
def test_each_is_a_network_that_can_be_exported(function):
    model, levels = built(function), LEVELS.get(function)
    assert not python.check(model, f"{FOLDER / function}", [1, 8, 8], levels=levels)
    inputs = torch.randn(2, 1, 8, 8), torch.tensor([10, 700])
    if levels is not None:
        inputs = inputs[0], levels.each(inputs[1]).told
    if model.classes:
        inputs = *inputs, torch.tensor([0, 3])
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


@pytest.mark.parametrize(("widths", "at"), [([16, 32], 8), ([32, 32, 32], 4), ([16, 32, 32], 16)])
def test_songunet_is_that_of_the_paper(widths, at):
    sides = {f"{16 >> k}x{16 >> k}": width for k, width in enumerate(widths)}
    words = {"channels": 3, "width": 16, "sides": sides, "blocks": 2, "at": f"{at}x{at}"}
    own = built("edm_songunet.py:SongUNet", **words).network
    state = own.state_dict()
    for name, value in state.items():
        if "norm" in name or name.endswith("weight"):
            value.copy_(1 + value if "norm" in name else value / 2)
    x, noise = torch.randn(3, 3, 16, 16), torch.tensor([-1.5, 0.0, 1.1])
    with torch.no_grad():
        expected = Reference(state, 16)(x, noise)
        assert float(expected.std()) > 0.1
        assert float((own(x, noise) - expected).abs().max() / expected.abs().max()) < 1e-5


@pytest.mark.parametrize("twice", [False, True])
def test_sit_is_the_transformer_that_diffusers_converts_it_to(twice):
    """The names of diffusers' own conversion of DiT's checkpoints."""
    words = {"channels": 4, "sample_size": 8, "width": 32, "depth": 2, "heads": 2, "patch": 2}
    own = built("sit.py:sit", **words, classes=10, twice=twice).network
    other = DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, num_layers=2, sample_size=8,
        out_channels=8 if twice else 4, patch_size=2, num_embeds_ada_norm=10, norm_eps=1e-6,
    ).eval()  # fmt: skip
    pairs = [
        ("x_embedder.proj", "pos_embed.proj"),
        ("final_layer.linear", "proj_out_2"),
        ("final_layer.adaLN_modulation.1", "proj_out_1"),
        ("attn.proj", "attn1.to_out.0"),
        ("mlp.fc1", "ff.net.0.proj"),
        ("mlp.fc2", "ff.net.2"),
        ("adaLN_modulation.1", "norm1.linear"),
    ]
    weights, embedding = {}, {}
    for name, value in own.state_dict().items():
        if name.startswith(("t_embedder", "y_embedder")):
            for old, new in (
                ("t_embedder.mlp.0", "timestep_embedder.linear_1"),
                ("t_embedder.mlp.2", "timestep_embedder.linear_2"),
                ("y_embedder", "class_embedder"),
            ):
                name = name.replace(old, new)
            embedding[f"norm1.emb.{name}"] = value
            continue
        for old, new in pairs:
            name = name.replace(old, new)
        name = name.replace("blocks.", "transformer_blocks.")
        if ".qkv." in name:
            for part, rows in zip("qkv", value.chunk(3), strict=True):
                weights[name.replace("attn.qkv", f"attn1.to_{part}")] = rows
        elif name == "pos_embed":
            other.pos_embed.pos_embed.copy_(value)
        else:
            weights[name] = value
    for k, block in enumerate(other.transformer_blocks):
        weights |= {f"transformer_blocks.{k}.{name}": value for name, value in embedding.items()}
        # DiT's frequencies, which those of diffusers are not quite.
        block.norm1.emb.time_proj.downscale_freq_shift = 0
    left = other.load_state_dict(weights, strict=False)
    assert not left.unexpected_keys and set(left.missing_keys) <= {"pos_embed.pos_embed"}
    x, t, y = torch.randn(3, 4, 8, 8), torch.tensor([0.0, 0.3, 1.0]), torch.tensor([0, 9, 10])
    with torch.no_grad():
        expected = other(x, t, y).sample[:, :4]
        assert float((own(x, t, y) - expected).abs().max() / expected.abs().max()) < 1e-5

"""Each field of a network's or decoder's config is used, known not to matter, or refused."""

import pytest
import torch
from helpers.folders import UNET

from bench.core.errors import InputError
from bench.models.sources import fields, network_config
from bench.models.sources.network_config import DECODERS, DIT, KL, NETWORKS, TRANSFORMER, VQ
from bench.models.sources.network_config import UNET as TABLE
from bench.system.quiet import quiet_diffusers, quiet_import

with quiet_import():
    import diffusers
    from diffusers import UNet2DModel

CLASSES = {
    "UNet2DModel": TABLE,
    "DiTTransformer2DModel": DIT,
    "Transformer2DModel": TRANSFORMER,
    "AutoencoderKL": KL,
    "VQModel": VQ,
}
TRANSFORMER_SAID = {
    "_class_name": "Transformer2DModel",
    "norm_type": "ada_norm_zero",
    "num_embeds_ada_norm": 10,
    "patch_size": 2,
    "sample_size": 8,
    "in_channels": 4,
}


def refused(call, *words):
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_every_class_that_is_loaded_is_walked():
    assert set(CLASSES) == {*NETWORKS, *DECODERS}


@pytest.mark.parametrize("name", CLASSES)
def test_every_argument_of_the_installed_class_stands_in_the_table(name):
    """A field that diffusers adds must be put there, by who knows what it does."""
    assert set(fields.defaults(name)) <= set(CLASSES[name])


@pytest.mark.parametrize("name", CLASSES)
def test_the_default_of_every_argument_is_served(name):
    """But for that of the old transformer, which by default is none of a DiT."""
    usual = fields.defaults(name)
    if name == "Transformer2DModel":
        usual |= TRANSFORMER_SAID
    fields.check(usual, CLASSES[name], usual, "FILE")


@pytest.mark.parametrize(
    ("name", "field"),
    [(c, f) for c, table in CLASSES.items() for f, kind in table.items() if kind.use == "refused"],
)
def test_a_refused_field_is_named(name, field):
    for value in ("a word", 3, [1], {"bits": 4}):
        said = {"_class_name": name, field: value}
        refused(lambda said=said: fields.check(said, CLASSES[name], {}, "FILE"), "FILE", field)


@pytest.mark.parametrize("name", CLASSES)
def test_an_unknown_field_is_named(name):
    said = {"_class_name": name, "a_field_of_tomorrow": False}
    refused(lambda: fields.check(said, CLASSES[name], {}, "FILE"), "a_field_of_tomorrow = False")
    fields.check(said, CLASSES[name], {"a_field_of_tomorrow": False}, "FILE")
    fields.check(said | {"a_field_of_tomorrow": None}, CLASSES[name], {}, "FILE")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("UNet2DConditionModel", "text"),
        ("FlaxUNet2DConditionModel", "Flax"),
        ("FluxTransformer2DModel", "flow"),
        ("SD3Transformer2DModel", "flow"),
        ("SanaTransformer2DModel", "flow"),
        ("PixCellTransformer2DModel", "embeddings"),
        ("MyNetwork", "not one of UNet2DModel"),
        (None, "no _class_name"),
    ],
)
def test_other_networks_are_refused_with_the_true_reason(name, why):
    refused(lambda: network_config.network({"_class_name": name}, "FILE"), "FILE", why)


@pytest.mark.parametrize(
    "training",
    [
        {"learningRate": 0.001, "epochs": 100, "device": "cuda"},
        {"model": "diff_unet", "in_channels": 4, "scheduler": "cosine", "amp": True},
    ],
)
def test_the_settings_of_a_training_are_no_network(training):
    refused(lambda: network_config.network(training, "FILE"), "no description of a network")


def test_a_text_conditioned_transformer_is_none_of_a_dit():
    said = TRANSFORMER_SAID | {"norm_type": "ada_norm_single", "caption_channels": 4096}
    refused(
        lambda: network_config.network(said, "FILE"), "norm_type = 'ada_norm_single'", "PixArt"
    )
    said = TRANSFORMER_SAID | {"cross_attention_dim": 768}
    refused(lambda: network_config.network(said, "FILE"), "cross_attention_dim = 768")


def test_positions_that_a_dit_would_not_scale():
    said = TRANSFORMER_SAID | {"sample_size": 128}
    refused(lambda: network_config.network(said, "FILE"), "sample_size = 128", "positions")
    network_config.network(said | {"interpolation_scale": 1}, "FILE")


# Configs as they stand in published folders, with small widths.
OLD = {
    "v0.0.4, as google/ddpm-cifar10-32": {
        "_class_name": "UNet2DModel", "_diffusers_version": "0.0.4", "act_fn": "silu",
        "block_out_channels": [8, 16], "center_input_sample": False,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "downsample_padding": 0,
        "flip_sin_to_cos": False, "freq_shift": 1, "in_channels": 3, "layers_per_block": 1,
        "mid_block_scale_factor": 1, "norm_eps": 1e-06, "norm_num_groups": 4,
        "out_channels": 3, "sample_size": 16, "time_embedding_type": "positional",
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    },
    "v0.24, one head": {
        "_class_name": "UNet2DModel", "_diffusers_version": "0.24.0", "act_fn": "silu",
        "add_attention": True, "attention_head_dim": None, "attn_norm_num_groups": None,
        "block_out_channels": [8, 16], "center_input_sample": True, "class_embed_type": None,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "downsample_padding": 0,
        "downsample_type": "conv", "dropout": 0.1, "flip_sin_to_cos": False, "freq_shift": 1,
        "in_channels": 3, "layers_per_block": 1, "mid_block_scale_factor": 1, "norm_eps": 1e-06,
        "norm_num_groups": 4, "num_class_embeds": None, "num_train_timesteps": None,
        "out_channels": 3, "resnet_time_scale_shift": "scale_shift", "sample_size": 16,
        "time_embedding_type": "positional", "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "upsample_type": "conv",
    },
    "as consistency models, of their blocks today": {
        "_class_name": "UNet2DModel", "sample_size": 16, "in_channels": 3, "out_channels": 3,
        "layers_per_block": 1, "num_class_embeds": 10, "block_out_channels": [8, 16],
        "attention_head_dim": 8,
        "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "ResnetUpsampleBlock2D"], "norm_num_groups": 4,
        "resnet_time_scale_shift": "scale_shift", "time_embedding_dim": 24,
        "downsample_type": "resnet", "upsample_type": "resnet", "attn_norm_num_groups": 4,
    },
}  # fmt: skip


@pytest.mark.parametrize("said", OLD.values(), ids=OLD)
def test_old_configs_build_what_diffusers_builds(said):
    name, arguments = network_config.network(said, "FILE")
    with quiet_diffusers():
        torch.manual_seed(0)
        expected = UNet2DModel.from_config(said).eval()
        torch.manual_seed(0)
        found = getattr(diffusers, name)(**arguments).eval()
    assert {k: v for k, v in expected.config.items() if k[0] != "_"} == dict(found.config)
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([0, 900])
    labels = torch.tensor([0, 9]) if said.get("num_class_embeds") else None
    with torch.no_grad():
        assert torch.equal(found(x, t, labels).sample, expected(x, t, labels).sample)


def test_what_an_old_config_leaves_to_defaults_is_told():
    said = OLD["v0.0.4, as google/ddpm-cifar10-32"]
    assert network_config.untold(said) == {"attention_head_dim": 8}
    minimal = {"_class_name": "UNet2DModel", "sample_size": 32, "block_out_channels": [8, 16]}
    assert network_config.untold(minimal) == {
        "attention_head_dim": 8, "norm_num_groups": 32, "norm_eps": 1e-5,
        "flip_sin_to_cos": True, "freq_shift": 0, "downsample_padding": 1, "act_fn": "silu",
        "center_input_sample": False, "mid_block_scale_factor": 1,
    }  # fmt: skip
    assert network_config.untold({"_class_name": "DiTTransformer2DModel"}) == {
        "num_attention_heads": 16, "attention_head_dim": 72, "sample_size": 32,
        "activation_fn": "gelu-approximate", "norm_eps": 1e-5,
    }  # fmt: skip
    for name in ("AutoencoderKL", "VQModel"):
        usual = network_config.untold({"_class_name": name})
        assert usual == {"act_fn": "silu", "norm_num_groups": 32}


SMALL = {
    "sample_size": 8, "in_channels": 3, "out_channels": 3, "norm_num_groups": 4,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"], "block_out_channels": [8, 16],
    "layers_per_block": 1, "attention_head_dim": 4,
}  # fmt: skip
OTHER = {
    "in_channels": 4, "out_channels": 6, "time_embedding_dim": 24, "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", "DownBlock2D"], "block_out_channels": [8, 24],
    "up_block_types": ["UpBlock2D", "UpBlock2D"], "add_attention": False, "num_class_embeds": 3,
    "num_train_timesteps": 50,
}  # fmt: skip


def test_what_is_said_to_show_in_the_weights_shows_there():
    def shapes(**config):
        with torch.device("meta"):
            return {k: v.shape for k, v in UNet2DModel(**SMALL | config).state_dict().items()}

    table = network_config.UNET
    assert {n for n, f in table.items() if f.use == "used" and f.why} == set(OTHER)
    for name, value in OTHER.items():
        # The number of timesteps is that of a learned embedding.
        kind = {"time_embedding_type": "learned"} if name == "num_train_timesteps" else {}
        usual = {"num_train_timesteps": 40} if kind else {}
        assert shapes(**kind, **{name: value}) != shapes(**kind, **usual), name


def test_a_score_based_network_is_refused():
    """NCSN++, as google/ncsnpp-celebahq-256."""
    said = UNET | {
        "_class_name": "UNet2DModel",
        "time_embedding_type": "fourier",
        "norm_num_groups": None,
        "mid_block_scale_factor": 2**0.5,
        "down_block_types": ["SkipDownBlock2D", "AttnSkipDownBlock2D"],
        "up_block_types": ["AttnSkipUpBlock2D", "SkipUpBlock2D"],
    }
    refused(lambda: network_config.network(said, "FILE"), "time_embedding_type", "sigma")


@pytest.mark.parametrize(
    ("stated", "card", "expected"),
    [
        (16, None, (16, 16)),
        ([16, 24], None, (16, 24)),
        ((32, 32), None, (32, 32)),
        (None, 28, (28, 28)),
        (28, 28, (28, 28)),
    ],
)
def test_sizes(stated, card, expected):
    assert network_config.sides(stated, card, "FILE") == expected


@pytest.mark.parametrize(
    ("stated", "card", "words"),
    [
        (None, None, "sample_size is not set"),
        ([16], None, r"not \[16\]"),
        ([16, 24, 3], None, "two of them"),
        ([16, "24"], None, "two of them"),
        (0, None, "positive"),
        (True, None, "positive"),
        (16.0, None, "positive"),
        (16, 32, "card says sample_size: 32"),
        ([16, 24], 16, "card says sample_size: 16"),
    ],
)
def test_sizes_that_are_none(stated, card, words):
    with pytest.raises(InputError, match=words):
        network_config.sides(stated, card, "FILE")


def test_a_decoder_as_kandinskys():
    """movq, whose norms look at the quantized latents."""
    said = {
        "_class_name": "VQModel", "_diffusers_version": "0.17.0.dev0", "act_fn": "silu",
        "block_out_channels": [8, 8],
        "down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
        "in_channels": 3, "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 4,
        "norm_type": "spatial", "num_vq_embeddings": 16, "out_channels": 3, "sample_size": 32,
        "scaling_factor": 0.18215, "up_block_types": ["AttnUpDecoderBlock2D", "UpDecoderBlock2D"],
        "vq_embed_dim": 4,
    }  # fmt: skip
    name, arguments = network_config.decoder(said, "FILE")
    assert name == "VQModel" and arguments["norm_type"] == "spatial"
    refused(lambda: network_config.decoder(said | {"_class_name": "AutoencoderDC"}, "FILE"),
            "AutoencoderDC")  # fmt: skip

"""The networks and decoders that a `config.json` of diffusers describes.

A network is built by diffusers out of its config, which honours every field that it knows; the
tables say which of them bench's way of calling the network does not serve. An old `config.json`
leaves fields out, for which diffusers takes its defaults: those that change the numbers and that
no shape of a weight gives away are told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.core.errors import InputError
from bench.models.sources import fields
from bench.models.sources.fields import Field, irrelevant, refused, shown, used

# Fields that diffusers' EMAModel writes beside the config of the network that it averages.
AVERAGED = (
    "decay",
    "min_decay",
    "optimization_step",
    "update_after_step",
    "use_ema_warmup",
    "inv_gamma",
    "power",
)
_EVERY: dict[str, Field] = {
    **irrelevant("dropout is off when images are made", "dropout"),
    **irrelevant("a note of the average that the weights are", *AVERAGED),
    **refused(
        "the weights are quantized already; take the checkpoint in full precision",
        None,
        names=("quantization_config",),
    ),
}
UNET: dict[str, Field] = {
    **_EVERY,
    **used(
        "sample_size",
        "attention_head_dim",
        "norm_num_groups",
        "attn_norm_num_groups",
        "norm_eps",
        "flip_sin_to_cos",
        "freq_shift",
        "downsample_padding",
        "act_fn",
        "center_input_sample",
        "mid_block_scale_factor",
    ),
    **shown(
        "in_channels",
        "out_channels",
        "time_embedding_dim",
        "num_train_timesteps",
        "down_block_types",
        "up_block_types",
        "block_out_channels",
        "layers_per_block",
        "add_attention",
        "num_class_embeds",
    ),
    **refused(
        "the network takes noise levels sigma in place of timesteps (score-based models, NCSN++)",
        "positional", "learned",
        names=("time_embedding_type",),
    ),
    **refused("diffusers builds UNetMidBlock2D alone", "UNetMidBlock2D", None,
              names=("mid_block_type",)),
    **refused("no way of changing the resolution that diffusers has", "conv", "resnet", None,
              names=("downsample_type", "upsample_type")),
    **refused("its blocks take more than a time embedding", "default", "scale_shift",
              names=("resnet_time_scale_shift",)),
    **refused("its classes are no numbers of labels", None, names=("class_embed_type",)),
}  # fmt: skip
_TRANSFORMER: dict[str, Field] = {
    **_EVERY,
    **used(
        "num_attention_heads",
        "attention_head_dim",
        "sample_size",
        "activation_fn",
        "norm_eps",
    ),
    **shown(
        "in_channels",
        "out_channels",
        "num_layers",
        "attention_bias",
        "patch_size",
        "num_embeds_ada_norm",
        "norm_elementwise_affine",
    ),
    **irrelevant("attention is computed in float32", "upcast_attention"),
    **irrelevant("no norm of a DiT has groups", "norm_num_groups"),
    **refused("the transformer is conditioned on more than timestep and class (as PixArt is on "
              "text)", "ada_norm_zero", names=("norm_type",)),
}  # fmt: skip
DIT = dict(_TRANSFORMER)
# Fields of the class that DiT used before it got one of its own.
TRANSFORMER: dict[str, Field] = {
    **_TRANSFORMER,
    **refused("a DiT is conditioned on timestep and class alone", None,
              names=("cross_attention_dim", "caption_channels", "num_vector_embeds")),
    **refused("it is no part of a DiT", False, None,
              names=("use_linear_projection", "only_cross_attention", "double_self_attention",
                     "use_additional_conditions")),
    **refused("it is no part of a DiT", "default", names=("attention_type",)),
    **refused("a DiT has its positions unscaled", 1, None, names=("interpolation_scale",)),
}  # fmt: skip
_DECODER: dict[str, Field] = {
    **_EVERY,
    **used("act_fn", "norm_num_groups", "scaling_factor"),
    **shown(
        "in_channels",
        "out_channels",
        "down_block_types",
        "up_block_types",
        "block_out_channels",
        "layers_per_block",
        "latent_channels",
        "mid_block_add_attention",
    ),
    **irrelevant("it only says how large images were in training", "sample_size"),
    **irrelevant("images are decoded in float32", "force_upcast"),
}
KL: dict[str, Field] = {
    **_DECODER,
    **used("shift_factor"),
    **shown("use_quant_conv", "use_post_quant_conv"),
    **refused("latents are scaled by one number", None, names=("latents_mean", "latents_std")),
}
VQ: dict[str, Field] = {
    **_DECODER,
    **shown("num_vq_embeddings", "vq_embed_dim", "norm_type"),
    **irrelevant("latents are quantized before they are decoded", "lookup_from_codebook"),
}
# The class of a config, its table, and the class that builds it.
NETWORKS = {
    "UNet2DModel": (UNET, "UNet2DModel"),
    "DiTTransformer2DModel": (DIT, "DiTTransformer2DModel"),
    "Transformer2DModel": (TRANSFORMER, "DiTTransformer2DModel"),
}
DECODERS = {"AutoencoderKL": (KL, "AutoencoderKL"), "VQModel": (VQ, "VQModel")}
# Classes that people bring, and why they are not loaded.
_OTHERS = {
    "UNet2DConditionModel": "it is conditioned on text or on other embeddings",
    "FlaxUNet2DConditionModel": "it is conditioned on text, and its weights are those of Flax",
    "UNet1DModel": "it makes signals of one dimension",
    "FluxTransformer2DModel": "it is conditioned on text, and samples a flow",
    "SD3Transformer2DModel": "it is conditioned on text, and samples a flow",
    "SanaTransformer2DModel": "it is conditioned on text, and samples a flow",
    "WanTransformer3DModel": "it makes videos",
    "PixArtTransformer2DModel": "it is conditioned on text",
    "PixCellTransformer2DModel": "it is conditioned on embeddings of cells",
    "UVit2DModel": "it denoises discrete tokens",
}


def network(said: Mapping[str, Any], label: str) -> tuple[str, dict[str, Any]]:
    """The class that builds a network, and its arguments.

    Raises:
        InputError: a network of another kind, or a field that is not served.
    """
    name = said.get("_class_name")
    table, built = _known(name, NETWORKS, label)
    usual = fields.defaults(str(name))
    fields.check(said, table, usual, label)
    full = usual | {k: v for k, v in said.items() if not k.startswith("_")}
    if name == "Transformer2DModel":
        # Where the config leaves the scale out, that class takes it from the size.
        size = full["sample_size"]
        if full["interpolation_scale"] is None and type(size) is int and size >= 128:
            raise InputError(
                f"{label}: sample_size = {size} scales the positions of a Transformer2DModel, "
                f"which a DiT does not; save it as a DiTTransformer2DModel"
            )
    known = fields.defaults(built)
    return built, {k: v for k, v in full.items() if k in known}


def check_unet(unet: Mapping[str, Any]) -> None:
    """Hold the arguments of a U-Net that stand on a card against the table.

    Raises:
        InputError: a field that is not served.
    """
    # A field that diffusers does not have is found out when the network is built.
    fields.check({k: v for k, v in unet.items() if k in UNET}, UNET, {}, "network")


def decoder(said: Mapping[str, Any], label: str) -> tuple[str, dict[str, Any]]:
    """The class that builds a decoder, and its arguments.

    Raises:
        InputError: a decoder of another kind, or a field that is not served.
    """
    name = said.get("_class_name")
    table, built = _known(name, DECODERS, label)
    usual = fields.defaults(built)
    fields.check(said, table, usual, label)
    full = usual | {k: v for k, v in said.items() if not k.startswith("_")}
    return built, {k: v for k, v in full.items() if k in usual}


def _known(
    name: Any, known: Mapping[str, tuple[dict[str, Field], str]], label: str
) -> tuple[dict[str, Field], str]:
    if isinstance(name, str) and name in known:
        return known[name]
    if not isinstance(name, str):
        raise InputError(f"{label} is no description of a network of diffusers: no _class_name")
    why = f": {_OTHERS[name]}" if name in _OTHERS else ""
    raise InputError(f"{label} describes a {name}, not one of {', '.join(known)}{why}")


def averaged(said: Mapping[str, Any]) -> bool:
    """Whether diffusers' EMAModel wrote the config."""
    return "decay" in said and "optimization_step" in said


def untold(said: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a network or decoder that its config leaves to diffusers' defaults and no shape
    of a weight tells, but for the scale of latents, for which there are other rules."""
    name = str(said.get("_class_name"))
    table, _ = {**NETWORKS, **DECODERS}[name]
    unsaid = fields.untold(said, table, fields.defaults(name))
    return {field: value for field, value in unsaid.items() if field != "scaling_factor"}


def sides(stated: Any, card: int | None, label: str) -> tuple[int, int]:
    """Height and width that a network works at.

    Args:
        stated: `sample_size` of its config: a number, [height, width], or null.
        card: the card's, where the config has none.
        label: the file, for errors.

    Raises:
        InputError: neither says a size, both do, or it is none.
    """
    if stated is None and card is None:
        raise InputError(
            f"{label}: sample_size is not set: say it, sample_size in the card's config or "
            f"--set sample_size=N"
        )
    size = card if stated is None else stated
    pair = (size, size) if not isinstance(size, list | tuple) else tuple(size)
    if len(pair) != 2 or not all(type(side) is int and side > 0 for side in pair):
        raise InputError(
            f"{label}: sample_size must be a positive number or two of them, not {size!r}"
        )
    if stated is not None and card is not None and pair != (card, card):
        raise InputError(f"the card says sample_size: {card}, {label} says {stated!r}")
    return pair[0], pair[1]

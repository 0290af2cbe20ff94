"""Tiny random text-to-image pipelines, built by diffusers' own classes and saved as folders.

Widths are the least that the classes take. The tokenizer knows letters, so that no vocabulary is
fetched: each prompt is its letters, cut at the length that the pipeline asks for.
"""

from __future__ import annotations

import functools

import torch

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789 .,:;'-()"
# A token for each letter, and four beside them.
VOCABULARY = len(LETTERS) + 4
LENGTH = 16
# What each is called with besides the prompt, for images of 32 x 32 pixels.
OPTIONS = {
    "sd": {"height": 32, "width": 32},
    "sdxl": {"height": 32, "width": 32},
    "sd3": {"height": 32, "width": 32, "max_sequence_length": LENGTH},
    "flux": {"height": 32, "width": 32, "max_sequence_length": LENGTH},
    "pixart": {
        "height": 32,
        "width": 32,
        "max_sequence_length": LENGTH,
        "use_resolution_binning": False,
    },
    "sana": {
        "height": 32,
        "width": 32,
        "max_sequence_length": LENGTH,
        "use_resolution_binning": False,
    },
    "pixart_alpha": {
        "height": 32,
        "width": 32,
        "max_sequence_length": LENGTH,
        "use_resolution_binning": False,
    },
    # Its own words before the prompt take 160 letters.
    "lumina2": {"height": 128, "width": 128, "max_sequence_length": 200},
}


def tokenizer(length=LENGTH):
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<bos>", "<eos>", "<unk>", *LETTERS]
    vocabulary = {word: k for k, word in enumerate(words)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    made.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    special = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=length, unk_token="<unk>", **special
    )


def clip(projected=False):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=32,
        max_position_embeddings=LENGTH,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def t5():
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=37, num_layers=1, num_heads=4)
    )


def gemma():
    from transformers import Gemma2Config, Gemma2Model

    return Gemma2Model(
        Gemma2Config(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=37,
            num_hidden_layers=1,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
        )
    )


def autoencoder(channels=4, **more):
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16, 32),
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=8,
        sample_size=32,
        **more,
    )


def unet(**more):
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=16,
        in_channels=4,
        out_channels=4,
        norm_num_groups=8,
        **more,
    )


def sd():
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    network = unet(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
    )
    levels = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
    )
    return StableDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=clip(),
        tokenizer=tokenizer(),
        unet=network,
        scheduler=levels,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl():
    from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionXLPipeline

    network = unet(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=80,
        cross_attention_dim=64,
    )
    # Ancestral steps draw fresh noise, which must come from the generator of each image.
    levels = EulerAncestralDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
    )
    return StableDiffusionXLPipeline(
        vae=autoencoder(),
        text_encoder=clip(),
        text_encoder_2=clip(projected=True),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        unet=network,
        scheduler=levels,
    )


def sd3():
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )

    network = SD3Transformer2DModel(
        sample_size=16,
        patch_size=1,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=32,
        caption_projection_dim=32,
        pooled_projection_dim=64,
        out_channels=4,
    )
    return StableDiffusion3Pipeline(
        transformer=network,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(shift_factor=0.0609, scaling_factor=1.5305),
        text_encoder=clip(projected=True),
        tokenizer=tokenizer(),
        text_encoder_2=clip(projected=True),
        tokenizer_2=tokenizer(),
        text_encoder_3=t5(),
        tokenizer_3=tokenizer(),
    )


def flux():
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    network = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    return FluxPipeline(
        transformer=network,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=autoencoder(
            shift_factor=0.0609,
            scaling_factor=1.5305,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=clip(),
        tokenizer=tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=tokenizer(),
    )


def pixart():
    from diffusers import DPMSolverMultistepScheduler, PixArtSigmaPipeline

    return PixArtSigmaPipeline(**_pixart(), scheduler=DPMSolverMultistepScheduler())


def pixart_alpha():
    from diffusers import PixArtAlphaPipeline, UniPCMultistepScheduler

    return PixArtAlphaPipeline(**_pixart(), scheduler=UniPCMultistepScheduler())


def _pixart():
    from diffusers import PixArtTransformer2DModel

    network = PixArtTransformer2DModel(
        sample_size=16,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_channels=32,
        in_channels=4,
        cross_attention_dim=32,
        out_channels=8,
        use_additional_conditions=False,
    )
    return {
        "tokenizer": tokenizer(),
        "text_encoder": t5(),
        "vae": autoencoder(),
        "transformer": network,
    }


def sana():
    from diffusers import (
        AutoencoderDC,
        DPMSolverMultistepScheduler,
        SanaPipeline,
        SanaTransformer2DModel,
    )

    network = SanaTransformer2DModel(
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=4,
        num_cross_attention_heads=2,
        cross_attention_head_dim=4,
        cross_attention_dim=8,
        caption_channels=32,
        sample_size=32,
    )
    decoder = AutoencoderDC(
        in_channels=3,
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=[1, 1],
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
    )
    levels = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    return SanaPipeline(
        transformer=network,
        vae=decoder,
        scheduler=levels,
        text_encoder=gemma(),
        tokenizer=tokenizer(),
    )


def lumina2():
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        Lumina2Pipeline,
        Lumina2Transformer2DModel,
    )

    network = Lumina2Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        hidden_size=24,
        num_layers=2,
        num_refiner_layers=1,
        num_attention_heads=3,
        num_kv_heads=1,
        multiple_of=2,
        ffn_dim_multiplier=None,
        norm_eps=1e-5,
        scaling_factor=1.0,
        axes_dim_rope=(4, 2, 2),
        axes_lens=(600, 64, 64),
        cap_feat_dim=32,
    )
    return Lumina2Pipeline(
        transformer=network,
        vae=autoencoder(shift_factor=0.0609, scaling_factor=1.5305),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        text_encoder=gemma(),
        tokenizer=tokenizer(),
    )


MAKERS = {f.__name__: f for f in (sd, sdxl, sd3, flux, pixart, pixart_alpha, sana, lumina2)}


def _lively(pipe):
    """Weights that were made zero, so that an untrained network begins as nothing, become random:
    else images would not depend on what is quantized."""
    network = getattr(pipe, "unet", None) or pipe.transformer
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1 and not bool(parameter.any()):
                parameter.normal_(std=0.05)


def made(name):
    """A pipeline with seeded weights, in evaluation mode."""
    torch.manual_seed(0)
    pipe = MAKERS[name]()
    _lively(pipe)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@functools.cache
def kept(name):
    """The same pipeline once for all tests of a process."""
    return made(name)


def saved(folder, name):
    """The folder of a saved pipeline below another one."""
    place = folder / name
    if not place.exists():
        kept(name).save_pretrained(place)
    return place


def card(folder, name, **more):
    """The fields of a card of a saved pipeline."""
    saved(folder, name)
    fields = {"name": f"tiny-{name}", "family": f"tiny-{name}", "method": "baseline"}
    fields |= {"source": "pipeline", "uri": name, "dataset": "none"}
    return fields | {"config": dict(OPTIONS[name])} | more

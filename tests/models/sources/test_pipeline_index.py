"""Folders as diffusers' pipelines and training scripts leave them: loaded rightly, or refused."""

import json
import shutil

import pytest
import torch
from helpers.folders import (
    UNET,
    edit,
    save_average,
    save_decoder,
    save_dit,
    save_index,
    save_unet,
    save_vq,
)
from safetensors.torch import load_file, save_file

from bench.core.cell import Checkpoint, Draw
from bench.core.errors import InputError
from bench.models.samplers.ddim import ddim
from bench.models.samplers.ddpm import ddpm
from bench.models.samplers.drawing import images as sampled
from bench.models.samplers.noise import image_generators, uniform_labels
from bench.models.sources import described, pretrained
from bench.models.sources.diffusers_folder import load
from bench.system import components, hub
from bench.system.quiet import quiet_diffusers, quiet_import

with quiet_import():
    from diffusers import (
        DDIMScheduler,
        DDPMPipeline,
        DDPMScheduler,
        DiTPipeline,
        DiTTransformer2DModel,
        LDMPipeline,
        Transformer2DModel,
        UNet2DModel,
    )

WEIGHTS = "diffusion_pytorch_model.safetensors"
LATENT = {"in_channels": 4, "out_channels": 4, "sample_size": 8}


def card(uri, method="baseline", **config):
    return Checkpoint("c", "c", method, "diffusers", str(uri), "", "cifar10", config=config)


def refused(uri, *words, **config):
    with pytest.raises(InputError) as caught:
        load(card(uri, **config))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def close(found, expected):
    """Equal but for rounding, which depends on where weights lie in memory."""
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def output(network, channels=3, size=16):
    """Of a fixed input at two timesteps."""
    x = torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = network(x, torch.tensor([1, 900]))
    return getattr(found, "sample", found)


@pytest.fixture
def model(tmp_path):
    return tmp_path / "model"


def save_ldm(model, **changes):
    """The pipeline of CompVis/ldm-celebahq-256, small."""
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.0015, beta_end=0.0195,
                              clip_sample=False)  # fmt: skip
    unet = save_unet(model, scheduler=scheduler, **LATENT)
    vq = save_vq(model, **changes)
    LDMPipeline(vq, unet, scheduler).save_pretrained(model)
    return unet.eval(), vq.eval(), scheduler


def test_images_of_ldms_pipeline_are_its_own(model):
    unet, vq, scheduler = save_ldm(model, scaling_factor=0.6)
    denoiser = load(card(model))
    assert denoiser.shape == (4, 8, 8) and denoiser.decode is not None and not denoiser.clips
    assert "VQModel in vqvae, latents / 0.6" in denoiser.description["decoder"]
    assert denoiser.description["schedule"] == "scaled_linear 0.0015 to 0.0195, 1000 timesteps"
    generators = image_generators("images", 0, range(3))
    images = sampled(denoiser, ddim, generators, Draw(steps=10, spacing="leading", batch=3))
    with quiet_diffusers():
        pipeline = LDMPipeline(vq, unet, scheduler)
        pipeline.set_progress_bar_config(disable=True)
        made = pipeline(
            batch_size=3, generator=image_generators("images", 0, range(3)),
            num_inference_steps=10, output_type="np",
        ).images  # fmt: skip
    expected = torch.from_numpy(made).permute(0, 3, 1, 2) * 255
    assert images.shape == (3, 3, 16, 16)
    assert (images - expected).abs().max() < 0.51


def test_images_of_ddpms_pipeline_are_its_own(model):
    scheduler = DDPMScheduler(clip_sample_range=2.0, variance_type="fixed_large")
    unet = save_unet(model, scheduler=scheduler).eval()
    denoiser = load(card(model))
    generators = image_generators("images", 0, range(3))
    images = sampled(denoiser, ddpm, generators, Draw(steps=10, spacing="leading", batch=3))
    with quiet_diffusers():
        pipeline = DDPMPipeline(unet, scheduler)
        pipeline.set_progress_bar_config(disable=True)
        made = pipeline(
            batch_size=3, generator=image_generators("images", 0, range(3)),
            num_inference_steps=10, output_type="np",
        ).images  # fmt: skip
    expected = torch.from_numpy(made).permute(0, 3, 1, 2) * 255
    assert (images - expected).abs().max() < 0.51


def test_images_of_dits_pipeline_are_its_own(model):
    transformer, vae = save_dit(model)
    scheduler = DDIMScheduler.from_pretrained(model / "scheduler")
    with quiet_diffusers():
        pipeline = DiTPipeline(transformer.eval(), vae.eval(), scheduler)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.save_pretrained(model)
    denoiser = load(card(model))
    generators = image_generators("images", 0, range(3))
    images = sampled(denoiser, ddim, generators, Draw(steps=10, spacing="leading", batch=3))
    again = image_generators("images", 0, range(3))
    latents = [torch.randn(denoiser.shape, generator=g) for g in again]
    drawn = uniform_labels(denoiser.classes, again, "cpu").tolist()
    with quiet_diffusers():
        made = pipeline(
            drawn, guidance_scale=1.0, generator=image_generators("images", 0, range(3)),
            num_inference_steps=10, output_type="np",
        ).images  # fmt: skip
    expected = torch.from_numpy(made).permute(0, 3, 1, 2) * 255
    assert len(latents) == 3 and (images - expected).abs().max() < 0.51


def test_a_quantized_decoder_without_a_scale_is_not_scaled(model):
    """As CompVis/ldm-celebahq-256 says nothing; the default of the class is 0.18215."""
    _, vq, _ = save_ldm(model)
    edit(model / "vqvae" / "config.json", scaling_factor=None)
    denoiser, latents = load(card(model)), torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        close(denoiser.decode(latents), vq.decode(latents).sample)
        other = load(card(model, scaling_factor=0.5))
        close(other.decode(latents), vq.decode(latents / 0.5).sample)
    assert (
        "divided by 1: vqvae/config.json has no scaling_factor" in denoiser.description["assumed"]
    )
    assert "assumed" not in other.description or "divided" not in other.description["assumed"]


def test_an_old_decoder_of_stable_diffusion_has_its_scale(model):
    save_unet(model, **LATENT)
    vae = save_decoder(model).eval()
    edit(model / "vae" / "config.json", scaling_factor=None)
    denoiser, latents = load(card(model)), torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        close(denoiser.decode(latents), vae.decode(latents / 0.18215).sample)
    assert "divided by 0.18215" in denoiser.description["assumed"]


@pytest.mark.parametrize("factor", [0, -1, "1", True, float("nan")])
def test_a_scale_that_is_none(model, factor):
    save_ldm(model)
    edit(model / "vqvae" / "config.json", scaling_factor=factor)
    refused(model, "scaling_factor must be a positive number")


def test_contradictions_of_the_decoder(model):
    save_ldm(model, scaling_factor=0.6)
    refused(model, "card says scaling_factor: 0.5", scaling_factor=0.5)
    edit(model / "unet" / "config.json", in_channels=3)
    refused(model, "decodes 4 channels, the network makes 3")


def test_a_clipped_latent_is_clipped_as_diffusers_does(model):
    save_unet(model, **LATENT)
    save_decoder(model)
    assert load(card(model)).clips
    edit(model / "scheduler" / "scheduler_config.json", _class_name="PNDMScheduler")
    edit(model / "scheduler" / "scheduler_config.json", clip_sample=None)
    assert not load(card(model)).clips


AUDIO = {
    "mel": ["audio_diffusion", "Mel"],
    "scheduler": ["diffusers", "DDPMScheduler"],
    "unet": ["diffusers", "UNet2DModel"],
}


def test_audio_diffusion(model):
    save_unet(model, in_channels=1, out_channels=1, sample_size=[16, 24])
    save_index(model, "AudioDiffusionPipeline", **AUDIO, vqvae=[None, None])
    denoiser = load(card(model))
    assert denoiser.shape == (1, 16, 24) and denoiser.decode is None
    shutil.rmtree(model / "unet")
    save_unet(model, **LATENT)
    save_decoder(model)
    (model / "vae").rename(model / "vqvae")
    save_index(model, "AudioDiffusionPipeline", **AUDIO, vqvae=["diffusers", "AutoencoderKL"])
    assert load(card(model)).decode is not None


PLAIN = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}


@pytest.mark.parametrize(
    ("pipeline", "named", "words"),
    [
        ("DDPMPipeline", {"movq": ["diffusers", "VQModel"]}, ("movq (VQModel)", "decide")),
        ("DDPMPipeline", {"text_encoder": ["transformers", "CLIPTextModel"]}, ("text_encoder",)),
        ("DDPMPipeline", {"guidance": 3.0}, ("guidance (3.0)",)),
        ("DDPMPipeline", {"vae": ["diffusers", "AutoencoderKL"]}, ("names vae, and there is no",)),
        ("DDPMPipeline", {"unet": ["diffusers", "UNet2DConditionModel"]}, ("a UNet2DCondition",)),
        ("LDMSuperResolutionPipeline", {}, ("LDMSuperResolutionPipeline", "not known")),
        (["pipeline", "MyPipeline"], {}, ("MyPipeline", "not known")),
    ],
)
def test_components_that_are_not_understood_are_named(model, pipeline, named, words):
    save_unet(model)
    save_index(model, pipeline, **(PLAIN | named))
    refused(model, "model_index.json", *words)


def test_a_decoder_that_the_index_does_not_name(model):
    save_unet(model, **LATENT)
    save_decoder(model)
    save_index(model, "DDPMPipeline", **PLAIN)
    refused(model, "vae lies there", "does not name it")


def test_folders_without_an_index(model):
    save_unet(model, **LATENT)
    save_vq(model)
    assert load(card(model)).decode is not None
    save_decoder(model)
    refused(model, "holds vae and vqvae")
    shutil.rmtree(model / "vae")
    (model / "vqvae").rename(model / "movq")
    refused(model, "movq holds a VQModel", "not known")


def test_the_index_names_the_class_of_the_scheduler(model):
    """As diffusers loads it: the file's own class name is not looked at."""
    save_unet(model)
    scheduler = {"scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]}
    save_index(model, "DDPMPipeline", **(PLAIN | scheduler))
    refused(model, "FlowMatchEulerDiscreteScheduler")
    scheduler = {"scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"]}
    save_index(model, "DDPMPipeline", **(PLAIN | scheduler))
    assert load(card(model)).predicts == "epsilon"


@pytest.mark.parametrize(("size", "shape"), [([16, 24], (3, 16, 24)), ([32, 32], (3, 32, 32))])
def test_sizes_of_two_numbers(model, size, shape):
    save_unet(model, sample_size=size)
    denoiser = load(card(model))
    assert denoiser.shape == shape
    images = sampled(
        denoiser, ddim, image_generators("images", 0, range(2)), Draw(steps=2, batch=2)
    )
    assert images.shape == (2, *shape)


def test_a_size_that_is_not_set(model):
    save_unet(model, sample_size=None)
    refused(model, "sample_size is not set", "--set sample_size=N")
    assert load(card(model, sample_size=32)).shape == (3, 32, 32)


def test_fields_that_change_images_are_honoured(model):
    save_unet(model, scheduler=DDPMScheduler(clip_sample_range=3.0, variance_type="fixed_large"))
    denoiser = load(card(model))
    assert (denoiser.clip_range, denoiser.variance) == (3.0, "fixed_large")
    assert denoiser.description["predicted x_0"] == "clamped to [-3, 3]"
    scheduler = DDPMScheduler(thresholding=True, sample_max_value=2.0)
    save_unet(model, scheduler=scheduler)
    denoiser = load(card(model))
    assert denoiser.thresholds == (0.995, 2.0)
    edit(model / "scheduler" / "scheduler_config.json", predict_epsilon=False)
    refused(model, "contradicts prediction_type")


def test_the_variance_must_be_that_of_the_network(model):
    save_unet(model, scheduler=DDPMScheduler(variance_type="learned_range"))
    refused(model, "variance_type = 'learned_range'", "no outputs for the variance")
    save_unet(model, out_channels=6)
    denoiser = load(card(model))
    assert denoiser.learns_variance
    told = denoiser.description["variance"]
    assert told == "learned_range, which the scheduler calls fixed_small"


def test_embedded_timesteps(model):
    save_unet(model, time_embedding_type="learned", num_train_timesteps=1000)
    load(card(model))
    edit(model / "scheduler" / "scheduler_config.json", num_train_timesteps=500)
    refused(model, "num_train_timesteps = 1000", "500 of the scheduler")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"time_embedding_type": "fourier"}, ("time_embedding_type", "sigma")),
        ({"class_embed_type": "timestep"}, ("class_embed_type",)),
        ({"mid_block_type": "UNetMidBlock2DCrossAttn"}, ("mid_block_type",)),
        ({"quantization_config": {"load_in_8bit": True}}, ("quantization_config",)),
        ({"a_field_of_tomorrow": 1}, ("a_field_of_tomorrow",)),
        ({"down_block_types": ["AttnDownsampleBlock2D"] * 2}, ("AttnDownsampleBlock2D",)),
    ],
)
def test_fields_of_the_network_are_refused_by_name(model, changes, words):
    save_unet(model)
    edit(model / "unet" / "config.json", **changes)
    refused(model, *words)


OLD_DIT = {
    "activation_fn": "gelu-approximate", "attention_bias": True, "attention_head_dim": 8,
    "cross_attention_dim": None, "dropout": 0.0, "in_channels": 4,
    "norm_elementwise_affine": False, "norm_num_groups": 32, "norm_type": "ada_norm_zero",
    "num_attention_heads": 2, "num_embeds_ada_norm": 10, "num_layers": 2,
    "num_vector_embeds": None, "only_cross_attention": False, "out_channels": 8,
    "patch_size": 2, "sample_size": 8, "upcast_attention": False, "use_linear_projection": False,
}  # fmt: skip


@pytest.mark.parametrize("changes", [{}, {"attention_bias": None, "sample_size": 16}])
def test_a_transformer_of_the_time_before_dits_own_class(model, changes):
    """As facebook/DiT-XL-2-256 on the hub; what is left out is as in the class of that time."""
    save_dit(model)
    shutil.rmtree(model / "transformer")
    said = {k: v for k, v in (OLD_DIT | changes).items() if (k, v) != ("attention_bias", None)}
    torch.manual_seed(3)
    with quiet_diffusers():
        network = Transformer2DModel(**said).eval()
    network.save_pretrained(model / "transformer")
    config = model / "transformer" / "config.json"
    config.write_text(json.dumps({"_class_name": "Transformer2DModel", **said}))
    denoiser, size = load(card(model)), said["sample_size"]
    assert denoiser.learns_variance and denoiser.classes == 10
    assert isinstance(denoiser.model.unet, DiTTransformer2DModel)
    x, t, y = torch.randn(2, 4, size, size), torch.tensor([1, 900]), torch.tensor([0, 9])
    with torch.no_grad():
        expected = network(x, timestep=t, class_labels=y).sample
        close(denoiser.model(x, t + 1000 * y), expected)


def test_a_dit_is_square(model):
    save_dit(model)
    edit(model / "transformer" / "config.json", sample_size=[8, 8])
    assert load(card(model)).shape == (4, 8, 8)
    edit(model / "transformer" / "config.json", sample_size=[8, 12])
    refused(model, "must be square")


def test_a_folder_with_a_variant_alone(model):
    network = save_unet(model).half().eval()
    network.save_pretrained(model / "unet", variant="fp16")
    (model / "unet" / WEIGHTS).unlink()
    denoiser = load(card(model))
    assert next(denoiser.model.parameters()).dtype == torch.float32
    assert denoiser.description["weights"] == "unet, stored in float16, variant fp16"
    close(output(denoiser.model), output(network.float()))


def test_several_variants(model):
    network = save_unet(model)
    half = UNet2DModel(**UNET).half()
    half.save_pretrained(model / "unet", variant="fp16")
    plain = load(card(model))
    assert plain.description["weights"] == "unet, stored in float32; fp16 beside it is not used"
    close(output(plain.model), output(network.eval()))
    chosen = load(card(model, variant="fp16"))
    assert "stored in float16, variant fp16; plain beside it" in chosen.description["weights"]
    close(output(chosen.model), output(half.float().eval()))
    refused(model, "no variant 'bf16'", "the plain one, fp16", variant="bf16")
    save_file({"x": torch.zeros(1)}, model / "unet" / "diffusion_pytorch_model.bf16.safetensors")
    (model / "unet" / WEIGHTS).unlink()
    refused(model, "several variants", "bf16, fp16", "--set variant=bf16")
    load(card(model, variant="fp16"))


def test_variants_that_name_a_kind(model):
    """As stable-diffusion-v1-5 has them: the plain weights are the average."""
    save_unet(model).save_pretrained(model / "unet", variant="non_ema")
    refused(model, "weights raw contradicts", "weights are ema", weights="raw")
    refused(model, "weights ema contradict method 'baseline'")
    load(card(model, "ema"))
    load(card(model, variant="non_ema"))
    with pytest.raises(InputError, match="weights are raw \\(variant non_ema\\)"):
        load(card(model, "swa", weights="swa", variant="non_ema"))


@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("shards", [True, False])
def test_every_form_of_the_files(model, variant, safe, shards):
    network = save_unet(model)
    (model / "unet" / WEIGHTS).unlink()
    size = "10KB" if shards else "10GB"
    network.save_pretrained(
        model / "unet", variant=variant, safe_serialization=safe, max_shard_size=size
    )
    files = components.weights_of(model / "unet")
    assert (len(files) > 1) == shards
    close(output(load(card(model)).model), output(network.eval()))
    digest = hub.digest(model)
    files[-1].write_bytes(files[-1].read_bytes() + b"0")
    assert hub.digest(model) != digest


def test_pickles_beside_another_component_in_safetensors_are_hashed(model):
    save_unet(model, **LATENT)
    save_decoder(model)
    weights = load_file(model / "unet" / WEIGHTS)
    (model / "unet" / WEIGHTS).unlink()
    digests = set()
    for factor in (1, 2):
        changed = {name: factor * value for name, value in weights.items()}
        torch.save(changed, model / "unet" / "diffusion_pytorch_model.bin")
        digests.add(hub.digest(model))
    assert len(digests) == 2
    load(card(model))


def test_no_weights_are_named(model):
    save_unet(model)
    (model / "unet" / WEIGHTS).rename(model / "unet" / "model.safetensors")
    refused(model, "unet holds no diffusion_pytorch_model weights")


@pytest.fixture
def training(model):
    """A folder that diffusers' train_unconditional left, with the average of a checkpoint."""
    network = save_unet(model)
    raw = {name: value.clone() for name, value in network.state_dict().items()}
    save_index(model, "DDPMPipeline", **PLAIN)
    save_average(network, model)
    network.load_state_dict(raw)
    return network


def averages(model):
    return load_file(model / "unet_ema" / WEIGHTS)


def test_the_average_of_a_training_is_ema(model, training):
    assert not torch.equal(averages(model)["conv_in.bias"], training.conv_in.bias)
    refused(model, "holds unet and unet_ema", "--set weights=ema")
    raw = load(card(model, weights="raw")).model.unet.state_dict()
    assert torch.equal(raw["conv_in.bias"], training.conv_in.bias)
    ema = load(card(model, "ema", weights="ema"))
    assert ema.description["weights"].startswith("unet_ema, stored in float32")
    for name, value in averages(model).items():
        assert torch.equal(ema.model.unet.state_dict()[name], value)


@pytest.mark.parametrize("scheduler", ["around", "inside"])
def test_the_folder_of_the_average_itself(model, training, scheduler, capfd):
    place = model / "unet_ema"
    if scheduler == "inside":
        shutil.move(model / "scheduler" / "scheduler_config.json", place)
    refused(place, "weights ema contradict method 'baseline'")
    refused(place, "weights raw contradicts", "weights are ema", weights="raw")
    before = hub.digest(place)
    found = load(card(place, "ema"))
    assert torch.equal(found.model.unet.conv_in.bias, averages(model)["conv_in.bias"])
    found = place if scheduler == "inside" else model / "scheduler"
    edit(found / "scheduler_config.json", beta_end=0.03)
    assert hub.digest(place) != before
    assert capfd.readouterr() == ("", "")


def test_a_checkpoint_of_a_training(model, training):
    """checkpoint-500 holds unet and unet_ema; the scheduler lies in the folder around it."""
    checkpoint = model / "checkpoint-500"
    checkpoint.mkdir()
    shutil.copytree(model / "unet", checkpoint / "unet")
    shutil.move(model / "unet_ema", checkpoint / "unet_ema")
    torch.save({}, checkpoint / "scheduler.bin")
    assert load(card(checkpoint, "ema", weights="ema")).predicts == "epsilon"
    load(card(checkpoint / "unet_ema", "ema"))
    load(card(model))
    shutil.rmtree(model / "scheduler")
    refused(checkpoint, "no scheduler_config.json", weights="raw")


def test_nothing_is_said_by_the_library(model, capfd):
    """diffusers itself says three lines for weights of a variant alone."""
    save_unet(model).save_pretrained(model / "unet", variant="fp16")
    (model / "unet" / WEIGHTS).unlink()
    edit(model / "unet" / "config.json", decay=0.99)
    capfd.readouterr()
    load(card(model))
    assert capfd.readouterr() == ("", "")


def test_what_a_config_leaves_out_is_told(model):
    save_unet(model, norm_num_groups=4)
    edit(model / "unet" / "config.json", attention_head_dim=None)
    config = json.loads((model / "unet" / "config.json").read_text())
    assert "attention_head_dim" not in config
    told = described.describe(model, {}).assumed
    assert told == ("attention_head_dim 8: diffusers' defaults, unet/config.json does not say",)
    edit(model / "scheduler" / "scheduler_config.json", beta_end=None, prediction_type=None)
    told = described.describe(model, {}).assumed
    assert told[:2] == (
        "predicts epsilon: scheduler_config.json does not say (--set predicts=...)",
        "beta_end 0.02: diffusers' defaults, scheduler_config.json does not say",
    )
    assert described.describe(model, {"predicts": "epsilon"}).assumed == told[1:]
    assert load(card(model)).description["assumed"] == "; ".join(told)


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("unet", {"num_class_embeds": "many"}, "num_class_embeds must be a positive number"),
        ("unet", {"num_class_embeds": -3}, "num_class_embeds must be a positive number, not -3"),
        ("unet", {"out_channels": 1e308}, "out_channels must be a positive number"),
        ("vae", {"block_out_channels": 8}, "block_out_channels must be 1 to 12 numbers"),
        ("vae", {"block_out_channels": []}, "block_out_channels must be 1 to 12 numbers"),
        ("vae", {"out_channels": 0}, "out_channels must be a positive number, not 0"),
    ],
)
def test_numbers_of_a_damaged_description_are_named(model, part, change, words):
    """Found by the campaign of tests/fuzz."""
    save_unet(model, in_channels=4, out_channels=4)
    save_decoder(model)
    edit(model / part / "config.json", **change)
    with pytest.raises(InputError, match=f"{part}/config.json: {words}"):
        described.describe(model, {})


def test_weights_of_no_component_are_told(model):
    save_unet(model)
    before = described.describe(model, {}).assumed
    for name in (
        *("pytorch_lora_weights.safetensors", "optimizer.bin", "scheduler/a.txt"),
        *("text_encoder/model.safetensors", ".git/x.bin", "unet/ema.ckpt"),
    ):
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_bytes(b"")
    (told,) = set(described.describe(model, {}).assumed) - set(before)
    assert told == (
        "weights that are no component are passed over, 4 files: optimizer.bin, "
        "pytorch_lora_weights.safetensors, text_encoder/model.safetensors, unet/ema.ckpt"
    )
    assert told in load(card(model)).description["assumed"]


def test_a_network_with_a_lora_alone_is_refused_by_its_name(model):
    save_unet(model)
    (model / "unet" / WEIGHTS).rename(model / "unet" / "pytorch_lora_weights.safetensors")
    refused(model, "holds no diffusion_pytorch_model weights", "1 files: pytorch_lora_weights")


def test_precisions_of_a_mixed_file(model):
    save_unet(model)
    weights = load_file(model / "unet" / WEIGHTS)
    weights["conv_in.weight"] = weights["conv_in.weight"].half()
    save_file(weights, model / "unet" / WEIGHTS)
    assert pretrained.told(model / "unet", None) == "unet, stored in float16, float32"


def test_attention_under_its_names_of_early_versions(model):
    """As google/ddpm-cifar10-32 is stored: query, key, value and proj_attn."""
    network = save_unet(model)
    early = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(model / "unet" / WEIGHTS)
    for new, old in early.items():
        weights = {name.replace(f".{new}.", f".{old}."): v for name, v in weights.items()}
    assert any(".proj_attn." in name for name in weights)
    (model / "unet" / WEIGHTS).unlink()
    torch.save(weights, model / "unet" / "diffusion_pytorch_model.bin")
    close(output(load(card(model)).model), output(network.eval()))

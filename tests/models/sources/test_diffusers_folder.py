import shutil

import pytest
import torch
from helpers.folders import edit, save_decoder, save_dit, save_unet
from helpers.tiny import write_cards
from safetensors.torch import load_file, save_file

from bench.core.cell import Draw
from bench.core.errors import InputError
from bench.models.cards import load_cards, verify
from bench.models.samplers.ddim import ddim
from bench.models.samplers.drawing import images as drawn
from bench.models.samplers.drawing import to_uint8
from bench.models.samplers.noise import image_generators
from bench.models.schedules import alpha_bar
from bench.models.sources.diffusers_folder import load
from bench.system import hub
from bench.system.quiet import quiet_import

with quiet_import():
    from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler

WEIGHTS = "diffusion_pytorch_model.safetensors"


def entry(uri, **changes):
    found = {"name": "pipe", "family": "pipe", "method": "baseline", "source": "diffusers"}
    return found | {"uri": uri, "dataset": "cifar10"} | changes


def card(folder, **changes):
    """The verified card of the folder `model` in `folder`."""
    (found,) = load_cards(write_cards(folder, [entry("model", **changes)]))
    return verify(found)


@pytest.fixture
def unet(tmp_path):
    return save_unet(tmp_path / "model")


def test_a_pixel_model(unet, tmp_path):
    denoiser = load(card(tmp_path))
    assert (denoiser.shape, denoiser.predicts, denoiser.classes) == ((3, 16, 16), "epsilon", 0)
    assert torch.equal(denoiser.alpha_bar, alpha_bar("linear"))
    assert denoiser.clips and denoiser.decode is None and denoiser.variance == "fixed_small"
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([1, 900])
    with torch.no_grad():
        torch.testing.assert_close(denoiser.model(x, t), unet(x, t).sample)


def test_what_the_scheduler_says(tmp_path):
    scheduler = DDPMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        variance_type="fixed_large",
        clip_sample=False,
        num_train_timesteps=500,
    )
    save_unet(tmp_path / "model", scheduler=scheduler)
    denoiser = load(card(tmp_path))
    assert (denoiser.predicts, denoiser.variance) == ("v_prediction", "fixed_large")
    assert not denoiser.clips
    assert torch.equal(denoiser.alpha_bar, alpha_bar("cosine", 500))


def test_files_at_the_top_and_old_pickles(unet, tmp_path):
    """As google/ddpm-cifar10-32 lies on the hub."""
    model = tmp_path / "model"
    shutil.move(model / "scheduler" / "scheduler_config.json", model)
    shutil.move(model / "unet" / "config.json", model)
    torch.save(load_file(model / "unet" / WEIGHTS), model / "diffusion_pytorch_model.bin")
    shutil.rmtree(model / "unet")
    found = load(card(tmp_path)).model.unet
    for name, value in unet.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)


def test_classes(tmp_path):
    network = save_unet(tmp_path / "model", num_class_embeds=10)
    denoiser = load(card(tmp_path))
    assert denoiser.classes == 10
    x, t, y = torch.randn(2, 3, 16, 16), torch.tensor([1, 900]), torch.tensor([0, 9])
    with torch.no_grad():
        torch.testing.assert_close(denoiser.model(x, t + 1000 * y), network(x, t, y).sample)


def test_a_latent_transformer(tmp_path):
    network, vae = save_dit(tmp_path / "model")
    denoiser = load(card(tmp_path))
    assert (denoiser.shape, denoiser.classes) == ((4, 8, 8), 10)
    assert denoiser.learns_variance and not denoiser.clips
    x, t, y = torch.randn(2, 4, 8, 8), torch.tensor([1, 900]), torch.tensor([0, 9])
    with torch.no_grad():
        torch.testing.assert_close(denoiser.model(x, t + 1000 * y), network.eval()(x, t, y).sample)
    draw = Draw(steps=1, images=2, batch=2)
    generators = image_generators("images", 0, range(2))
    images = drawn(denoiser, ddim, generators, draw)
    assert images.shape == (2, 3, 16, 16)
    # One step by hand: x_0 of the noise, then the decoder on x_0 by its scale.
    noise, classes = zip(
        *[
            (torch.randn(4, 8, 8, generator=g), torch.randint(10, (), generator=g))
            for g in image_generators("images", 0, range(2))
        ],
        strict=True,
    )
    x, a = torch.stack(noise), float(denoiser.alpha_bar[999])
    with torch.no_grad():
        epsilon = network(x, torch.full((2,), 999), torch.stack(classes)).sample[:, :4]
        x_0 = (x - (1 - a) ** 0.5 * epsilon) / a**0.5
        expected = to_uint8(vae.eval().decode(x_0 / 0.5).sample)
    assert (images.int() - expected.int()).abs().max() <= 1


def nothing(model):
    shutil.rmtree(model)


def no_scheduler(model):
    shutil.rmtree(model / "scheduler")


def flow(model):
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    scheduler.save_pretrained(model / "scheduler")


def other_network(model):
    edit(model / "unet" / "config.json", _class_name="UNet2DConditionModel")


def more_weights(model):
    edit(model / "unet" / "config.json", num_class_embeds=10)


def truncated(model):
    path = model / "unet" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])


def additional(model):
    path = model / "unet" / WEIGHTS
    save_file(load_file(path) | {"extra": torch.zeros(1)}, path)


def not_a_number(model):
    path = model / "unet" / WEIGHTS
    weights = load_file(path)
    weights["conv_in.weight"].fill_(float("nan"))
    save_file(weights, path)


def pointer(model):
    (model / "unet" / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\n")


def no_description(model):
    (model / "unet" / "config.json").write_text("[")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (nothing, "no folder"),
        (no_scheduler, "save the whole pipeline"),
        (flow, "use_dynamic_shifting = True is not supported: the shift of its noise levels"),
        (other_network, "UNet2DConditionModel, not one of"),
        (more_weights, "missing_keys"),
        (truncated, "cannot be loaded"),
        (additional, "unexpected_keys extra"),
        (not_a_number, "NaN"),
        (pointer, "git lfs pull"),
        (no_description, "cannot be read"),
    ],
)
def test_damage_is_named(unet, tmp_path, damage, words):
    damage(tmp_path / "model")
    with pytest.raises(InputError, match=words) as caught:
        load(card(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"shape": [3, 16, 16]}, "unknown field shape"),
        ({"predict": "sample"}, "unknown field predict .*; did you mean 'predicts'"),
        ({"weights": "sam"}, "weights must be one of"),
        ({"weights": "ema"}, "contradict method 'baseline'"),
        ({"predicts": "sample"}, "card says predicts: sample"),
    ],
)
def test_a_wrong_card_is_named(unet, tmp_path, config, words):
    with pytest.raises(InputError, match=words):
        load(card(tmp_path, config=config))


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """A cache of the hub with one snapshot, as its client lays it out."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = tmp_path / "hub" / "models--who--tiny" / "snapshots" / COMMIT
    save_unet(snapshot)
    return snapshot


def test_the_cache_of_the_hub_is_honoured(hub_cache, tmp_path):
    found = hub.folder("hf:who/tiny", COMMIT)
    assert found == hub_cache
    cards = write_cards(tmp_path, [entry("hf:who/tiny", revision=COMMIT)])
    (verified,) = map(verify, load_cards(cards))
    assert (verified.uri, verified.revision) == ("hf:who/tiny", COMMIT)
    assert verified.sha256 == hub.digest(hub_cache)
    assert load(verified).shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("uri", "revision", "words"),
    [
        ("hf:who/other", COMMIT, "is not in the cache of the hub and cannot be fetched"),
        ("hf:who/tiny", "main", "needs a pinned revision"),
        ("hf:who/tiny", "", "needs a pinned revision"),
        ("hf:who", COMMIT, "must be hf:OWNER/NAME"),
    ],
)
def test_a_hub_id_without_network_or_pin(hub_cache, uri, revision, words):
    with pytest.raises(InputError, match=words) as caught:
        hub.folder(uri, revision)
    assert "\n" not in str(caught.value)


def test_the_hash_covers_all_that_is_read(tmp_path):
    model = tmp_path / "model"
    save_dit(model)
    digests = {hub.digest(model)}
    edit(model / "scheduler" / "scheduler_config.json", beta_end=0.03)
    digests.add(hub.digest(model))
    save_decoder(model)
    digests.add(hub.digest(model))
    assert len(digests) == 3


def test_a_dit_has_a_null_label_behind_its_classes(tmp_path):
    save_dit(tmp_path / "model")
    denoiser = load(card(tmp_path))
    assert (denoiser.classes, denoiser.null_label) == (10, 10)
    x, y = torch.zeros(2, 4, 8, 8), torch.tensor([3, 9])
    with torch.no_grad():
        guided = denoiser.guided(x, denoiser.levels.at(500), y, 4.0)
    assert torch.isfinite(guided.x_0).all()

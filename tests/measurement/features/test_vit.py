"""DINOv2 and CLIP against the preprocessing and forward passes that their papers' code writes."""

import numpy as np
import pytest
import torch
from helpers.random_vision import save_clip, save_dinov2
from PIL import Image
from torchvision import transforms

from bench.core import extensions
from bench.core.errors import InputError
from bench.evaluation import extraction
from bench.measurement.features import pretrained, vit

pytest.importorskip("transformers", reason="the extra `transformers` is not installed")

MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture
def images():
    random = np.random.default_rng(0)
    return torch.from_numpy(random.integers(0, 256, (3, 3, 20, 32), np.uint8))


@pytest.fixture(autouse=True)
def fresh():
    extraction.extractor.cache_clear()
    yield
    extraction.extractor.cache_clear()


@pytest.fixture
def dinov2(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DINOV2", str(tmp_path / "dinov2"))
    return save_dinov2(tmp_path / "dinov2")


@pytest.fixture
def clip(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CLIP", str(tmp_path / "clip"))
    return save_clip(tmp_path / "clip")


def test_dinov2_prepares_as_dgm_eval(images):
    steps = [
        transforms.Resize((224, 224), transforms.InterpolationMode.BICUBIC),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, DEVIATION),
    ]
    theirs = [
        transforms.Compose(steps)(Image.fromarray(image.permute(1, 2, 0).numpy()))
        for image in images
    ]
    ours = vit.prepare(images, 224, vit.IMAGENET, crop=False)
    torch.testing.assert_close(ours, torch.stack(theirs), rtol=0, atol=1e-6)


def test_clip_prepares_as_cmmd(images):
    from transformers import CLIPImageProcessor

    crops = [Image.fromarray(i.permute(1, 2, 0).numpy()).crop((6, 0, 26, 20)) for i in images]
    small = np.stack([np.asarray(c.resize((28, 28), Image.Resampling.BICUBIC)) for c in crops])
    options = {"do_resize": False, "do_center_crop": False, "do_rescale": False}
    theirs = CLIPImageProcessor()(
        images=[torch.from_numpy(s.transpose(2, 0, 1) / np.float32(255)) for s in small],
        return_tensors="pt",
        **options,
    )["pixel_values"]
    ours = vit.prepare(images, 28, vit.CLIP, crop=True)
    torch.testing.assert_close(ours, theirs.float(), rtol=0, atol=1e-6)


def test_dinov2_is_the_class_token(dinov2, images):
    ours = extensions.lookup("extractors", "dinov2")()(images)
    x = vit.prepare(images, 224, vit.IMAGENET, crop=False)
    with torch.no_grad():
        kept = dinov2.embeddings
        # By hand, with the positions of the authors' code.
        patches = kept.patch_embeddings(x)
        tokens = torch.cat([kept.cls_token.expand(3, -1, -1), patches], 1)
        square = kept.position_embeddings[:, 1:].view(1, 20, 20, 16).permute(0, 3, 1, 2)
        scale = (16 + 0.1) / 20
        square = torch.nn.functional.interpolate(
            square, scale_factor=(scale, scale), mode="bicubic", antialias=False
        )
        places = square.permute(0, 2, 3, 1).reshape(1, 256, 16)
        tokens = tokens + torch.cat([kept.position_embeddings[:, :1], places], 1)
        for layer in dinov2.encoder.layer:
            found = layer(tokens)
            tokens = found[0] if isinstance(found, tuple) else found
        theirs = dinov2.layernorm(tokens)[:, 0]
        plain = dinov2(pixel_values=x).pooler_output
    assert ours.shape == (3, 16) == (3, extensions.lookup("extractors", "dinov2").dim)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    # The positions of transformers are others, by enough to tell.
    assert (ours - plain).abs().max() > 5e-5


def test_clip_is_the_normalised_embedding(clip, images):
    ours = extensions.lookup("extractors", "clip")()(images)
    with torch.no_grad():
        x = vit.prepare(images, 28, vit.CLIP, crop=True)
        theirs = clip.visual_projection(clip.vision_model(pixel_values=x).pooler_output)
    theirs = theirs / theirs.norm(dim=1, keepdim=True)
    assert ours.shape == (3, 12) == (3, extensions.lookup("extractors", "clip").dim)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_grey_images_and_batches(dinov2, images):
    extract = extensions.lookup("extractors", "dinov2")()
    grey = images[:, :1]
    torch.testing.assert_close(extract(grey), extract(grey.expand(-1, 3, -1, -1)))
    torch.testing.assert_close(extract(images)[1:2], extract(images[1:2]), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="features need uint8"):
        extract(images.float())


def test_other_weights_are_another_version(tmp_path, monkeypatch, dinov2):
    extractor = extensions.lookup("extractors", "dinov2")
    before, key = extractor.version, pretrained.versions("dinov2")
    assert before == int(key["dinov2 weights"][:8], 16)
    save_dinov2(tmp_path / "other", seed=1)
    monkeypatch.setenv("BENCH_DINOV2", str(tmp_path / "other"))
    assert extractor.version != before
    assert pretrained.versions("dinov2") != key
    save_dinov2(tmp_path / "again")
    monkeypatch.setenv("BENCH_DINOV2", str(tmp_path / "again"))
    assert extractor.version == before
    assert pretrained.versions("inception") == {}


def test_bad_weights(tmp_path, monkeypatch, dinov2):
    extractor, place = extensions.lookup("extractors", "dinov2"), tmp_path / "dinov2"
    monkeypatch.setenv("BENCH_CLIP", str(place))
    with pytest.raises(InputError, match="describes a network 'dinov2': clip takes clip"):
        extensions.lookup("extractors", "clip")()
    whole = (place / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(whole[:5000])
    with pytest.raises(InputError, match="cannot be loaded"):
        extractor()
    (place / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"has no config.json and model.safetensors"):
        extractor()
    save_dinov2(place, num_hidden_layers=1)
    said = (place / "config.json").read_text()
    deeper = said.replace('"num_hidden_layers": 1', '"num_hidden_layers": 2')
    (place / "config.json").write_text(deeper)
    with pytest.raises(InputError, match="do not fit the network: missing_keys"):
        extractor()


def test_without_a_network(monkeypatch):
    monkeypatch.setenv("BENCH_DINOV2", "nobody/nothing")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    pretrained._snapshot.cache_clear()
    with pytest.raises(InputError, match=r"no weights of nobody/nothing: .*BENCH_DINOV2"):
        extensions.lookup("extractors", "dinov2")()

"""CLIP score against transformers' own CLIP, its image processor and torchvision's transforms."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from helpers.random_clip import save, save_tokenizer
from PIL import Image
from torchvision import transforms

from bench.core import extensions
from bench.core.errors import InputError, NotMeasured
from bench.core.protocols import Evidence, Features
from bench.measurement.data.pictures import PictureRows, Pictures
from bench.measurement.features import pretrained, vit
from bench.measurement.metrics import clip_score

pytest.importorskip("transformers", reason="the extra `transformers` is not installed")

PROMPTS = ("a cat", "Two dogs, on a red sofa", "a cat", "x", "10 blue cups")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a small CLIP, the network and the tokenizer."""
    folder = tmp_path_factory.mktemp("clip")
    return folder, *save(folder)


@pytest.fixture
def clip(saved, monkeypatch):
    monkeypatch.setenv("BENCH_CLIP_SCORE", str(saved[0]))
    return saved[1:]


@pytest.fixture
def images():
    """Of one patch of colour to one for each pixel, so that their embeddings tell apart."""
    generator = np.random.default_rng(0)
    patches = [generator.integers(0, 256, (3, n, n), np.uint8) for n in (1, 2, 3, 6, 36)]
    return np.stack([x.repeat(36 // len(x[0]), 1).repeat(36 // len(x[0]), 2) for x in patches])


def evidence(images, prompts=PROMPTS, twins=None):
    features = Features("efficientnet", 1, np.zeros((len(images), 2)), np.arange(len(images)))
    twins = images if twins is None else twins
    return Evidence(images, twins, features, features, prompts=prompts)


def cosines(network, tokenizer, images, prompts):
    """Of each image and its prompt, out of the whole of transformers' CLIP."""
    from transformers import CLIPImageProcessorPil

    size = {"shortest_edge": 28}, {"height": 28, "width": 28}
    process = CLIPImageProcessorPil(size=size[0], crop_size=size[1])
    pictures = [Image.fromarray(image.transpose(1, 2, 0)) for image in images]
    pixels = process(images=pictures, return_tensors="pt")["pixel_values"]
    tokens = tokenizer(
        list(prompts), padding=True, truncation=True, max_length=8, return_tensors="pt"
    )
    with torch.no_grad():
        logits = network(**tokens, pixel_values=pixels).logits_per_image
        return (logits / network.logit_scale.exp()).diagonal().double().numpy()


def test_the_score_is_that_of_transformers_own_clip(clip, images):
    theirs = cosines(*clip, images, PROMPTS)
    # Both signs, so that the maximum counts.
    assert theirs.min() < -0.05 and theirs.max() > 0.05
    measured, terms = extensions.lookup("metrics", "clip_score")().measure(evidence(images))
    expected = 100 * np.maximum(theirs, 0)
    np.testing.assert_allclose(measured.value + terms, expected, atol=1e-3)
    assert measured.value == pytest.approx(expected.mean(), abs=1e-3)
    assert (measured.name, measured.better, measured.paired) == ("clip_score@5", "higher", False)
    assert measured.low < measured.value < measured.high
    # Cosines themselves, of any sign.
    ours = clip_score.load()
    both = ours.images(images) * ours.texts(PROMPTS)
    np.testing.assert_allclose(both.sum(1), theirs, atol=1e-5)


@pytest.mark.parametrize("shape", [(28, 28), (41, 29), (20, 33), (300, 31), (9, 57), (101, 100)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_prepared_as_clips_authors_do(shape, channels):
    """By torchvision's transforms, in the words of openai/CLIP's `_transform`."""
    pixels = np.random.default_rng(1).integers(0, 256, (2, channels, *shape), np.uint8)
    steps = transforms.Compose(
        [
            transforms.Resize(28, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(28),
            transforms.ToTensor(),
            transforms.Normalize(*vit.CLIP),
        ]
    )
    colours = np.broadcast_to(pixels, (2, 3, *shape)).transpose(0, 2, 3, 1)
    theirs = torch.stack([steps(Image.fromarray(np.ascontiguousarray(x))) for x in colours])
    ours = clip_score.prepared(pixels, 28)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_a_strip_is_not_measured():
    """Resized as a whole it would have 28 x 56,000,000 pixels."""
    strip = np.zeros((1, 3, 1, 2_000_000), np.uint8)
    with pytest.raises(NotMeasured, match="at most 100 times as long"):
        clip_score.prepared(strip, 28)


def test_long_prompts_keep_the_token_that_ends_them(clip, images):
    """What is cut off does not count, and that it was is said."""
    metric = extensions.lookup("metrics", "clip_score")()
    long = "abcdefghijklmnop"
    texts = clip_score.load().texts((long, long[:6], long[:6] + "zzz"))
    np.testing.assert_allclose(texts[0], texts[2], atol=1e-6)
    tokenizer = clip[1]
    ids = tokenizer([long], truncation=True, max_length=8, return_tensors="pt")["input_ids"]
    assert ids.shape == (1, 8) and ids[0, -1] == tokenizer.eos_token_id
    assert "2 of 3 prompts are longer than the 8 tokens" in metric.remark((long, "x", long))
    assert metric.remark(("x", "abcd")) == ""


def test_mixed_sizes_and_batches_are_each_image_by_itself(clip, monkeypatch):
    """Also where a batch holds pictures of two sizes and is read in parts."""
    generator = np.random.default_rng(2)
    sizes = ((30, 40),) * 3 + ((50, 30),) * 4
    made = {f"{k}": generator.integers(0, 256, (3, *s), np.uint8) for k, s in enumerate(sizes)}
    rows = PictureRows(Pictures("here", tuple(made), made.get), tuple(made), sizes, 3)
    monkeypatch.setattr(clip_score, "BATCH", 5)
    monkeypatch.setattr(clip_score, "VALUES", 2 * 3 * 50 * 30)
    ours = clip_score.load()
    alone = np.concatenate([ours.images(made[name][None]) for name in made])
    np.testing.assert_allclose(ours.images(rows), alone, atol=1e-6)
    # Kept for as long as the pictures are in use, and no longer.
    assert ours.images(rows) is ours.images(rows)
    del rows
    assert not len(ours.kept)


def test_texts_are_embedded_once(clip, monkeypatch):
    ours = clip_score.load()
    first = ours.texts(("one", "two", "one"))
    np.testing.assert_array_equal(first[0], first[2])
    assert ours.texts(("one", "two", "one")) is first
    assert clip_score.load() is ours


def test_the_weights_and_the_tokenizer_are_the_identity(saved, clip, tmp_path, monkeypatch):
    before = extensions.identity("metrics", "clip_score")
    assert set(before) == {"weights", "tokenizer", "transformers"}
    assert before["weights"] == pretrained.digest("clip_score")
    other = shutil.copytree(saved[0], tmp_path / "other")
    said = json.loads((other / "tokenizer.json").read_text())
    said["model"]["vocab"] |= {"a": 1, "b": 0}
    (other / "tokenizer.json").write_text(json.dumps(said))
    monkeypatch.setenv("BENCH_CLIP_SCORE", str(other))
    after = extensions.identity("metrics", "clip_score")
    assert [name for name in before if before[name] != after[name]] == ["tokenizer"]
    recorded = pretrained.recorded(["efficientnet", "clip_score"])
    assert recorded["clip_score"].startswith("folder other (")


def test_what_is_missing_or_damaged_is_said(saved, tmp_path, monkeypatch):
    place = shutil.copytree(saved[0], tmp_path / "clip")
    monkeypatch.setenv("BENCH_CLIP_SCORE", str(place))
    metric = extensions.lookup("metrics", "clip_score")
    (place / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match=r"tokenizer of .* cannot be loaded"):
        metric()
    (place / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"no tokenizer.json, and not vocab.json"):
        metric()
    save_tokenizer(place)
    said = (place / "config.json").read_text()
    (place / "config.json").write_text(said.replace('"model_type": "clip"', '"model_type": "x"'))
    with pytest.raises(InputError, match="describes a network 'x'"):
        metric()
    kind = '"model_type": "clip_vision_model"'
    (place / "config.json").write_text(said.replace('"model_type": "clip"', kind))
    with pytest.raises(InputError, match="network of images alone"):
        metric()
    monkeypatch.setattr(pretrained.metadata, "version", _missing)
    with pytest.raises(InputError, match=r"clip_score needs transformers: pip install"):
        metric()


def _missing(name):
    raise pretrained.metadata.PackageNotFoundError(name)


def test_a_tokenizer_of_another_network(saved, tmp_path, monkeypatch):
    from helpers.random_vision import save_clip

    place = tmp_path / "clip"
    save_clip(place, vocab_size=50, eos_token_id=49)
    save_tokenizer(place)
    monkeypatch.setenv("BENCH_CLIP_SCORE", str(place))
    with pytest.raises(InputError, match="they are of two networks"):
        clip_score.load().texts(("a cat",))


def test_without_a_network(monkeypatch):
    monkeypatch.setenv("BENCH_CLIP_SCORE", "nobody/nothing")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    pretrained._snapshot.cache_clear()
    with pytest.raises(InputError, match=r"no weights of nobody/nothing: .*BENCH_CLIP_SCORE"):
        extensions.lookup("metrics", "clip_score")()


def test_the_cache_of_the_hub_without_a_tokenizer(saved, tmp_path, monkeypatch):
    """As it is after the extractor `clip` alone was used, whose files are fewer."""
    hub = tmp_path / "hub" / "models--somebody--clip"
    snapshot, commit = hub / "snapshots" / ("a" * 40), "a" * 40
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(saved[0] / name, snapshot / name)
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub.parent))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("BENCH_CLIP_SCORE", "somebody/clip")
    pretrained._snapshot.cache_clear()
    said = rf"without its tokenizer.*hf download somebody/clip --revision {commit}"
    with pytest.raises(InputError, match=said):
        extensions.lookup("metrics", "clip_score")()
    save_tokenizer(snapshot)
    assert extensions.lookup("metrics", "clip_score")().name == "clip_score"


def test_no_prompts(clip, images):
    with pytest.raises(InputError, match="needs the prompts"):
        extensions.lookup("metrics", "clip_score")()(evidence(images, None))

"""What the folder of a pipeline says is used or refused by name; its hash is of all its files."""

import json
import os

import pytest
from helpers import tiny_pipelines

from bench.core.cell import PIPELINE, Checkpoint
from bench.core.errors import InputError
from bench.models.pipelines import folder, known, memory
from bench.models.sources import pipeline
from bench.models.sources.pipeline_index import INDEX


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return tiny_pipelines.saved(tmp_path_factory.mktemp("saved"), "flux")


@pytest.fixture
def place(saved, tmp_path):
    """A copy that may be changed, of links to the files."""
    copy = tmp_path / "flux"
    for path in saved.rglob("*"):
        target = copy / path.relative_to(saved)
        if path.is_dir():
            target.mkdir(parents=True)
    for path in saved.rglob("*"):
        target = copy / path.relative_to(saved)
        if path.suffix == ".json":
            target.write_bytes(path.read_bytes())
        elif path.is_file():
            os.link(path, target)
    return copy


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def load(place, **config):
    config = {**tiny_pipelines.OPTIONS["flux"], **config}
    return pipeline.load(
        Checkpoint("it", "it", "baseline", PIPELINE, str(place), "0" * 64, "none", config=config)
    )


def test_an_index_is_read(place):
    index = folder.read(place)
    assert (index.pipeline, index.network) == ("FluxPipeline", "transformer")
    assert index.encoders == ("text_encoder", "text_encoder_2")
    assert set(index.absent) == {"feature_extractor", "image_encoder"}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"_class_name": "WanPipeline"}, "describes a WanPipeline, which is no text-to-image"),
        ({"_class_name": None}, "describes a None"),
        ({"controlnet": ["diffusers", "ControlNetModel"]}, r"controlnet \(ControlNetModel\)"),
        ({"transformer": ["mine", "Net"]}, "transformer is a Net of mine"),
        ({"transformer": [None, None]}, "must name one network"),
        ({"unet": ["diffusers", "UNet2DConditionModel"]}, "must name one network"),
        ({"vae": [None, None]}, "names no vae"),
        ({"vae": ["diffusers", 7]}, "vae must be a library and a class"),
    ],
)
def test_an_index_that_is_not_understood_is_refused_by_name(place, fields, told):
    change(place / INDEX, **fields)
    with pytest.raises(InputError, match=told):
        folder.read(place)


def test_no_index_is_no_pipeline(tmp_path):
    with pytest.raises(InputError, match=r"holds no model_index\.json"):
        folder.digest(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        folder.located(str(tmp_path / "absent"), "")


def test_a_repository_is_taken_from_the_cache_of_the_hub(saved, tmp_path, monkeypatch):
    from huggingface_hub import constants

    hub, commit = tmp_path / "hub" / "models--who--flux" / "snapshots", "a" * 40
    hub.mkdir(parents=True)
    (hub / commit).symlink_to(saved)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    place = folder.located("hf:who/flux", commit)
    assert folder.digest(place) == folder.digest(saved)
    with pytest.raises(InputError, match="hf:who/flux at bbbbbbbbbbbb is not in the cache"):
        folder.located("hf:who/flux", "b" * 40)


def test_the_hash_is_of_every_file(place):
    before = folder.digest(place)
    for path in ("scheduler/scheduler_config.json", "tokenizer/tokenizer.json", INDEX):
        kept = (place / path).read_bytes()
        (place / path).write_bytes(kept + b"\n")
        assert folder.digest(place) != before, path
        (place / path).write_bytes(kept)
    assert folder.digest(place) == before
    (place / "README.md").write_text("nothing that decides")
    assert folder.digest(place) == before


def test_a_component_without_files_and_a_pointer_are_refused(place):
    weights = place / "text_encoder" / "model.safetensors"
    weights.unlink()
    weights.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match="Git LFS pointer"):
        folder.digest(place)
    for path in (place / "text_encoder").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="names text_encoder, and"):
        folder.digest(place)


@pytest.mark.parametrize(
    ("file", "fields", "told"),
    [
        ("transformer/config.json", {"sparkle": 2}, "sparkle = 2 .*not known"),
        ("vae/config.json", {"sparkle": 2}, "sparkle = 2 .*not known"),
        ("scheduler/scheduler_config.json", {"sparkle": 2}, "sparkle = 2 .*not known"),
        (INDEX, {"is_distilled": True}, "is_distilled is no argument of a FluxPipeline"),
        (INDEX, {"vae": ["diffusers", "AutoencoderOfTomorrow"]}, "has no AutoencoderOfTomorrow"),
        (INDEX, {"tokenizer": ["transformers", "Nothing"]}, "has no Nothing, its tokenizer"),
        ("transformer/config.json", {"num_layers": 2}, "do not fit the network: missing_keys"),
        ("text_encoder_2/config.json", {"num_layers": 2}, "do not fit the network: missing_keys"),
    ],
)
def test_what_is_not_honoured_or_does_not_fit_is_refused_by_name(place, file, fields, told):
    change(place / file, **fields)
    with pytest.raises(InputError, match=told) as raised:
        load(place)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"size": 3}, "unknown field size"),
        ({"height": 0}, "height must be a positive whole number"),
        ({"height": True}, "height must be a positive whole number"),
        ({"guidance": "much"}, "guidance must be 0 to 1000"),
        ({"guidance": float("nan")}, "guidance must be 0 to 1000"),
        ({"use_resolution_binning": 1}, "must be true or false"),
        ({"variant": 16}, "variant must be text"),
    ],
)
def test_a_bad_config_is_refused(config, told):
    with pytest.raises(InputError, match=told):
        known.check_config(config)


@pytest.mark.parametrize("name", ["vae", "text_encoder"])
def test_pickles_are_refused(place, name):
    stem = "diffusion_pytorch_model" if name == "vae" else "model"
    (place / name / f"{stem}.safetensors").rename(place / name / f"{stem}.bin")
    with pytest.raises(InputError, match=r"as a pickle alone|cannot be loaded"):
        load(place)


def test_an_option_that_the_pipeline_does_not_take_is_refused(place):
    with pytest.raises(InputError, match="a FluxPipeline takes no use_resolution_binning"):
        load(place, use_resolution_binning=True)


@pytest.mark.parametrize(("dtype", "each"), [("float32", 4), ("bfloat16", 2)])
def test_sizes_are_those_of_the_weights_in_memory(dtype, each, place):
    pipe = tiny_pipelines.kept("flux")
    sizes = folder.sizes(folder.read(place), None, dtype)
    for name in ("transformer", "vae", "text_encoder"):
        state = getattr(pipe, name).state_dict()
        assert sizes[name] == each * sum(tensor.numel() for tensor in state.values()), name


def test_memory_is_estimated_before_anything_is_loaded(place, monkeypatch):
    monkeypatch.setattr(memory, "free", lambda: 100_000)
    with pytest.raises(InputError, match=r"needs about 0.0 GB of memory .* 0.0 GB are free"):
        load(place)
    sizes = {"transformer": 100, "text_encoder": 150, "text_encoder_2": 30, "vae": 7}
    # The encoders have gone when the network comes, whichever is larger.
    assert memory.needed(sizes, "transformer") == 180 + 7
    assert memory.needed({**sizes, "transformer": 200}, "transformer") == 200 + 7
    assert memory.free() == 100_000


def test_a_damaged_header_is_told(place):
    weights = place / "vae" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    weights.write_bytes(b"\x10\0\0\0\0\0\0\0no json at all..")
    with pytest.raises(InputError, match="no whole file of safetensors"):
        folder.sizes(folder.read(place), None, "float32")

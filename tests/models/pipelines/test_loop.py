"""The loop of a pipeline gives the images of diffusers' own call, whatever is in its network's
place; an image depends on its index alone."""

import inspect
import shutil

import pytest
import torch
from helpers import tiny_pipelines

from bench.core.cell import PIPELINE, Checkpoint, Draw
from bench.models.pipelines import folder, known
from bench.models.pipelines.encoding import Encoding
from bench.models.samplers.loop_trajectories import LoopTrajectories
from bench.models.samplers.noise import image_generators
from bench.models.sources import pipeline
from bench.quant.layers import untraceable

NAMES = [*tiny_pipelines.MAKERS]
# Those that call their network with both halves of the guidance at once.
GUIDED = ("sd", "sdxl", "sd3", "pixart", "pixart_alpha", "sana")
PROMPTS = ("a red cat", "two dogs", "the sea at night")
DRAW = Draw(sampler=PIPELINE, spacing=PIPELINE, steps=2, images=3, batch=3, guidance=4.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("pipelines")
    (place / "prompts.txt").write_text("\n".join(PROMPTS), encoding="utf-8")
    return place


def card(place, name, **config):
    where = tiny_pipelines.saved(place, name)
    words = name, name, "baseline", PIPELINE, str(where), folder.digest(where), "none"
    given = {**tiny_pipelines.OPTIONS[name], **config}
    return Checkpoint(*words, config=given, prompts=str(place / "prompts.txt"))


@pytest.fixture(scope="module")
def loaded(place, tmp_path_factory):
    """Denoisers by name, each loaded once."""
    made = {}
    kept = tmp_path_factory.mktemp("kept")

    def load(name):
        if name not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("BENCH_CACHE", str(kept))
                made[name] = pipeline.load(card(place, name))
        return made[name]

    return load


def sample(denoiser, indices=(0, 1, 2), draw=DRAW):
    return denoiser.loop.images(denoiser.model, "images", draw, indices).int()


@pytest.mark.parametrize("name", NAMES)
def test_images_are_those_of_diffusers_own_call(name, loaded):
    own = tiny_pipelines.kept(name)(
        prompt=list(PROMPTS),
        generator=image_generators("images", 0, range(3)),
        num_inference_steps=2,
        guidance_scale=4.0,
        output_type="np",
        **tiny_pipelines.OPTIONS[name],
    ).images
    own = torch.from_numpy((own * 255).round()).permute(0, 3, 1, 2).int()
    made = sample(loaded(name))
    assert made.shape == (3, 3, 32, 32)
    assert int((made - own).abs().max()) <= 1
    # The images are none of one colour, and prompts and noise make them differ.
    assert made.float().std() > 10
    assert not torch.equal(made[0], made[1])


@pytest.mark.parametrize("name", NAMES)
def test_an_image_depends_on_its_index_alone(name, loaded):
    apart, together = sample(loaded(name), (2, 4, 0)), sample(loaded(name))
    assert int((apart[2] - together[0]).abs().max()) <= 1
    assert int((apart[0] - together[2]).abs().max()) <= 1
    # 4 has the prompt of 1, and other noise.
    assert not torch.equal(apart[1], together[1])


@pytest.mark.parametrize("name", NAMES)
def test_the_prompt_decides_and_guidance_does(name, loaded):
    denoiser = loaded(name)
    before = sample(denoiser)
    other = denoiser.loop.prompts
    try:
        denoiser.loop.prompts = tuple(reversed(other))
        swapped = sample(denoiser)
    finally:
        denoiser.loop.prompts = other
    assert not torch.equal(before[0], swapped[0])
    # The one in the middle keeps its prompt.
    assert int((before[1] - swapped[1]).abs().max()) <= 1
    more = Draw(**{**vars(DRAW), "guidance": 9.0})
    assert not torch.equal(before, sample(denoiser, draw=more))


@pytest.mark.parametrize("name", NAMES)
def test_calibration_sees_what_the_pipeline_gives(name, loaded):
    denoiser = loaded(name)
    calibration = LoopTrajectories(denoiser.loop, DRAW, 4)
    seen = []

    def noted(*tensors):
        seen.append([tensor.shape for tensor in tensors])
        return denoiser.model(*tensors)

    digest = calibration(noted)
    # Two batches of three for four trajectories.
    calls = denoiser.loop.calls(DRAW)
    assert len(seen) == 2 * calls
    assert calls == (4 if name == "lumina2" else 2)
    expected = [tensor.shape for tensor in denoiser.example_inputs(calibration.shape[0])]
    assert seen == [expected] * len(seen)
    assert calibration.shape[0] == (6 if name in GUIDED else 3)
    assert len(calibration.kept) in (2, 3)
    assert digest == LoopTrajectories(denoiser.loop, DRAW, 4)(denoiser.model)


def test_flux_has_a_graph_and_lumina2_says_why_not(loaded):
    assert not untraceable(loaded("flux"), 2)
    assert "cannot trace" in untraceable(loaded("lumina2"), 2)


def test_example_inputs_of_any_number_of_rows(loaded):
    for name in ("sd", "flux"):
        for rows in (1, 2, 3):
            assert len(loaded(name).example_inputs(rows)[0]) == rows


def test_text_encoders_leave_memory_and_are_needed_once(place, monkeypatch, cache):
    first = pipeline.load(card(place, "flux"))
    assert first.loop.pipe.text_encoder is None
    assert first.loop.pipe.text_encoder_2 is None
    before = sample(first)
    monkeypatch.setattr(Encoding, "_encoded_anew", None)
    second = pipeline.load(card(place, "flux"))
    assert torch.equal(before, sample(second))
    shutil.rmtree(cache / "encoded")
    with pytest.raises(TypeError):
        pipeline.load(card(place, "flux"))


def test_a_network_in_its_place_is_called_and_taken_out_again(loaded):
    denoiser = loaded("sd")
    loop, network = denoiser.loop, denoiser.loop.network
    black = loop.images(lambda x, *rest: x * 0, "images", DRAW, [0])
    assert loop.pipe.unet is network
    assert not torch.equal(black.int(), sample(denoiser, [0]))
    with pytest.raises(ZeroDivisionError):
        loop.images(lambda *tensors: 1 / 0, "images", DRAW, [0])
    assert loop.pipe.unet is network


def test_guidance_of_the_table_is_the_default_of_the_classes():
    import diffusers

    for name, guidance in known.GUIDANCE.items():
        call = inspect.signature(getattr(diffusers, name).__call__)
        assert call.parameters["guidance_scale"].default == guidance


def test_the_plan_counts_bytes_and_evaluations(loaded):
    denoiser = loaded("sd")
    lines = denoiser.loop.plan(Draw(**{**vars(DRAW), "images": 7}))
    assert (
        "3 prompts, 2 steps, 2 evaluations of its unet for each batch of 3, 6 in all" in lines[0]
    )
    count = sum(parameter.numel() for parameter in denoiser.model.parameters())
    assert f"unet {4 * count / 1e6:,.1f} MB" in lines[1]
    assert denoiser.loop.image_shape == (3, 32, 32)

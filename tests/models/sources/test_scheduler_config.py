"""Each field of a scheduler's config is used, known not to matter, or refused by name."""

import inspect
import json
import math

import pytest
import torch

from bench.core.cell import Draw
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.noise_levels import NoiseLevels
from bench.models.samplers.ddim import ddim
from bench.models.samplers.ddpm import ddpm
from bench.models.samplers.drawing import images
from bench.models.samplers.noise import image_generators
from bench.models.schedules import alpha_bar
from bench.models.sources import fields, scheduler_config
from bench.models.sources.scheduler_config import understand
from bench.models.sources.scheduler_fields import EDM, FIELDS, FLOWS, OTHERS, SCHEDULERS
from bench.system import components
from bench.system.quiet import quiet_import

with quiet_import():
    import diffusers

BUILT = sorted(set(SCHEDULERS.values()))


def said(name="DDPMScheduler", **changes):
    return {"_class_name": name, "_diffusers_version": "0.0.4", **changes}


def refused(description, *words):
    with pytest.raises(InputError) as caught:
        understand(description, "FILE")
    text = str(caught.value)
    assert "\n" not in text
    for word in ("FILE", *words):
        assert word in text


@pytest.mark.parametrize("name", BUILT)
def test_every_argument_of_the_installed_class_stands_in_the_table(name):
    """A field that diffusers adds must be put there, by who knows what it does."""
    assert set(fields.defaults(name)) <= set(FIELDS)


def test_every_scheduler_of_the_installed_diffusers_is_understood_or_has_a_reason():
    names = [n for n in dir(diffusers) if n.endswith("Scheduler") and not n.startswith("Flax")]
    known = {*SCHEDULERS, *EDM, *FLOWS}
    unknown = [n for n in names if n not in known and not n.startswith(tuple(OTHERS))]
    assert not unknown
    assert not [n for n in known if n.startswith(tuple(OTHERS))]


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_what_a_class_saves_by_default_is_understood(name, tmp_path):
    if inspect.signature(getattr(diffusers, name).__init__).parameters.keys() > {"num_train"}:
        pytest.skip("a stand-in for a package that is not installed")
    getattr(diffusers, SCHEDULERS[name])().save_pretrained(tmp_path)
    found = understand(json.loads((tmp_path / "scheduler_config.json").read_text()), "FILE")
    assert (found.predicts, len(found.alpha_bar)) == ("epsilon", 1000)


@pytest.mark.parametrize("name", BUILT)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"trained_betas": [0.1, 0.2, 0.3]},
        {"beta_schedule": "linear", "beta_start": 0.001, "beta_end": 0.03},
        {"beta_schedule": "scaled_linear", "beta_start": 0.001, "beta_end": 0.03},
        {"beta_schedule": "squaredcos_cap_v2"},
    ],
)
def test_the_schedule_is_that_of_the_class(name, changes):
    count = len(changes.get("trained_betas", ())) or 500
    made = getattr(diffusers, name)(num_train_timesteps=count, **changes)
    found = understand(said(name, num_train_timesteps=count, **changes), "FILE")
    assert torch.equal(found.alpha_bar, made.alphas_cumprod)
    assert not changes or understand(said(name), "FILE").schedule != found.schedule


def test_defaults_are_those_of_the_class():
    assert "0.00085 to 0.012" in understand(said("HeunDiscreteScheduler"), "FILE").schedule
    assert (
        understand(said("DDIMScheduler"), "FILE").schedule
        == "linear 0.0001 to 0.02, 1000 timesteps"
    )
    assert torch.equal(
        understand(said(beta_schedule="squaredcos_cap_v2"), "FILE").alpha_bar, alpha_bar("cosine")
    )


@pytest.mark.parametrize(
    ("changes", "predicts"),
    [
        ({}, "epsilon"),
        ({"predict_epsilon": True}, "epsilon"),
        ({"predict_epsilon": False}, "sample"),
        ({"predict_epsilon": False, "prediction_type": "sample"}, "sample"),
        ({"prediction_type": "v_prediction"}, "v_prediction"),
    ],
)
def test_the_kind_of_prediction(changes, predicts):
    assert understand(said(**changes), "FILE").predicts == predicts


@pytest.mark.parametrize(
    ("description", "words"),
    [
        (said(prediction_type="flow_prediction"), ("prediction_type", "flow_prediction", "flow")),
        (said("DPMSolverMultistepScheduler", use_flow_sigmas=True), ("use_flow_sigmas", "flow")),
        (said(prediction_type="noise"), ("prediction_type", "'noise'", "epsilon")),
        (said(prediction_type=None), ("prediction_type",)),
        (said(predict_epsilon=False, prediction_type="epsilon"), ("contradicts",)),
        (said(predict_epsilon="no"), ("predict_epsilon", "true or false")),
        (said(beta_schedule="cosine"), ("beta_schedule = 'cosine'",)),
        (said(beta_schedule=["linear"]), ("beta_schedule",)),
        (said("DDIMScheduler", beta_schedule="sigmoid"), ("beta_schedule = 'sigmoid'",)),
        (said(beta_end="0.02"), ("beta_end must be a number between 0 and 1, not '0.02'",)),
        (said(beta_start="1e-4"), ("beta_start must be a number", "'1e-4'")),
        (said(beta_start=True), ("beta_start must be a number",)),
        (said(beta_start=None), ("beta_start must be a number", "None")),
        (said(beta_end=2.0), ("between 0 and 1",)),
        (said(beta_end=math.nan), ("between 0 and 1",)),
        (said(trained_betas=[0.1, 0.2]), ("trained_betas", "1000 numbers")),
        (said(trained_betas="linear"), ("trained_betas",)),
        (said(num_train_timesteps=0), ("num_train_timesteps",)),
        (said(num_train_timesteps=True), ("num_train_timesteps",)),
        (said(num_train_timesteps=10**9), ("num_train_timesteps",)),
        (said("PNDMScheduler", rescale_betas_zero_snr=True), ("rescale_betas_zero_snr",)),
        (said(rescale_betas_zero_snr=True), ("rescale_betas_zero_snr", "epsilon")),
        (said(variance_type="learned"), ("variance_type = 'learned'",)),
        (said(variance_type=["fixed_small"]), ("variance_type",)),
        (said(clip_sample="yes"), ("clip_sample", "true or false")),
        (said(clip_sample_range=-1.0), ("clip_sample_range", "positive")),
        (said(thresholding=True, dynamic_thresholding_ratio=2), ("dynamic_thresholding_ratio",)),
        (said("EulerDiscreteScheduler", timestep_type="log"), ("timestep_type = 'log'",)),
        (said("UniPCMultistepScheduler", use_dynamic_shifting=True), ("use_dynamic_shifting",)),
        (said("UniPCMultistepScheduler", shift_terminal=0.1), ("shift_terminal",)),
        (said(timestep_values=[1, 2]), ("timestep_values",)),
        (said(a_field_of_tomorrow=3), ("a_field_of_tomorrow = 3", "not known")),
        ({"num_train_timesteps": 1000}, ("no _class_name",)),
        ({"_class_name": ["DDPMScheduler"]}, ("no _class_name",)),
    ],
)  # fmt: skip
def test_what_is_not_honoured_is_refused_by_name(description, words):
    refused(description, *words)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("KarrasVeScheduler", "noise levels of its own"),
        ("ScoreSdeVeScheduler", "noise levels of its own"),
        ("FlowMatchLCMScheduler", "consistency"),
        ("FlowMapEulerDiscreteScheduler", "where a step ends"),
        ("CMStochasticIterativeScheduler", "consistency"),
        ("LCMScheduler", "consistency"),
        ("DDIMInverseScheduler", "noise"),
        ("FlaxDDPMScheduler", "Flax"),
        ("MyScheduler", "does not know"),
    ],
)
def test_other_schedulers_are_refused_with_the_true_reason(name, why):
    refused(said(name), name, why)


def test_a_field_that_the_table_does_not_have_is_taken_with_the_default_of_the_class(monkeypatch):
    """As a description is that a later diffusers wrote, whose new field does nothing."""
    left = {name: field for name, field in FIELDS.items() if name != "steps_offset"}
    monkeypatch.setattr(scheduler_config, "FIELDS", left)
    understand(said(steps_offset=0, a_field_of_tomorrow=None), "FILE")
    refused(said(steps_offset=1), "steps_offset = 1")
    refused(said(steps_offset=False), "steps_offset = False")


def test_choices_of_a_sampler_do_not_matter():
    plain = understand(said("DPMSolverMultistepScheduler"), "FILE")
    chosen = {"use_karras_sigmas": True, "solver_order": 3, "steps_offset": 1,
              "timestep_spacing": "trailing", "set_alpha_to_one": False,
              "lambda_min_clipped": -math.inf, "tensor_format": "pt"}  # fmt: skip
    found = understand(said("DPMSolverMultistepScheduler", **chosen), "FILE")
    assert torch.equal(found.alpha_bar, plain.alpha_bar)
    assert found.schedule == plain.schedule
    assert not set(scheduler_config.relevant(chosen))


def test_what_decides_images_is_small_enough_for_a_card():
    chosen = said(clip_sample_range=3.0, steps_offset=1, prediction_type="sample")
    assert scheduler_config.relevant(chosen) == {
        "_class_name": "DDPMScheduler",
        "clip_sample_range": 3.0,
        "prediction_type": "sample",
    }


def test_bounds_in_words():
    assert understand(said(clip_sample_range=3), "FILE").bounds(True) == "clamped to [-3, 3]"
    assert understand(said(clip_sample=False), "FILE").clips is False
    assert understand(said("PNDMScheduler"), "FILE").clips is None
    assert understand(said("PNDMScheduler", clip_sample=False), "FILE").clips is False
    found = understand(said(thresholding=True, sample_max_value=2), "FILE")
    assert found.bounds(True) == "thresholded at the quantile 0.995, at most 2"


@pytest.mark.parametrize(
    ("stated", "variance"),
    [
        ("fixed_small_log", "fixed_small"),
        ("fixed_large", "fixed_large"),
        ("learned_range", "learned_range"),
        (None, None),
    ],
)
def test_variances(stated, variance):
    assert understand(said(variance_type=stated), "FILE").variance == variance


def model(x, t):
    """Predictions whose x_0 goes far beyond [-1, 1]."""
    return 0.3 * torch.sin(7 * x) - 0.4 * x


def sampled(sampler, found, draw):
    levels = NoiseLevels.discrete(found.alpha_bar)
    denoiser = Denoiser(
        lambda x, t: seen.append(x.clone()) or model(x, t), levels, found.predicts,
        (3, 8, 8), clips=found.clips, clip_range=found.clip_range, thresholds=found.thresholds,
        variance=found.variance or "fixed_small",
    )  # fmt: skip
    seen = []
    images(denoiser, sampler, image_generators("images", 0, range(4)), draw)
    return seen


BOUNDS = [
    {},
    {"clip_sample": False},
    {"clip_sample_range": 3.0},
    {"thresholding": True, "dynamic_thresholding_ratio": 0.9, "sample_max_value": 1.5},
    {"thresholding": True, "sample_max_value": 100.0, "clip_sample": False},
]


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(("sampler", "name"), [(ddim, "DDIMScheduler"), (ddpm, "DDPMScheduler")])
def test_sampling_is_that_of_diffusers_within_the_same_bounds(bounds, predicts, sampler, name):
    description = said(name, prediction_type=predicts, **bounds)
    seen = sampled(sampler, understand(description, "FILE"), Draw(steps=10))
    scheduler = getattr(diffusers, name).from_config(
        {**description, "timestep_spacing": "trailing"}
    )
    scheduler.set_timesteps(10)
    generators = image_generators("images", 0, range(4))
    x_t = torch.stack([torch.randn(3, 8, 8, generator=g) for g in generators])
    for t, found in zip(scheduler.timesteps, seen, strict=True):
        torch.testing.assert_close(found, x_t, atol=1e-4, rtol=1e-4)
        x_t = scheduler.step(model(x_t, t), t, x_t, generator=generators).prev_sample


def test_bounds_change_images():
    """So that the comparison above is not one of equal things."""
    seen = [
        sampled(ddim, understand(said("DDIMScheduler", **bounds), "FILE"), Draw(steps=10))[-1]
        for bounds in BOUNDS
    ]
    for k, left in enumerate(seen):
        assert all(not torch.allclose(left, right, atol=1e-2) for right in seen[:k])


@pytest.mark.parametrize("sampler", [ddim, ddpm])
def test_a_schedule_that_ends_without_signal_is_sampled(sampler):
    description = said(
        "DDIMScheduler", rescale_betas_zero_snr=True, prediction_type="v_prediction"
    )
    found = understand(description, "FILE")
    assert found.alpha_bar[-1] == 0 and "no signal at the last" in found.schedule
    seen = sampled(sampler, found, Draw(steps=10))
    assert all(torch.isfinite(x).all() for x in seen)


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("scheduler_config.json", "weights.safetensors"),
        ("scheduler/scheduler_config.json", "unet/weights.bin"),
        ("scheduler/scheduler_config.json", "checkpoint-500/unet_ema/weights.bin"),
        ("scheduler/scheduler_config.json", "weights.bin"),
    ],
)
def test_the_description_that_belongs_to_a_file(tmp_path, place, path):
    for name in (place, path):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert components.beside(tmp_path / path) == tmp_path / place


def test_a_description_of_a_neighbour_is_not_taken(tmp_path):
    for name in ("scheduler/scheduler_config.json", "other/weights.bin"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert components.beside(tmp_path / "other" / "weights.bin") is None


def test_a_prediction_of_null_must_be_said():
    said = {"_class_name": "DDPMScheduler", "prediction_type": None}
    with pytest.raises(InputError, match=r"prediction_type is null.*--set predicts=epsilon"):
        understand(said, "file")
    assert understand(said, "file", "v_prediction").predicts == "v_prediction"


def test_a_field_that_stands_twice(tmp_path):
    path = tmp_path / "scheduler_config.json"
    path.write_text('{"prediction_type": "epsilon", "prediction_type": "sample"}')
    with pytest.raises(InputError, match="'prediction_type' stands there twice"):
        fields.read(path)

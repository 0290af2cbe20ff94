"""What a scheduler's description leaves to defaults and decides images is told, and only that."""

import pytest

from bench.models.sources import fields
from bench.models.sources.scheduler_config import FIELDS, SCHEDULERS
from bench.models.sources.scheduler_defaults import assumed

BETAS = "num_train_timesteps 1000, beta_start 0.0001, beta_end 0.02, beta_schedule linear"
DEFAULTS = "diffusers' defaults, FILE does not say"


def told(name="DDPMScheduler", predicts=None, clips=True, learns=False, **said):
    return assumed({"_class_name": name, **said}, "FILE", predicts, clips, learns)


def test_a_description_that_says_nothing():
    first, second = told()
    assert first == "predicts epsilon: FILE does not say (--set predicts=...)"
    assert second == (
        f"{BETAS}, rescale_betas_zero_snr false, clip_sample true, clip_sample_range 1.0, "
        f"thresholding false, variance_type fixed_small: {DEFAULTS}"
    )


@pytest.mark.parametrize("name", sorted(set(SCHEDULERS.values())))
def test_a_complete_description_leaves_nothing_of_its_class(name):
    usual = {k: v for k, v in fields.defaults(name).items() if k in FIELDS}
    lines = told(name, **usual)
    assert not [line for line in lines if "defaults" in line or "predicts epsilon" in line]
    assert ("the predicted x_0 is clamped to [-1, 1]: FILE does not say" in lines) == (
        "clip_sample" not in usual
    )


def test_the_prediction_is_told_by_any_of_its_words():
    for said in ({"prediction_type": "epsilon"}, {"predict_epsilon": True}):
        assert not [line for line in told(**said) if "predicts" in line]
    assert not [line for line in told(predicts="sample") if "predicts" in line]
    assert "predicts epsilon" in told(prediction_type=None)[0]


def test_what_decides_nothing_beside_the_rest_is_left_out():
    (_, line) = told(beta_schedule="squaredcos_cap_v2")
    assert "beta" not in line.replace("rescale_betas", "")
    (_, line) = told(num_train_timesteps=2, trained_betas=[0.1, 0.2])
    assert "beta" not in line.replace("rescale_betas", "")
    (_, line) = told(clip_sample=False)
    assert "clip" not in line
    (_, line) = told(thresholding=True)
    assert "clip" not in line
    assert "dynamic_thresholding_ratio 0.995, sample_max_value 1.0" in line
    (_, line) = told(learns=True)
    assert "variance" not in line


def test_what_a_class_does_not_have_is_told_as_what_bench_does():
    lines = told("PNDMScheduler", clips=False)
    assert lines[1:] == [
        f"{BETAS}: {DEFAULTS}",
        "the predicted x_0 is not clamped: FILE does not say",
        "variance fixed_small, of ddpm's steps: FILE does not say",
    ]
    assert "beta_start 0.00085, beta_end 0.012" in told("HeunDiscreteScheduler")[1]

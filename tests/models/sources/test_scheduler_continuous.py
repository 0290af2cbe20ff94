"""Descriptions of EDM's schedulers, of flows and of Euler's at continuous timesteps."""

import inspect
import json
import math

import numpy as np
import pytest

from bench.core.errors import InputError
from bench.models.sources import fields, scheduler_config
from bench.models.sources.scheduler_config import understand
from bench.models.sources.scheduler_defaults import assumed
from bench.models.sources.scheduler_fields import CONTINUOUS, EDM, FIELDS, FLOWS
from bench.system.quiet import quiet_import

with quiet_import():
    import diffusers

EULER, FLOW = "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"
CONTINUOUS_V = {"timestep_type": "continuous", "prediction_type": "v_prediction"}
FLOW_SIGMAS = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}


def said(name, **changes):
    return {"_class_name": name, "_diffusers_version": "0.35.0", **changes}


@pytest.mark.parametrize("name", [*EDM, *FLOWS])
def test_every_argument_of_the_installed_class_stands_in_the_table(name):
    assert set(fields.defaults(name)) == set({**EDM, **FLOWS}[name])
    assert set(CONTINUOUS) <= set(FIELDS)


@pytest.mark.parametrize("name", [*EDM, *FLOWS])
def test_what_a_class_saves_by_default_is_understood(name, tmp_path):
    made = getattr(diffusers, name)()
    made.save_pretrained(tmp_path)
    found = understand(json.loads((tmp_path / "scheduler_config.json").read_text()), "FILE")
    assert found.predicts == ("edm" if name in EDM else "flow_prediction")
    assert (len(found.levels), found.clips, found.thresholds) == (1000, False, None)
    # A complete description leaves nothing to assumptions, an empty one all that is used.
    assert assumed(said(name, **fields.defaults(name)), "FILE", None, True, False) in ([], [
        "shift_terminal"])  # fmt: skip
    (line,) = assumed(said(name), "FILE", None, True, False)
    assert line.startswith("sigma_min 0.002, sigma_max 80.0" if name in EDM else "num_train")


def test_levels_of_edm():
    found = understand(said("EDMEulerScheduler", sigma_max=50.0, rho=3.0, sigma_data=1.0), "FILE")
    levels = found.levels
    assert (levels.convention, levels.told, levels.continuous) == ("exploding", "c_noise", True)
    assert levels.noise[0] == pytest.approx(0.002) and levels.noise[-1] == pytest.approx(50)
    assert levels.noise[500] ** (1 / 3) == pytest.approx(
        0.002 ** (1 / 3) + 500 / 999 * (50 ** (1 / 3) - 0.002 ** (1 / 3))
    )
    assert found.sigma_data == 1.0 and levels.at(999).told == pytest.approx(math.log(50) / 4)
    negative = understand(said("EDMEulerScheduler", prediction_type="v_prediction"), "FILE")
    assert (negative.predicts, negative.sigma_data) == ("v_prediction", 0.5)
    even = understand(said("EDMEulerScheduler", sigma_schedule="exponential"), "FILE").levels
    assert np.allclose(np.diff(np.log(even.noise)), math.log(80 / 0.002) / 999)
    bounded = said("EDMDPMSolverMultistepScheduler", thresholding=True, sample_max_value=2.0)
    assert understand(bounded, "FILE").thresholds == (0.995, 2.0)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        (FLOW, {"shift": 3.0}),
        ("FlowMatchHeunDiscreteScheduler", {"shift": 3.0}),
        ("DPMSolverMultistepScheduler", {**FLOW_SIGMAS, "flow_shift": 3.0}),
        ("UniPCMultistepScheduler", {**FLOW_SIGMAS, "flow_shift": 3.0}),
    ],
)
def test_levels_of_a_flow(name, changes):
    found = understand(said(name, **changes), "FILE")
    assert (found.levels.convention, found.levels.told) == ("flow", "timestep")
    assert found.predicts == "flow_prediction" and "shift 3" in found.schedule
    # The table of FlowMatchEulerDiscreteScheduler, from the most noise to the least.
    sigmas = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0).sigmas.numpy()[::-1]
    assert np.allclose(found.levels.noise, sigmas)
    plain = understand(said(name, **{**changes, "shift" if name in FLOWS else "flow_shift": 1.0}),
                       "FILE")  # fmt: skip
    assert plain.levels.noise[499] == pytest.approx(0.5)


def test_continuous_timesteps_of_euler():
    """As Stable Video Diffusion has them: c_noise of the sigmas, in a range of their own."""
    made = diffusers.EulerDiscreteScheduler(**CONTINUOUS_V)
    found = understand(said(EULER, **CONTINUOUS_V), "FILE")
    assert np.allclose(found.levels.noise, np.sqrt(1 / made.alphas_cumprod.numpy() - 1), rtol=1e-3)
    assert (found.levels.told, found.sigma_data, found.clips) == ("c_noise", 1.0, False)
    ranged = {"use_karras_sigmas": True, "sigma_min": 0.002, "sigma_max": 700.0}
    made = diffusers.EulerDiscreteScheduler(**CONTINUOUS_V, **ranged)
    made.set_timesteps(7)
    found = understand(said(EULER, **CONTINUOUS_V, **ranged), "FILE")
    walk = found.levels.steps(7, "karras")[:-1]
    assert [level.noise for level in walk] == pytest.approx(made.sigmas[:-1].tolist(), rel=1e-4)
    assert [level.told for level in walk] == pytest.approx(made.timesteps.tolist(), rel=1e-4)
    # diffusers leaves timesteps as they are where it is no v that is predicted.
    plain = understand(said(EULER, timestep_type="continuous"), "FILE")
    assert plain.levels.is_schedule and plain.predicts == "epsilon"


@pytest.mark.parametrize(
    ("description", "words"),
    [
        (said(FLOW, use_dynamic_shifting=True), ("use_dynamic_shifting", "size of the image")),
        (said(FLOW, shift_terminal=0.02), ("shift_terminal = 0.02", "last noise level")),
        (said(FLOW, invert_sigmas=True), ("invert_sigmas",)),
        (said(FLOW, shift="3"), ("shift must be a positive number", "'3'")),
        (said(FLOW, num_train_timesteps=0), ("num_train_timesteps",)),
        (said(FLOW, a_field_of_tomorrow=3), ("a_field_of_tomorrow = 3", "not known")),
        (said("EDMEulerScheduler", sigma_min=90.0), ("sigma_min 90", "sigma_max 80")),
        (said("EDMEulerScheduler", sigma_schedule="cosine"), ("sigma_schedule = 'cosine'",)),
        (said("EDMEulerScheduler", prediction_type="sample"), ("prediction_type = 'sample'",)),
        (said("EDMEulerScheduler", prediction_type=["epsilon"]), ("prediction_type",)),
        (said("EDMEulerScheduler", sigma_data=-1), ("sigma_data must be a positive number",)),
        (
            said(EULER, **CONTINUOUS_V, num_train_timesteps=2, trained_betas=[0.1, 1.0]),
            ("no signal at the last timestep",),
        ),
        (said("PNDMScheduler", **CONTINUOUS_V), ("timestep_type", "does not have")),
        (said("PNDMScheduler", **FLOW_SIGMAS), ("use_flow_sigmas", "does not have")),
        (
            said(EULER, **CONTINUOUS_V, use_karras_sigmas=True, sigma_max=1e-4),
            ("sigma_min", "is not below sigma_max"),
        ),
        (said("UniPCMultistepScheduler", **FLOW_SIGMAS, use_dynamic_shifting=True), ("dynamic",)),
    ],
)  # fmt: skip
def test_what_is_not_honoured_is_refused_by_name(description, words):
    with pytest.raises(InputError) as caught:
        understand(description, "FILE")
    for word in ("FILE", *words):
        assert word in str(caught.value)


def test_the_word_of_the_card_must_be_the_same():
    assert understand(said(FLOW), "FILE", "flow_prediction").predicts == "flow_prediction"
    with pytest.raises(InputError, match="the card says predicts: velocity, FILE says flow"):
        understand(said(FLOW), "FILE", "velocity")


def test_choices_of_a_sampler_do_not_matter_and_the_card_keeps_what_does():
    chosen = {"use_karras_sigmas": True, "stochastic_sampling": True, "max_shift": 2.0}
    description = said(FLOW, shift=3.0, **chosen)
    assert np.array_equal(
        understand(description, "FILE").levels.noise,
        understand(said(FLOW, shift=3.0), "FILE").levels.noise,
    )
    kept = scheduler_config.relevant(description)
    assert kept == {"_class_name": FLOW, "shift": 3.0}
    ranged = {**CONTINUOUS_V, "use_karras_sigmas": True, "sigma_max": 700.0}
    kept = scheduler_config.relevant(said(EULER, **ranged, steps_offset=1))
    assert kept == {"_class_name": EULER, **ranged}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"timestep_spacing": "leading", "steps_offset": 1}, "leading, offset 1"),
        ({"timestep_spacing": "trailing"}, "trailing"),
        ({"use_karras_sigmas": True}, "karras sigmas"),
        ({"use_exponential_sigmas": True}, "exponential sigmas"),
    ],
)
def test_the_steps_of_the_scheduler_itself_are_told(changes, words):
    assert understand(said(EULER, **changes), "FILE").own_steps == words
    assert inspect.signature(diffusers.EulerDiscreteScheduler).parameters.keys() >= {*changes}

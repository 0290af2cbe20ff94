"""Flags of guidance and spacing, and the fields of a draw that they set."""

import math

import pytest

from bench.cli.guiding import drawn
from bench.core.cell import Draw
from bench.core.errors import InputError
from bench.evaluation.speed import _inputs


def test_the_interval_in_terms_of_sigma():
    assert drawn(None, None) == {} and drawn(2.0, None) == {"guidance": 2.0}
    draw = Draw(**drawn(2.0, "0.28,2.9"))
    sigmas = [s / (1 - s) for s in (draw.guided_from, draw.guided_to)]
    assert sigmas == pytest.approx([0.28, 2.9])
    assert draw.guidance_words == (
        "classifier-free, scale 2, where noise / signal is above 0.28 and at most 2.9"
    )
    open_ended = Draw(**drawn(2.0, "0.5,inf"))
    assert open_ended.guided_to == 1 and open_ended.scale(0.0, 1.0) == 2
    assert open_ended.guidance_words.endswith("is above 0.5")
    assert Draw(**drawn(3.0, "0,2")).guidance_words.endswith("is at most 2")
    assert Draw().guidance_words == "none"
    assert math.isclose(Draw(**drawn(0.5, "0,1")).guided_to, 0.5)


@pytest.mark.parametrize("interval", ["1", "2,1", "a,b", "-1,2", "1,1", "nan,2", "1,2,3", ""])
def test_no_interval(interval):
    with pytest.raises(InputError, match="--guidance-interval must be two numbers"):
        drawn(2.0, interval)


@pytest.mark.parametrize("guidance", [None, 1.0])
def test_an_interval_of_no_guidance(guidance):
    with pytest.raises(InputError, match="name its scale"):
        drawn(guidance, "0.28,2.9")


def test_wrong_flags_in_one_line(bench, cards):
    words = ("run", "--cards", str(cards), "--bits", "8")
    for wrong, told in {
        ("--spacing", "even"): "unknown spacing 'even'",
        ("--guidance-interval", "1,2"): "name its scale",
        ("--guidance", "2"): "this one has no classes: leave --guidance out",
    }.items():
        code, stdout, error = bench(*words, *wrong)
        assert (code, stdout) == (2, "") and told in error.splitlines()[-1]


def test_a_guided_pass_is_of_twice_as_many_images():
    """What `bench speed --guidance` times."""
    import torch

    from bench.core.denoiser import Denoiser
    from bench.core.noise_levels import NoiseLevels

    levels = NoiseLevels.flow(told="time")
    denoiser = Denoiser(None, levels, "velocity", (1, 4, 4), classes=3, null_label=0)
    x, told, labels = _inputs(denoiser, Draw(batch=5, guidance=2.0))
    assert x.shape == (10, 1, 4, 4) and torch.equal(x[:5], x[5:])
    assert labels.tolist() == [1] * 5 + [0] * 5 and told.shape == (10,)
    assert _inputs(denoiser, Draw(batch=5))[0].shape == (5, 1, 4, 4)
    plain = Denoiser(None, levels, "velocity", (1, 4, 4))
    with pytest.raises(InputError, match="has no classes: leave --guidance out"):
        _inputs(plain, Draw(batch=5, guidance=2.0))

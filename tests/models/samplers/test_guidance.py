"""Classifier-free guidance: two predictions of one evaluation, and a label that is never drawn."""

import pytest
import torch

from bench.core.cell import Draw
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.noise_levels import NoiseLevels
from bench.models.samplers.ddim import ddim
from bench.models.samplers.drawing import Batch
from bench.models.samplers.noise import image_generators
from bench.models.samplers.trajectories import Trajectories
from bench.models.schedules import alpha_bar

LEVELS = NoiseLevels.discrete(alpha_bar("linear"))


def made(seen=None, **changes):
    """Predicts label / 10 as the noise."""

    def model(x, codes):
        if seen is not None:
            seen.append((x, codes))
        return (codes // 1000 / 10).view(-1, 1, 1, 1).expand_as(x)

    return Denoiser(model, LEVELS, "epsilon", (1, 4, 4), classes=3, clips=False, **changes)


def test_one_evaluation_of_both_labels():
    seen, x, y = [], torch.randn(2, 1, 4, 4), torch.tensor([0, 2])
    found = made(seen, null_label=3).guided(x, LEVELS.at(500), y, 2.0)
    ((given, codes),) = seen
    assert torch.equal(given, torch.cat([x, x])) and codes.tolist() == [500, 2500, 3500, 3500]
    # 0.3 + 2 (y / 10 - 0.3)
    assert found.epsilon[:, 0, 0, 0].tolist() == pytest.approx([-0.3, 0.1])
    plain = made(null_label=3).denoise(x, LEVELS.at(500), y)
    alone = made(null_label=3).guided(x, LEVELS.at(500), y, 1.0)
    assert torch.equal(plain.x_0, alone.x_0) and torch.equal(plain.epsilon, alone.epsilon)


@pytest.mark.parametrize("null", [0, 1, 3])
def test_the_null_label_is_never_drawn(null):
    generators = image_generators("images", 0, range(60))
    batch = Batch(made(null_label=null), ddim, generators, Draw(steps=2, guidance=1.5))
    assert sorted(set(batch.labels.tolist())) == [k for k in range(4) if k != null]


def test_the_interval_and_the_calibration():
    seen, draw = [], Draw(steps=4, batch=2, guidance=3.0, guided_from=0.3, guided_to=0.9)
    denoiser = made(null_label=3)
    shares = [level.noise / (level.signal + level.noise) for level in LEVELS.steps(4, "trailing")]
    scales = [draw.scale(level.signal, level.noise) for level in LEVELS.steps(4, "trailing")]
    assert scales == [3.0 if 0.3 < share <= 0.9 else 1.0 for share in shares]
    assert {1.0, 3.0} == set(scales)

    def model(x, codes):
        seen.append(len(x))
        return 0.1 * x

    trajectories = Trajectories(denoiser, draw, ddim, count=2)
    trajectories(model)
    # The graph is exported for the images with labels and without, and calibrated by both.
    assert trajectories.shape == (4, 1, 4, 4) and seen == [4] * 4


def test_guidance_is_refused_where_it_means_nothing():
    generators, draw = image_generators("a", 0, [0]), Draw(guidance=2.0)
    with pytest.raises(InputError, match="has no null label: leave --guidance out"):
        Batch(made(), ddim, generators, draw)
    plain = Denoiser(None, LEVELS, "epsilon", (1, 4, 4))
    with pytest.raises(InputError, match="has no classes: leave --guidance out"):
        Batch(plain, ddim, generators, draw)
    for changes in ({"guidance": -1.0}, {"guided_from": 0.5, "guided_to": 0.4}):
        with pytest.raises(InputError, match="guidance"):
            Draw(**changes)


def test_the_interval_excludes_its_lower_end():
    """As Kynkäänniemi et al. 2024 have it, in terms of sigma."""
    draw = Draw(guidance=3.0, guided_from=0.25, guided_to=0.75)
    assert [draw.scale(1.0, sigma) for sigma in (0.1, 1 / 3, 1.0, 3.0, 3.1)] == [1, 1, 3, 3, 1]


def test_the_null_label_is_never_drawn_beside_levels_of_a_flow():
    """Labels of the network are those of images, then the null label, of the same number."""
    seen = []

    def model(x, told, labels):
        seen.append(labels.tolist())
        return 0 * x

    flow = NoiseLevels.flow(told="time")
    denoiser = Denoiser(model, flow, "velocity", (1, 4, 4), classes=3, null_label=1)
    generators = image_generators("images", 0, range(40))
    batch = Batch(denoiser, ddim, generators, Draw(steps=2, guidance=1.5))
    batch.latents()
    assert [labels[40:] for labels in seen] == [[1] * 40] * 2
    assert {*seen[0][:40]} == {0, 2, 3}

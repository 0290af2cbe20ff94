"""Does a description fit? Exact networks of Gaussian images, for which the answer is known, and
the shipped checkpoints, which were really trained."""

import math
import sys
from dataclasses import replace

import pytest
import torch
from helpers.fashion import fashion
from helpers.tiny import TINY_CONFIG, write_card, write_cards
from torch import nn

from bench.core import extensions
from bench.core.cell import Checkpoint
from bench.core.denoiser import PREDICTED, Denoiser, to_model_range
from bench.core.noise_levels import NoiseLevels
from bench.evaluation import fits
from bench.models import plausibility
from bench.models.cards import card_file, load_cards, select, verify
from bench.models.schedules import SCHEDULES, alpha_bar

CARD = Checkpoint("exact", "f", "baseline", "diffusers", "", "", "fashion-mnist")


class Exact(nn.Module):
    """The best denoiser of images x_0 ~ N(0, C) by a schedule, in the axes of C."""

    def __init__(self, images, curve, predicts):
        super().__init__()
        flat = images.flatten(1)
        values, axes = torch.linalg.eigh(flat.T @ flat / len(flat))
        self.values, self.axes, self.curve, self.predicts = values.clamp(0), axes, curve, predicts

    def forward(self, x, t):
        a = self.curve[t].view(-1, 1)
        gain = a.sqrt() * self.values / (a * self.values + 1 - a)
        x_t = x.flatten(1)
        x_0 = (x_t @ self.axes * gain) @ self.axes.T
        noise = (x_t - a.sqrt() * x_0) / (1 - a).sqrt()
        found = {
            "sample": x_0,
            "epsilon": noise,
            "v_prediction": a.sqrt() * noise - (1 - a).sqrt() * x_0,
        }
        return found[self.predicts].reshape(x.shape)


@pytest.fixture(scope="module")
def images():
    return to_model_range(extensions.lookup("datasets", "fashion-mnist")("test")[:2000])


def exact(images, schedule, predicts):
    curve = alpha_bar(schedule)
    return Denoiser(
        Exact(images, curve, predicts), NoiseLevels.discrete(curve), predicts, (1, 28, 28)
    )


@fashion
def test_the_trivial_predictor_has_one(images):
    """A network that gives the best multiple of x_t, whatever it is said to predict."""
    x_0, curve = images[:8], alpha_bar("cosine")
    power = float(x_0.square().mean())

    class Multiple(nn.Module):
        def forward(self, x, t):
            a = float(curve[t[0]])
            x_0 = math.sqrt(a) * power / (a * power + 1 - a) * x
            return (x - math.sqrt(a) * x_0) / math.sqrt(1 - a)

    denoiser = Denoiser(Multiple(), NoiseLevels.discrete(curve), "epsilon", (1, 28, 28))
    assert plausibility.losses(denoiser, x_0)["epsilon"].loss == pytest.approx(1, abs=0.02)


@fashion
@pytest.mark.parametrize("predicts", PREDICTED["preserving"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_true_description_fits_best(images, schedule, predicts):
    search = plausibility.Search(CARD, exact(images, schedule, predicts), images[:8])
    assert search.own.loss < 0.5
    assert plausibility.clearly_better(search.own, search.candidates()) == []


@fashion
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("predicts", PREDICTED["preserving"])
def test_each_wrong_description_is_told_from_the_true_one(images, schedule, predicts):
    true = exact(images, schedule, predicts)
    for other in SCHEDULES:
        for kind in PREDICTED["preserving"]:
            if (other, kind) == (schedule, predicts):
                continue
            curve = NoiseLevels.discrete(alpha_bar(other))
            wrong = replace(true, levels=curve, predicts=kind)
            search = plausibility.Search(CARD, wrong, images[:8])
            better = plausibility.clearly_better(search.own, search.candidates())
            changes = {"schedule": schedule} if other != schedule else {}
            changes |= {"predicts": predicts} if kind != predicts else {}
            # Schedules may lie close to each other for a kind of network; kinds never do.
            close = kind == predicts and not better
            assert close or changes in [candidate.changes for candidate in better], (other, kind)
            if close:
                best = min(search.candidates(), key=lambda candidate: candidate.loss)
                assert best.changes == changes, other


@pytest.fixture(scope="module")
def shipped():
    """A checkpoint that was really trained."""
    (card,) = select(load_cards(card_file(None)), ["fashion-unet-ema"])
    return card


def fit(card, **changes):
    card = replace(card, config=plausibility.changed(card.config, changes))
    return fits.of(card, lambda: extensions.lookup("sources", card.source)(card))


@fashion
def test_a_shipped_checkpoint_fits(shipped):
    found = fit(shipped)
    assert (found.verdict, found.better, found.images) == (fits.FITS, {}, 8)
    assert found.ratio == pytest.approx(0.14, abs=0.02)
    assert found.description == {
        "schedule": "cosine, 1000 timesteps, alpha_bar 1 to 2.4e-09",
        "prediction": "epsilon",
        "predicted x_0": "clamped to [-1, 1]",
        "variance": "fixed_small",
    }
    assert fits.tell([found], [shipped]) == []


@fashion
@pytest.mark.parametrize(
    ("changes", "verdict", "better"),
    [
        ({"schedule": "linear"}, fits.OTHER, "schedule cosine"),
        pytest.param(
            *({"schedule": "scaled_linear"}, fits.OTHER, "schedule cosine"), marks=pytest.mark.slow
        ),
        pytest.param(
            *({"schedule": "sigmoid"}, fits.OTHER, "schedule cosine"), marks=pytest.mark.slow
        ),
        ({"predicts": "sample"}, fits.WORSE, "predicts epsilon"),
        pytest.param(
            *({"predicts": "v_prediction"}, fits.OTHER, "predicts epsilon"), marks=pytest.mark.slow
        ),
        pytest.param(*({"timesteps": 4000}, fits.OTHER, "timesteps 1000"), marks=pytest.mark.slow),
        ({"network.unet.norm_num_groups": 16}, fits.WORSE, "network.unet.norm_num_groups 8"),
    ],
)
def test_each_wrong_field_of_a_trained_network_is_named(shipped, changes, verdict, better):
    found = fit(shipped, **changes)
    assert found.verdict == verdict
    assert next(iter(found.better)) == better
    assert found.better[better] == pytest.approx(0.14, abs=0.02)


@fashion
def test_a_random_network_is_worse_than_none_and_the_fit_is_kept(tmp_path, cache):
    (card,) = load_cards(write_cards(tmp_path, [write_card(tmp_path)]))
    card = verify(card)
    found = fits.of(card, lambda: extensions.lookup("sources", card.source)(card))
    assert (found.verdict, found.better) == (fits.WORSE, {})
    assert found.ratio > 2
    assert fits.of(replace(card, name="other"), None) == replace(found, checkpoint="other")
    (kept,) = (cache / "fits").glob("*.json")
    kept.write_text(kept.read_text().replace("worse than no network", "fits"))
    assert fits.of(card, lambda: extensions.lookup("sources", card.source)(card)) == found


def test_alternatives_of_a_source_are_fields_of_its_config():
    for name in ("safetensors", "adm"):
        module = sys.modules[extensions.lookup("sources", name).__module__]
        for path in module.ALTERNATIVES:
            assert path.split(".")[0] in module.FIELDS


def test_changes_of_a_config_leave_the_original():
    config = {"a": {"b": 1}, "c": 2}
    assert plausibility.changed(config, {"a.b": 3, "d.e": 4}) == {
        "a": {"b": 3},
        "c": 2,
        "d": {"e": 4},
    }
    assert config == {"a": {"b": 1}, "c": 2}
    assert plausibility.at(config, "a.b") == 1 and plausibility.at(config, "a.x.y") is None


def test_without_the_real_images_nothing_is_checked(tmp_path):
    entry = write_card(tmp_path, dataset="cifar10")
    (card,) = load_cards(write_cards(tmp_path, [entry]))
    found = fits.of(card, lambda: extensions.lookup("sources", card.source)(card))
    assert (found.verdict, found.ratio) == (fits.UNKNOWN, None)
    assert "cifar10 not found" in found.reason
    # What is said of the description is kept: no network is loaded for it again.
    assert fits.of(card, lambda: pytest.fail("loaded")) == found
    (line,) = fits.tell([found, replace(found, checkpoint="b")], [card])
    assert line.startswith("tiny, b: not checked whether the description fits the weights (cifar")
    fits.require([found], [replace(card, force=False)], force=False)


@fashion
def test_images_of_another_shape_are_no_check(tmp_path):
    config = TINY_CONFIG | {"shape": [1, 56, 56]}
    (card,) = load_cards(write_cards(tmp_path, [write_card(tmp_path, config=config)]))
    found = fits.of(card, lambda: extensions.lookup("sources", card.source)(card))
    assert "fashion-mnist have shape [1, 28, 28], the network's [1, 56, 56]" in found.reason


def test_only_what_fits_well_itself_is_named():
    """A wrong description of a wrong network may come near 0.9, which says nothing."""
    own, poor = (
        plausibility.Candidate({}, 1.2),
        plausibility.Candidate({"schedule": "sigmoid"}, 0.89),
    )
    good = plausibility.Candidate({"predicts": "epsilon"}, 0.45)
    assert plausibility.clearly_better(own, [poor]) == []
    assert plausibility.clearly_better(own, [poor, good]) == [good]

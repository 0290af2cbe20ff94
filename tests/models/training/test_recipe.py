import dataclasses

import pytest

from bench.core.errors import InputError
from bench.models.training.recipe import Recipe


def test_fields_are_set_from_text(recipe):
    settings = {
        "rho": "0.5",
        "learning_rate": "1e-3",
        "ema_decays": "[0.9, 0.99]",
        "weight_decay": "0",
        "flip": "true",
        "method": "ip+sam",
        "network.unet.dropout": "0.1",
    }
    changed = recipe.changed(settings)
    assert (changed.rho, changed.learning_rate, changed.weight_decay) == (0.5, 1e-3, 0.0)
    assert changed.ema_decays == (0.9, 0.99)
    assert recipe.changed({"ema_decays": "0.5"}).ema_decays == (0.5,)
    assert changed.flip is True
    assert changed.sharpness_aware
    assert changed.perturbation == recipe.gamma
    assert changed.network["unet"]["dropout"] == 0.1
    assert "dropout" not in recipe.network["unet"]


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("rhoo", "1", "no such field"),
        ("name", "a", "no such field"),
        ("rho.x", "1", "no such field"),
        ("network", "3", "no such field"),
        ("network.unit.dropout", "1", "no mapping 'unit'"),
        ("rho", "wide", "must be like"),
        ("flip", "1", "must be like"),
        ("updates", "true", "must be like"),
        ("updates", "2.5", "must be like"),
        ("rho", "true", "must be like"),
        ("rho", "-1", "at least 0"),
        ("rho", ".inf", "neither text nor number"),
        ("batch", "0", "above 0"),
        ("method", "swa", "one of baseline"),
        ("ema_decays", "1.0", r"\[0, 1\)"),
        ("ema_decays", "[]", r"\[0, 1\)"),
        ("swa_start", "1.0", r"\[0, 1\)"),
        ("rho", "[", "cannot read"),
        ("rho", "no", "must be like"),
        ("timesteps", "1", "at least 2"),
        ("seed", "9" * 30, "more than 64 bits"),
        ("updates", "9" * 500, "more than 64 bits"),
    ],
)
def test_bad_settings_are_named(recipe, name, text, word):
    with pytest.raises(InputError, match=word):
        recipe.changed({name: text})


def test_cost_and_steps(recipe):
    sam = dataclasses.replace(recipe, method="sam")
    assert (recipe.gradients, sam.gradients) == (1, 2)
    assert sam.steps == recipe.steps == 6
    assert dataclasses.replace(sam, equal="compute").steps == 3
    assert dataclasses.replace(recipe, equal="compute").steps == 6


def test_rate_warms_up_then_stays(recipe):
    rates = [recipe.rate(update) for update in range(6)]
    assert rates == pytest.approx([5e-4, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3])
    low = dataclasses.replace(recipe, swa_rate=0.5)
    assert [low.rate(update) for update in range(6)] == pytest.approx(
        [5e-4, 1e-3, 1e-3] + [5e-4] * 3
    )


def test_cosine_cycles_end_at_the_lowest_rate(recipe):
    cyclic = dataclasses.replace(
        recipe, updates=8, swa_every=2, swa_schedule="cosine", swa_rate=0.1
    )
    middle = 1e-3 * (0.1 + 0.9 / 2)
    expected = [middle, 1e-4, middle, 1e-4]
    assert [cyclic.rate(update) for update in range(4, 8)] == pytest.approx(expected)
    assert [done for done in range(9) if cyclic.averages_after(done)] == [6, 8]


def test_plain_values_rebuild_the_recipe(recipe):
    data = recipe.to_dict()
    rebuilt = Recipe(**data | {"shape": tuple(data["shape"]), "ema_decays": (0.9,)})
    assert rebuilt == recipe


def test_a_recipe_takes_the_size_and_channels_of_other_images(recipe):
    fitted = dataclasses.replace(recipe, learns_variance=False).fitted("folder:x@32", (3, 32, 32))
    unet = fitted.network["unet"]
    assert (fitted.dataset, fitted.shape) == ("folder:x@32", (3, 32, 32))
    patch = recipe.network["patch"]
    expected = (32 // patch, 3 * patch**2, 3 * patch**2)
    assert (unet["sample_size"], unet["in_channels"], unet["out_channels"]) == expected
    both = dataclasses.replace(recipe, learns_variance=True).fitted("cifar10", (3, 32, 48))
    assert both.network["unet"]["out_channels"] == 6 * patch**2
    assert both.network["unet"]["sample_size"] == [32 // patch, 48 // patch]
    assert recipe.shape != fitted.shape

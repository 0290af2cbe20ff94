import pytest
import torch
from helpers.tiny import TINY_CONFIG, write_card, write_cards
from safetensors.torch import load_file, save_file

from bench.core.errors import InputError
from bench.models.cards import load_cards
from bench.models.sources.weights_file import load


def card(folder, **changes):
    (found,) = load_cards(write_cards(folder, [write_card(folder, **changes)]))
    return found


def test_loads_strictly_and_without_gradients(tmp_path):
    denoiser = load(card(tmp_path))
    assert denoiser.shape == (1, 28, 28) and denoiser.predicts == "epsilon"
    assert len(denoiser.alpha_bar) == 1000 and not denoiser.model.training
    stored = load_file(tmp_path / "tiny.safetensors")
    for name, value in denoiser.model.state_dict().items():
        assert torch.equal(value, stored[name])
    x = torch.randn(2, 1, 28, 28)
    assert denoiser.model(x, torch.zeros(2, dtype=torch.int64)).shape == x.shape


def change_weights(folder, function):
    path = folder / "tiny.safetensors"
    weights = load_file(path)
    function(weights)
    save_file(weights, path)


def poison(weights):
    next(iter(weights.values())).view(-1)[0] = float("nan")


@pytest.mark.parametrize(
    ("function", "word"),
    [
        (lambda weights: weights.popitem(), "do not fit"),
        (lambda weights: weights.update(extra=torch.zeros(1)), "do not fit"),
        (poison, "NaN"),
    ],
)
def test_refuses_wrong_weights(tmp_path, function, word):
    found = card(tmp_path)
    change_weights(tmp_path, function)
    with pytest.raises(InputError, match=word) as caught:
        load(found)
    assert "\n" not in str(caught.value)


def test_refuses_a_truncated_file(tmp_path):
    found = card(tmp_path)
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="no whole safetensors"):
        load(found)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"network": None}, "network"),
        ({"schedule": "square"}, "schedule"),
        ({"schedul": "linear"}, "unknown field schedul of source .*; did you mean 'schedule'"),
        ({"attention_order": "new"}, "unknown field attention_order of source safetensors"),
        ({"colour": "red"}, "unknown field colour .*; known: network, shape, schedule"),
        ({"network": {"patch": 1, "unet": {"colour": 3}}}, "cannot be built"),
        ({"network": {"patch": 1, "unet": {"class_embed_type": "identity"}}}, "class_embed_type"),
        ({"network": {"patch": 1, "unet": {"time_embedding_type": "fourier"}}}, "fourier"),
    ],
)
def test_refuses_an_incomplete_config(tmp_path, change, word):
    config = {k: v for k, v in (TINY_CONFIG | change).items() if v is not None}
    with pytest.raises(InputError, match=word):
        load(card(tmp_path, config=config))

import math

import pytest
import torch
from helpers.tiny import TINY_NETWORK

from bench.core.denoiser import diffuse, to_model_range
from bench.core.errors import InputError
from bench.models.networks import build_network, check_network, layer_outputs
from bench.models.schedules import alpha_bar
from bench.system.random import seeded


def test_patches_are_an_orthonormal_rearrangement():
    class Identity(torch.nn.Module):
        def forward(self, x, t, return_dict):
            assert x.shape == (2, 4, 14, 14)
            return (x,)

    network = build_network(TINY_NETWORK)
    network.unet = Identity()
    x = torch.randn(2, 1, 28, 28)
    assert torch.equal(network(x, torch.zeros(2)), x)


def test_cosine_schedule_follows_its_formula():
    def f(t):
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    schedule = alpha_bar("cosine")
    for t in (0, 250, 500, 900):
        assert schedule[t].item() == pytest.approx(f(t + 1) / f(0), rel=1e-3)


def test_linear_schedule_ends_where_ho_et_al_say():
    assert alpha_bar("linear")[0].item() == pytest.approx(1 - 1e-4)
    assert alpha_bar("linear")[-1].item() == pytest.approx(4.04e-5, rel=0.01)


def test_diffuse_mixes_by_power():
    x_0, noise = torch.full((2, 1, 1, 1), 3.0), torch.full((2, 1, 1, 1), 5.0)
    x_t = diffuse(x_0, noise, torch.tensor([1.0, 0.36]))
    assert x_t.flatten().tolist() == pytest.approx([3.0, 0.6 * 3 + 0.8 * 5])


def test_model_range():
    values = to_model_range(torch.tensor([0, 255], dtype=torch.uint8))
    assert values.tolist() == [-1.0, 1.0]


def test_seeded_depends_on_every_word():
    draws = {
        torch.randn(1, generator=seeded(*words)).item()
        for words in [("a", 0, 1), ("a", 1, 0), ("b", 0, 1), ("a", 0, 1)]
    }
    assert len(draws) == 3
    assert torch.randn(1, generator=seeded("images", 0, 0)).item() == pytest.approx(
        0.4775242, abs=1e-6
    )


def unet(**changes):
    return {"patch": 2, "unet": TINY_NETWORK["unet"] | changes}


@pytest.mark.parametrize(
    ("config", "word"),
    [
        (TINY_NETWORK | {"dropout": 0.1}, "unknown field dropout"),
        (TINY_NETWORK | {"patch": 0}, "patch must be a positive integer"),
        (TINY_NETWORK | {"patch": True}, "patch must be a positive integer"),
        ({"patch": 2}, "unet must be the arguments"),
        ({"patch": 2, "unet": 5}, "unet must be the arguments"),
        (unet(droput=0.1), "cannot be built .*droput"),
        (unet(norm_num_groups=0), "cannot be built .*ZeroDivisionError"),
        (unet(block_out_channels=[-8, 16]), "cannot be built"),
    ],
)
def test_what_cannot_be_built_is_one_line(config, word):
    with pytest.raises(InputError, match=word) as raised:
        build_network(config)
    assert "\n" not in str(raised.value)


def test_a_network_is_held_against_its_images():
    network = build_network(TINY_NETWORK)
    check_network(network, (1, 28, 28), learns_variance=False)
    with pytest.raises(InputError, match="learns_variance True: set out_channels"):
        check_network(network, (1, 28, 28), learns_variance=True)
    with pytest.raises(InputError, match=r"does not take images of shape \[3, 28, 28\]"):
        check_network(network, (3, 28, 28), learns_variance=False)
    with pytest.raises(InputError, match=r"does not take images of shape \[1, 27, 27\]"):
        check_network(network, (1, 27, 27), learns_variance=False)


def test_outputs_of_the_layers_are_counted_once():
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = torch.nn.Conv2d(1, 3, 3, padding=1), torch.nn.Linear(5, 2)

        def forward(self, x, t):
            return self.last(self.first(x).relu())

    assert layer_outputs(Two(), (torch.zeros(1, 1, 4, 5), torch.zeros(1))) == 3 * 4 * 5 + 3 * 4 * 2

"""The step of weights that are rounded already: found wherever there is one, and nowhere else."""

import pytest
import torch

from bench.quant.steps import own_steps, widest
from bench.system.random import seeded


def limits(bits):
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_widest_step_is_divided_and_not_multiplied_with_an_inverse(bits):
    """As CUDA does where the divisor is a number."""
    weights = torch.randn(2000, 9, generator=seeded("widest"))
    largest, half = weights.abs().amax(1), (2**bits - 1) / 2
    found = widest(largest, bits)
    assert torch.equal(found, (largest.double() / half).float())
    assert not torch.equal(found, largest * torch.tensor(1 / half))


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_every_step_is_found_also_where_codes_do_not_reach_the_ends(bits):
    generator = seeded("steps", bits)
    low, high = limits(bits)
    for reach in {1, max(1, high // 2), high}:
        codes = torch.randint(-reach, reach + 1, (40, 50), generator=generator)
        # A code of 1 in each row: no larger step gives the same values.
        codes[:, 0] = 1
        steps = torch.rand(40, generator=generator) * 0.1 + 1e-3
        weight = codes * steps[:, None]
        found, is_whole = own_steps(weight, (low, high))
        assert is_whole.all()
        assert torch.allclose(found.float(), steps, rtol=1e-6)
        assert torch.equal((weight / found[:, None]).round().long(), codes)


def test_the_lowest_code_has_no_counterpart():
    """-8 is a code of 4 bits and 8 is none."""
    codes = torch.tensor([[-8.0, 7, 1], [8, -7, 1], [-8, 0, 0], [8, 0, 4]])
    found, is_whole = own_steps(codes * 0.1, limits(4))
    assert is_whole.tolist() == [True, False, True, True]
    # The largest step: -8 alone is -1 of a larger one, 8 beside 4 are 2 and 1.
    assert found[[0, 2, 3]].tolist() == pytest.approx([0.1, 0.8, 0.4])


def test_weights_that_are_not_rounded_have_none():
    weight = torch.randn(200, 64, generator=seeded("steps"))
    for bits in (2, 4, 8):
        assert not own_steps(weight, limits(bits))[1].any()
    # Nor have those of more bits, or with an offset.
    codes = torch.randint(-100, 101, (50, 64), generator=seeded("codes"))
    assert not own_steps(codes * 0.01, limits(4))[1].any()
    assert not own_steps(codes.clamp(-7, 7) * 0.01 + 0.003, limits(4))[1].any()


def test_a_thousandth_of_a_step_is_the_bound():
    codes = torch.randint(-7, 8, (20, 30), generator=seeded("codes")).double()
    codes[:, 0] = 7
    for off, whole in ((5e-4, True), (5e-3, False)):
        noisy = codes.clone()
        noisy[:, 1] += off
        assert bool(own_steps(noisy * 0.02, limits(4))[1].all()) is whole


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_what_was_stored_in_half_precision_is_found_at_few_bits(kind):
    codes = torch.randint(-2, 3, (30, 64), generator=seeded("codes"))
    codes[:, 0] = 1
    stored = (codes * 0.0137).to(kind)
    assert own_steps(stored.float(), limits(3), kind)[1].all()
    weight = torch.randn(100, 64, generator=seeded("steps")).to(kind)
    assert not own_steps(weight.float(), limits(8), kind)[1].any()


def test_a_channel_of_zeros_and_one_of_a_single_weight():
    found, is_whole = own_steps(torch.tensor([[0.0], [0.37]]), limits(4))
    assert is_whole.all() and found.tolist() == pytest.approx([1, 0.37])

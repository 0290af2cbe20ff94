import pytest
import torch

from bench.core.errors import InputError
from bench.models.training.timesteps import HISTORY, UNIFORM, LossSecondMoment, Uniform


def generator():
    return torch.Generator().manual_seed(0)


def test_uniform_has_unit_weights():
    t, weight = Uniform(10).draw(1000, generator())
    assert torch.equal(weight, torch.ones(1000))
    assert set(t.tolist()) == set(range(10))


def filled():
    """Timestep k has the constant loss k + 1, after an older, forgotten one."""
    sampler = LossSecondMoment(4)
    steps = torch.arange(4)
    sampler.learn(steps, torch.full((4,), 99.0))
    for _ in range(HISTORY):
        sampler.learn(steps, steps + 1.0)
    return sampler


def test_probabilities_follow_the_second_moment():
    sampler = filled()
    expected = (1 - UNIFORM) * torch.arange(1, 5) / 10 + UNIFORM / 4
    torch.testing.assert_close(sampler.probabilities(), expected.double())


def test_uniform_until_every_history_is_full():
    sampler = LossSecondMoment(4)
    for _ in range(HISTORY):
        sampler.learn(torch.arange(3), torch.ones(3))
    assert sampler.probabilities().tolist() == [0.25] * 4


def test_weights_keep_the_expectation():
    sampler = filled()
    t, weight = sampler.draw(100_000, generator())
    torch.testing.assert_close(weight.mean().item(), 1.0, atol=0.02, rtol=0)
    torch.testing.assert_close((weight * (t + 1)).mean().item(), 2.5, atol=0.02, rtol=0)


def test_state_restores_the_draws():
    sampler, other = filled(), LossSecondMoment(4)
    other.load_state_dict(sampler.state_dict())
    assert torch.equal(sampler.draw(50, generator())[0], other.draw(50, generator())[0])


def test_a_loss_that_is_not_finite_is_named():
    with pytest.raises(InputError, match="lower the learning rate"):
        LossSecondMoment(4).learn(torch.arange(2), torch.tensor([1.0, float("nan")]))

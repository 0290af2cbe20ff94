"""Losses against the formulas, written out by hand."""

import dataclasses

import pytest
import torch

from bench.models.schedules import alpha_bar
from bench.models.training.objective import Batch, Objective

CPU = torch.device("cpu")


def draw(perturbed=False):
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.rand(3, 1, 4, 4, generator=generator) * 2 - 1
    noise, xi = (torch.randn(3, 1, 4, 4, generator=generator) for _ in range(2))
    return Batch(x_0, torch.tensor([0, 400, 900]), noise, xi if perturbed else None, torch.ones(3))


def recorded(calls, answer):
    def network(x, t):
        calls.append(x)
        return answer

    return network


def test_epsilon(recipe):
    batch, calls = draw(), []
    scale = alpha_bar("cosine")[batch.t].view(-1, 1, 1, 1)
    answer = torch.full_like(batch.noise, 0.25)
    losses = Objective(recipe, CPU)(recorded(calls, answer), batch)
    torch.testing.assert_close(
        calls[0], scale.sqrt() * batch.x_0 + (1 - scale).sqrt() * batch.noise
    )
    torch.testing.assert_close(losses, (0.25 - batch.noise).square().mean((1, 2, 3)))


def test_v_prediction_has_its_own_target(recipe):
    batch = draw()
    scale = alpha_bar("cosine")[batch.t].view(-1, 1, 1, 1)
    v = scale.sqrt() * batch.noise - (1 - scale).sqrt() * batch.x_0
    objective = Objective(dataclasses.replace(recipe, predicts="v_prediction"), CPU)
    losses = objective(lambda x, t: v, batch)
    torch.testing.assert_close(losses, torch.zeros(3))


def test_perturbed_input_keeps_its_target(recipe):
    batch, calls = draw(perturbed=True), []
    scale = alpha_bar("cosine")[batch.t].view(-1, 1, 1, 1)
    objective = Objective(dataclasses.replace(recipe, method="ip", gamma=0.5), CPU)
    losses = objective(recorded(calls, batch.noise), batch)
    noise = batch.noise + 0.5 * batch.xi
    torch.testing.assert_close(calls[0], scale.sqrt() * batch.x_0 + (1 - scale).sqrt() * noise)
    torch.testing.assert_close(losses, torch.zeros(3))


@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction"])
def test_learned_variance_adds_its_term_and_leaves_the_mean_alone(recipe, predicts):
    """The gradient of the mean is that of the squared error; the variance gets one of its own."""
    batch = draw()
    hybrid = dataclasses.replace(recipe, learns_variance=True, predicts=predicts)
    answer = torch.zeros(3, 2, 4, 4, requires_grad=True)
    losses = Objective(hybrid, CPU)(lambda x, t: answer, batch)
    losses.sum().backward()
    plain = torch.zeros(3, 1, 4, 4, requires_grad=True)
    simple = Objective(dataclasses.replace(recipe, predicts=predicts), CPU)(
        lambda x, t: plain, batch
    )
    simple.sum().backward()
    assert (losses > simple).all()
    torch.testing.assert_close(answer.grad[:, :1], plain.grad)
    assert (answer.grad[:, 1:] != 0).any()


def test_perfect_prediction_has_no_divergence(recipe):
    """At t > 0 the true mean and the posterior's variance (v = -1) give zero bits."""
    batch = draw()
    batch = dataclasses.replace(batch, t=torch.tensor([1, 400, 900]))
    answer = torch.cat([batch.noise, -torch.ones_like(batch.noise)], dim=1)
    objective = Objective(dataclasses.replace(recipe, learns_variance=True), CPU)
    losses = objective(lambda x, t: answer, batch)
    torch.testing.assert_close(losses, torch.zeros(3), atol=1e-4, rtol=0)

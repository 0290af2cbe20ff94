import pytest
import torch

from bench.models.training.sam import sharpness_aware_gradient


def quadratic(weights, curvature):
    def loss_with_gradient():
        weights.grad = None
        loss = 0.5 * (curvature * weights.square()).sum()
        loss.backward()
        return loss.detach()

    return loss_with_gradient


def test_closed_form_on_a_quadratic():
    """For L = w'Aw / 2 the SAM gradient is A (w + rho Aw / |Aw|)."""
    curvature, start, rho = torch.tensor([1.0, 4.0]), torch.tensor([3.0, 1.0]), 0.5
    weights = torch.nn.Parameter(start.clone())
    loss = sharpness_aware_gradient([weights], quadratic(weights, curvature), rho)
    gradient = curvature * start
    expected = curvature * (start + rho * gradient / gradient.norm())
    assert torch.allclose(weights.grad, expected)
    assert torch.equal(weights.detach(), start)
    assert loss.item() == pytest.approx(6.5)


def test_radius_zero_is_the_plain_gradient_to_the_bit():
    curvature = torch.rand(50)
    weights = torch.nn.Parameter(torch.randn(50))
    quadratic(weights, curvature)()
    plain = weights.grad.clone()
    sharpness_aware_gradient([weights], quadratic(weights, curvature), 0.0)
    assert torch.equal(weights.grad, plain)


def test_unused_parameters_stay():
    weights, unused = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))
    sharpness_aware_gradient([weights, unused], quadratic(weights, torch.ones(2)), 0.1)
    assert unused.grad is None and torch.equal(unused, torch.ones(3))


def test_adaptive_step_is_relative_to_each_weight():
    """ASAM evaluates the gradient at w + rho s^2 g / |s g| with s = |w| + 0.01."""
    curvature, start, rho = torch.tensor([1.0, 4.0]), torch.tensor([3.0, -1.0]), 0.5
    weights = torch.nn.Parameter(start.clone())
    sharpness_aware_gradient([weights], quadratic(weights, curvature), rho, adaptive=True)
    gradient, scale = curvature * start, start.abs() + 0.01
    step = rho * scale.square() * gradient / (scale * gradient).norm()
    assert torch.allclose(weights.grad, curvature * (start + step))
    assert torch.equal(weights.detach(), start)

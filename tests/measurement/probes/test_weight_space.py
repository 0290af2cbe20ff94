import pytest
import torch
from helpers.subjects import quadratic, small

from bench.measurement.probes import weight_space as space


def test_norm_and_scaling():
    vector = {"a": torch.tensor([3.0]), "b": torch.tensor([[4.0]])}
    assert space.norm(vector) == 5.0
    assert space.norm(space.scaled(vector, 0.1)) == pytest.approx(0.1)
    assert space.norm(space.scaled({"a": torch.zeros(2)}, 1.0)) == 0.0


def test_gradient_in_chunks_is_the_gradient():
    found = small()
    weights = space.point(found.full.model)
    leaves = {name: value.clone().requires_grad_() for name, value in weights.items()}
    loss = found.losses(space.at(found.full.model, leaves), found.examples).mean()
    exact = torch.autograd.grad(loss, list(leaves.values()))
    chunked = space.gradient(found, weights, found.examples)
    for value, name in zip(exact, leaves, strict=True):
        torch.testing.assert_close(chunked[name], value)


def test_unused_parameters_have_no_gradient():
    found = quadratic([2.0, 1.0], [1.0, 1.0])
    slope = space.gradient(found, space.point(found.full.model), found.examples)
    assert list(slope) == ["w"]
    assert slope["w"].tolist() == [2.0, 1.0]


def test_losses_leave_the_network_as_it_was():
    found = small()
    before = {name: value.clone() for name, value in found.full.model.state_dict().items()}
    weights = space.point(found.full.model)
    space.losses(found, space.moved(weights, weights), found.examples)
    space.gradient(found, weights, found.examples)
    for name, value in found.full.model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(p.grad is None and not p.requires_grad for p in found.full.model.parameters())


def test_gaussian_depends_on_names_and_words_alone():
    weights = space.point(small().full.model)
    again = space.gaussian(weights, "x", 1)
    reordered = space.gaussian(dict(reversed(weights.items())), "x", 1)
    assert all(torch.equal(again[name], reordered[name]) for name in weights)
    assert not torch.equal(again["first.weight"], space.gaussian(weights, "x", 2)["first.weight"])


def test_one_step_is_sams_and_more_steps_find_the_top_eigenvector():
    found = quadratic([9.0, 1.0], [0.1, 0.9])
    weights = space.point(found.full.model)
    steps = list(space.ascent(found, weights, found.examples, 2.0, 200))
    gradient = torch.tensor([0.9, 0.9])
    torch.testing.assert_close(steps[0]["w"], 2.0 * gradient / gradient.norm())
    # max of 1/2 (9 (0.1 + a)^2 + (0.9 + b)^2) on a^2 + b^2 = 4, on a fine grid.
    angles = torch.linspace(0, 2 * torch.pi, 100001, dtype=torch.float64)
    a, b = 2 * angles.cos(), 2 * angles.sin()
    best = (9 * (0.1 + a) ** 2 + (0.9 + b) ** 2).max() / 2
    reached = space.losses(found, space.moved(weights, steps[-1]), found.examples).mean()
    assert abs(reached - best) < 1e-4 * best
    assert all(abs(space.norm(step) - 2.0) < 1e-5 for step in steps)

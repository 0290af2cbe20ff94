import pytest
import torch
from helpers.subjects import quadratic, small

from bench.measurement.probes import weight_space as space
from bench.measurement.probes.context import Setting
from bench.measurement.probes.flatness import Flatness


def rows(found, part):
    return {row.name: row for row in Flatness()(found, part, {})}


def test_lpf_of_a_quadratic_is_its_closed_form():
    curvature = torch.linspace(0.5, 2.0, 500)
    w = torch.full((500,), 0.3)
    found = quadratic(curvature, w, Setting(sigma=0.1, shifts=400))
    base = float((curvature * w.square()).sum() / 2)
    rise = 0.1**2 * float(curvature.sum()) / 2
    made = rows(found, "lpf")
    assert made["lpf_rise"].value == pytest.approx(rise, rel=0.02)
    assert made["lpf_rise"].low < rise < made["lpf_rise"].high
    assert made["lpf"].value == pytest.approx(base + made["lpf_rise"].value)
    assert made["lpf_relative"].value == pytest.approx(made["lpf_rise"].value / base)
    assert made["lpf"].where == {"sigma": 0.1, "M": 400}


def test_antithetic_pairs_cancel_a_slope():
    found = quadratic(torch.zeros(5), torch.ones(5), Setting(sigma=0.1, shifts=2))
    found.full.model.forward = lambda x, t: 7 + found.full.model.w.sum() * torch.ones(len(x))
    made = rows(found, "lpf")
    assert made["lpf_rise"].value == pytest.approx(0.0, abs=1e-6)
    assert made["lpf"].value == pytest.approx(12.0)


def test_sharpness_of_a_quadratic_is_its_corner():
    # Convex and separable: the maximum over the box is at |w_i| + eps (|w_i| + 1).
    curvature, w = torch.tensor([3.0, 1.0]), torch.tensor([0.5, -2.0])
    found = quadratic(curvature, w, Setting(box=0.01, ascent=2))
    base = float((curvature * w.square()).sum() / 2)
    corner = w.abs() + 0.01 * (w.abs() + 1)
    top = float((curvature * corner.square()).sum() / 2)
    row = rows(found, "sharpness")["epsilon_sharpness"]
    assert row.value == pytest.approx(100 * (top - base) / (1 + base), rel=1e-5)
    assert row.unit == "%"


def test_a_scaled_loss_has_the_same_relative_lpf():
    found = small(Setting(sigma=0.02, shifts=4))
    first = rows(found, "lpf")
    assert first["lpf_rise"].value > 0
    base = space.losses(found, space.point(found.full.model), found.examples).mean()
    assert first["lpf_relative"].value == pytest.approx(first["lpf_rise"].value / base)

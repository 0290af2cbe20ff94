import dataclasses

import numpy as np
import pytest
import torch
from helpers.subjects import quadratic, small

from bench.core.protocols import Constants
from bench.core.scheme import Scheme
from bench.measurement.probes import weight_space as space
from bench.measurement.probes.context import Setting
from bench.measurement.probes.perturbation import Perturbation, direction

SETTING = Setting(chunk=5, radii=(0.0, 0.1), worst_radii=(0.0, 0.1), directions=3, ascent=3)


def rows(found, part):
    return Perturbation()(found, part, {})


def test_radius_zero_is_the_base_loss():
    found = small(SETTING)
    (base,) = rows(found, "base")
    exact = space.losses(found, space.point(found.full.model), found.examples).mean()
    assert base.value == pytest.approx(exact)
    for part in ("global", "layers", "worst"):
        at_zero = [row for row in rows(found, part) if row.where["radius"] == 0.0]
        assert at_zero
        assert all(row.value == 0.0 for row in at_zero)


def test_layer_directions_have_the_norms_of_the_layers():
    weights = space.point(small().full.model)
    drawn = direction(weights, "layers", 0.3 * space.norm(weights), 0)
    for name, value in weights.items():
        assert float(drawn[name].norm() / value.norm()) == pytest.approx(0.3, rel=1e-5)
    everywhere = direction(weights, "global", 2.0, 0)
    assert space.norm(everywhere) == pytest.approx(2.0, rel=1e-6)
    ratios = [float(everywhere[name].norm() / weights[name].norm()) for name in weights]
    assert max(ratios) > 1.5 * min(ratios)


def test_random_rise_of_an_isotropic_quadratic():
    # At the minimum 1/2 c |d|^2, whatever the direction; the unused parameter takes its share.
    found = quadratic([4.0] * 400, [0.0] * 400, dataclasses.replace(SETTING, radii=(0.5,)))
    (row,) = rows(found, "global")
    length = 0.5 * 3**0.5
    assert row.where["length"] == pytest.approx(length)
    assert row.value == pytest.approx(4.0 * length**2 / 2, rel=0.05)
    assert row.low < row.value < row.high


def test_worst_is_at_least_its_first_step_and_any_random_direction():
    found = small(SETTING)
    one, many = [row for row in rows(found, "worst") if row.where["radius"] == 0.1]
    assert one.where["direction"] == "worst, 1 step"
    (_, random) = rows(found, "global")
    assert many.value >= one.value > max(random.value, 0)


def test_quantization_direction_reaches_the_rounded_weights():
    scheme = Scheme.parse("w4a8")
    error = torch.full((4, 1, 3, 3), 0.05)
    layers = [Constants("first", error, (None,), 1), Constants("last", None, (None,), 1)]
    found = small(SETTING, schemes=(scheme,), constants=lambda _: layers)
    curve = {row.where["multiple"]: row for row in rows(found, "w4a8:error")}
    weights = space.point(found.full.model)
    rounded = weights | {"first.weight": weights["first.weight"] + error}
    exact = space.losses(found, rounded, found.examples) - space.losses(
        found, weights, found.examples
    )
    assert curve[1.0].value == pytest.approx(exact.mean(), rel=1e-6)
    assert curve[1.0].where["length"] == pytest.approx(0.05 * 6, rel=1e-5)
    assert curve[2.0].where["length"] == pytest.approx(2 * curve[1.0].where["length"])
    assert curve[1.0].scheme == "w4a8"


def test_a_diverged_network_is_not_the_best():
    broken = small(SETTING)
    losses = broken.functions["losses"]
    broken.functions["losses"] = lambda network, e: losses(network, e) / 0.0 * 0.0
    (base,) = rows(broken, "base")
    assert np.isnan(base.value)
    assert base.low is None

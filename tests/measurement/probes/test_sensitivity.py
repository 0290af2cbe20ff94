import numpy as np
import pytest
import torch
from helpers.subjects import small

from bench.core.cell import Draw
from bench.core.protocols import Constants
from bench.core.scheme import Scheme
from bench.evaluation.probe_context import likeness, sampling
from bench.measurement.probes.sensitivity import EXACT, Sensitivity, lowest, only, ranked

W4A8 = Scheme.parse("w4a8")
DRAW = Draw(steps=4, images=4, batch=4)


def probed(layers, executed=None):
    found = small()
    tools = {"sample": sampling(found.full, DRAW), "likeness": likeness}
    executed = executed or (lambda scheme: found.full)
    return small(
        schemes=(Scheme.parse("w8a8"), W4A8),
        constants=lambda _: layers,
        executed=executed,
        **tools,
    )


def identity(name):
    model = small().full.model
    return Constants(name, torch.zeros_like(model.get_submodule(name).weight), (None,), 10)


NAMES = ("first", "time", "mix", "last")


def test_identity_is_insensitive_everywhere():
    found = probed([identity(name) for name in NAMES])
    rows, earlier = [], {}
    for part in Sensitivity().parts(found.setting, ["w8a8", "w4a8"]):
        earlier[part] = Sensitivity()(found, part, earlier)
        rows += earlier[part]
    assert {r.value for r in rows if r.name == "layer_sqnr"} == {EXACT}
    assert len([r for r in rows if r.name == "layer_sqnr"]) == len(NAMES) * 4
    assert {r.value for r in rows if r.name.endswith("psnr")} == {100.0}
    (cost,) = (r for r in rows if r.name == "skip_macs")
    assert cost.value == 1.0


def test_the_noisiest_layer_comes_first_and_costs_its_macs():
    layers = [identity(name) for name in NAMES]
    model = small().full.model
    layers[3] = Constants("last", 0.3 * model.last.weight, (None,), 30)
    found = probed(layers)
    noise = Sensitivity()(found, "w4a8:map", {})
    assert all(ranked(noise, band)[0] == "last" for band in range(4))
    # A weight of 1.3 times its size without a bias would be noise of 0.09: -10 log10 = 10.5 dB.
    assert all(r.value < 20 for r in noise if r.where["layer"] == "last")
    assert all(r.low <= r.value <= r.high for r in noise if r.where["layer"] == "last")
    earlier = {"w4a8:map": noise, "w4a8:bands": Sensitivity()(found, "w4a8:bands", {})}
    images = Sensitivity()(found, "w4a8:layers", earlier)
    worst = images[0]
    assert worst.where == {"layer": "last"}
    assert worst.value < 60
    assert images[1].value == 100.0


def test_skip_list_is_verified_by_its_own_scheme():
    asked = []

    def executed(scheme):
        asked.append(str(scheme))
        return small().full

    layers = [identity(name) for name in NAMES]
    found = probed(layers, executed)
    noise = Sensitivity()(found, "w4a8:map", {})
    earlier = {"w4a8:map": noise, "w4a8:bands": Sensitivity()(found, "w4a8:bands", {})}
    images = Sensitivity()(found, "w4a8:layers", earlier)
    asked.clear()
    rows = Sensitivity()(found, "w4a8:skip", {"w4a8:map": noise, "w4a8:layers": images})
    assert asked == ["w4a8", rows[-1].where["scheme"]]
    assert all(f"skip={name}" in asked[1] for name in NAMES)


def test_layers_are_restored_also_after_an_error():
    found = small()
    model = found.full.model
    before = model.first.weight
    broken = Constants("first", torch.ones_like(before), ((1.0, 0, 5, 2),), 1)
    with pytest.raises(RuntimeError):
        only(found.full, [broken]).model(torch.zeros(1, 1, 4, 4), torch.zeros(1).long())
    assert model.first.weight is before
    assert not model.first._forward_pre_hooks


def test_inputs_are_rounded_to_their_range():
    found = small()
    model, x, t = found.full.model, torch.randn(2, 1, 4, 4), torch.zeros(2).long()
    layer = Constants("first", None, ((0.5, 2, 0, 3),), 1)
    rounded = only(found.full, [layer]).model(x, t)
    assert torch.equal(rounded, model((x / 0.5).round().clamp(-2, 1) * 0.5, t))


def test_lowest_scheme():
    assert lowest(["w8a8", "w4a8", "w6a6"]) == "w4a8"
    assert lowest([]) == ""
    assert Sensitivity().parts(None, []) == []
    assert np.isfinite(EXACT)

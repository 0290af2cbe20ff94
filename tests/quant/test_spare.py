"""A spare network is changed in place: no weight in float stays that its successor replaced."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch

from bench.core import extensions
from bench.core.denoiser import Denoiser
from bench.core.scheme import Scheme
from bench.models.networks import build_network
from bench.quant import module_wise
from bench.quant.layers import exported
from bench.system import weightless
from bench.system.host import fingerprint

from .conftest import TINY


def spare(tiny):
    """The tiny network once more, and what tells which of its weights are in memory."""
    model = build_network(TINY).eval().requires_grad_(False)
    model.load_state_dict(tiny.model.state_dict())
    refs = {
        name: weakref.ref(m.weight)
        for name, m in model.named_modules()
        if type(m) in (torch.nn.Linear, torch.nn.Conv2d)
    }
    words = model, tiny.levels, tiny.predicts, tiny.shape
    return Denoiser(*words, is_spare=True), refs


def _is_held(ref):
    weight = ref()
    return weight is not None and weight.untyped_storage().nbytes() >= weight.nbytes


@pytest.mark.parametrize(
    ("backend", "scheme"),
    [("ao-int8", "w8a8"), ("bnb-nf4", "w4a16"), ("simulated", "w8a8"), ("int8-x86", "w8a8")],
)
def test_replaced_weights_leave_memory(backend, scheme, tiny, batches):
    made = extensions.lookup("backends", backend)()
    wanted = Scheme.parse(scheme)
    if reason := made.refuses(wanted, fingerprint()):
        pytest.skip(reason)
    expected = made(tiny, wanted, batches)
    network, refs = spare(tiny)
    exported(network, batches.shape[0])
    quantized = made(network, wanted, batches)
    gc.collect()
    kept = [layer.name for layer in quantized.coverage.layers if layer.bits == str(wanted)]
    assert kept
    assert [name for name in kept if name in refs and _is_held(refs[name])] == []
    # What is not quantized is there.
    assert _is_held(refs["unet.conv_in"]) == ("unet.conv_in" not in kept)
    with torch.inference_mode():
        x, t = batches[0]
        assert torch.equal(quantized.denoiser.model(x, t), expected.denoiser.model(x, t))
    assert quantized.coverage == expected.coverage


def test_module_by_module_the_network_itself_is_rounded(tiny, batches):
    network, _ = spare(tiny)
    expected = module_wise.simulated(tiny, Scheme.parse("w4a8"), batches, "none")
    made = module_wise.simulated(network, Scheme.parse("w4a8"), batches, "none")
    assert made.denoiser.model is network.model
    assert expected.denoiser.model is not tiny.model
    with torch.inference_mode():
        x, t = batches[0]
        assert torch.equal(made.denoiser.model(x, t), expected.denoiser.model(x, t))


def test_another_network_is_left_as_it_is(tiny, batches):
    before = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    extensions.lookup("backends", "simulated")()(tiny, Scheme.parse("w4a8"), batches)
    after = tiny.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_form_has_shapes_and_types_and_no_memory(tiny):
    made = weightless.form(tiny.model)
    pairs = list(zip(made.parameters(), tiny.model.parameters(), strict=True))
    assert pairs
    for one, other in pairs:
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert one.untyped_storage().nbytes() == one.element_size()
    assert sum(p.untyped_storage().nbytes() for p in tiny.model.parameters()) > 10_000
    weightless.hollow_out(made, torch.bfloat16, "cpu")
    assert {p.dtype for p in made.parameters()} == {torch.bfloat16}
    assert replace(tiny, model=made).example_inputs(1)

"""Full precision as it is, and as floors execute it."""

import copy
import dataclasses
import types

import pytest
import torch

from bench.core.errors import InputError
from bench.core.floors import KERNELS, backend
from bench.core.record import Host
from bench.core.scheme import Scheme
from bench.quant.backends.full_precision import FullPrecision

HOST = Host("here", "cpu", "AVX2", 1, {})
# A calibration of which nothing but the shape is asked.
UNUSED = types.SimpleNamespace(shape=(2,))


def test_refusals():
    full = FullPrecision()
    assert full.refuses(Scheme(), HOST) is None
    assert "w4a8" in full.refuses(Scheme.parse("w4a8"), HOST)
    on_gpu = dataclasses.replace(HOST, device="cuda")
    assert "nothing on cuda" in FullPrecision("threads").refuses(Scheme(), on_gpu)
    with pytest.raises(InputError, match="bf16, batch, threads, layout"):
        FullPrecision("half")
    assert backend("bf16") == "float:bf16"


def test_full_precision_changes_nothing(tiny):
    made = FullPrecision()(tiny, Scheme(), UNUSED)
    denoiser, coverage = made.denoiser, made.coverage
    assert made.calibration == ""
    assert denoiser is tiny
    assert coverage.kernel == "none"
    assert coverage.macs_quantized == 0
    assert coverage.bytes == 4 * sum(p.numel() for p in tiny.model.parameters())


def test_full_precision_reads_each_structure_once(tiny, toy, monkeypatch):
    """Checkpoints that differ in weights share what was read; another network is another one."""
    first = FullPrecision()(tiny, Scheme(), UNUSED).coverage
    twin = dataclasses.replace(tiny, model=copy.deepcopy(tiny.model))
    next(twin.model.parameters()).data.add_(1)
    other = FullPrecision()(toy, Scheme(), UNUSED).coverage
    assert other.macs != first.macs
    monkeypatch.setattr("bench.quant.layers.export", None)
    assert FullPrecision()(twin, Scheme(), UNUSED).coverage == first


@pytest.mark.parametrize("name", KERNELS)
def test_another_execution_computes_the_same_function(toy, toy_batches, name):
    x, t = toy_batches[0]
    before = {key: value.clone() for key, value in toy.model.state_dict().items()}
    made = FullPrecision(name)(toy, Scheme(), toy_batches)
    with torch.inference_mode():
        y, expected = made.denoiser.model(x, t), toy.model(x, t)
    assert y.dtype == torch.float32 and made.coverage.kernel == KERNELS[name]
    assert made.coverage.macs_quantized == 0
    error = float((y - expected).norm() / expected.norm())
    # bfloat16 has 8 bits: it is off by some of 2^-9, and must be off.
    assert 1e-4 < error < 0.05 if name == "bf16" else error < 1e-5
    after = toy.model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)

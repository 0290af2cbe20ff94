"""What finds ranges, against torchao's own and against the definition."""

import pytest
import torch
from torchao.quantization.pt2e.observer import PerChannelMinMaxObserver

from bench.quant.observers import LevelHistogramObserver, WidestObserver
from bench.quant.steps import widest
from bench.system.random import seeded


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_steps_of_weights_are_those_of_torchao_on_a_cpu(bits):
    weights = torch.randn(2000, 9, generator=seeded("observed"))
    words = {"ch_axis": 0, "dtype": torch.int8, "qscheme": torch.per_channel_symmetric}
    words |= {"quant_min": -(2 ** (bits - 1)), "quant_max": 2 ** (bits - 1) - 1}
    ours, theirs = WidestObserver(**words), PerChannelMinMaxObserver(**words)
    for observer in (ours, theirs):
        observer(weights)
    for own, other in zip(ours.calculate_qparams(), theirs.calculate_qparams(), strict=True):
        assert torch.equal(own, other)
    assert torch.equal(ours.calculate_qparams()[0], widest(weights.abs().amax(1), bits))


def test_histogram_knows_the_number_of_levels():
    observer = LevelHistogramObserver(dtype=torch.uint8, quant_min=0, quant_max=15)
    values = torch.randn(20000, generator=torch.Generator().manual_seed(0))
    observer(values)
    scale, zero = observer.calculate_qparams()

    def error(scale, zero):
        rounded = torch.fake_quantize_per_tensor_affine(values, scale, zero, 0, 15)
        return (rounded - values).square().mean().item()

    step = ((values.max() - values.min()) / 15).item()
    assert error(scale.item(), int(zero)) < 0.75 * error(step, round(-values.min().item() / step))

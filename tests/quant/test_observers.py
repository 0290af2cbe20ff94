"""What finds ranges, against torchao's own and against the definition."""

import pytest
import torch
from torchao.quantization.pt2e.observer import HistogramObserver, PerChannelMinMaxObserver

from bench.quant.observers import PIECE, LevelHistogramObserver, WidestObserver, counts
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


@pytest.mark.parametrize("size", [1, 2, 100, 50_000, PIECE + 1])
def test_counts_are_those_of_torch(size):
    draw = seeded(f"counts {size}")
    for k in range(30):
        values = torch.randn(size, generator=draw) * 10 ** torch.randn(1, generator=draw)
        if k % 3 == 0:  # many equal ones, and some on the borders of bins
            values = values.round(decimals=1)
        low, high = torch.aminmax(values)
        if k % 2 or low == high:
            low, high = low - torch.rand(1, generator=draw)[0], high + 1
        assert torch.equal(counts(values, 2048, low, high), torch.histc(values, 2048, low, high))


@pytest.mark.parametrize(
    "odd",
    [None, torch.zeros(3), torch.tensor([5.0, -torch.inf]), torch.zeros(0), torch.ones(1, 2)],
)
def test_ranges_are_those_of_torchao(odd):
    """Over batches whose range grows or not, in halves too, and with what only torchao's takes."""
    draw = seeded("ranges")
    ours, theirs = (
        kind(dtype=torch.uint8, quant_min=0, quant_max=255)
        for kind in (LevelHistogramObserver, HistogramObserver)
    )
    batches = [torch.randn(3, 5, 7, generator=draw) * size for size in (1, 0.5, 3, 2)]
    if odd is not None:
        batches[1:1] = [odd, odd.double()]
    for batch in batches:
        for observer in (ours, theirs):
            assert observer(batch) is batch
        assert torch.equal(ours.histogram, theirs.histogram)
    assert torch.equal(ours.min_val, theirs.min_val)
    assert torch.equal(ours.max_val, theirs.max_val)
    for own, other in zip(ours.calculate_qparams(), theirs.calculate_qparams(), strict=True):
        assert torch.equal(own, other)


def test_what_is_not_a_number_is_refused_as_torchao_does():
    def raised(kind):
        observer = kind(dtype=torch.uint8, quant_min=0, quant_max=255)
        observer(torch.ones(2))
        with pytest.raises(RuntimeError) as error:
            observer(torch.tensor([0.0, torch.nan]))
        return str(error.value)

    assert raised(LevelHistogramObserver) == raised(HistogramObserver)

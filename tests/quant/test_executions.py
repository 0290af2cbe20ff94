"""Each execution of full precision, on networks that show what it does."""

import torch
from torch import nn

from bench.quant import executions


class Watched(nn.Module):
    """y = x + t, and what it was called with."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, x, t, scale):
        self.calls.append((x.shape, t.shape, scale.shape, torch.get_num_threads()))
        return (x + t.view(-1, 1, 1, 1)) * scale


X = torch.arange(5 * 3, dtype=torch.float32).view(5, 3, 1, 1)
T, SCALE = torch.arange(5.0), torch.tensor(2.0)


def test_batches_are_cut_in_halves():
    inner = Watched()
    halves = executions.Halves(inner)
    assert torch.equal(halves(X, T, SCALE), Watched()(X, T, SCALE))
    assert [call[0][0] for call in inner.calls] == [2, 3]
    assert [call[1:3] for call in inner.calls] == [((2,), ()), ((3,), ())]
    inner.calls.clear()
    assert torch.equal(halves(X[:1], T[:1], SCALE), Watched()(X[:1], T[:1], SCALE))
    assert [call[0][0] for call in inner.calls] == [2]


def test_threads_are_others_inside_and_the_same_afterwards():
    inner, before = Watched(), torch.get_num_threads()
    executions.OtherThreads(inner, before + 1)(X, T, SCALE)
    assert inner.calls[0][3] == before + 1 and torch.get_num_threads() == before


def test_rounding_to_bfloat16_is_that_of_torch():
    """One product: both compute in float32 and round once."""
    linear = nn.Linear(64, 8, bias=False)
    x = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        rounded = executions.RoundedToBfloat16(linear)(x)
        real = executions.Bfloat16(linear)(x)
        assert torch.equal(rounded.to(torch.bfloat16).float(), rounded)
        # A sum in another order may round to the neighbour.
        assert torch.allclose(rounded, real, rtol=2**-7, atol=1e-6)
        assert not torch.equal(rounded, linear(x))


def test_every_result_is_rounded():
    class Third(nn.Module):
        def forward(self, x):
            return (x / 3) * 3

    third = torch.tensor([1.0]) / 3
    once = third.to(torch.bfloat16).float() * 3
    with torch.inference_mode():
        rounded = executions.RoundedToBfloat16(Third())(torch.ones(1))
    assert torch.equal(rounded, once.to(torch.bfloat16).float())


def test_channels_lie_side_by_side():
    seen = []

    class Conv(nn.Conv2d):
        def forward(self, x):
            seen.append(x.is_contiguous(memory_format=torch.channels_last))
            return super().forward(x)

    network = executions.ChannelsLast(Conv(4, 4, 3))
    y = network(torch.randn(2, 4, 6, 6))
    assert seen == [True] and y.is_contiguous()

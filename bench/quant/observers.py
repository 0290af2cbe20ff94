"""What finds ranges: torchao's observers, with the levels that there are and steps that every
device gives alike."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench.quant.steps import widest
from bench.system.quiet import quiet_import

with quiet_import():
    from torchao.quantization.pt2e.observer import (
        HistogramObserver,
        MinMaxObserver,
        PerChannelMinMaxObserver,
    )


# Values that are counted at a time: what is computed of them stays in a core's cache.
PIECE = 1 << 17


class LevelHistogramObserver(HistogramObserver):
    """A histogram observer that searches the range for the levels that there are.

    torchao's assumes the 256 levels of the integer type, whatever the limits, and so clips too
    little below 8 bits (about 1 dB lost at w4a4 on the small network). Beyond that it gives the
    very same ranges, in less time.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dst_nbins = self.quant_max - self.quant_min + 1

    def forward(self, x_orig: Tensor) -> Tensor:
        """Count values of any shape, and give them back."""
        x = x_orig.detach().flatten()
        first = bool(torch.isinf(self.min_val))
        if x.device.type != "cpu" or x.dtype != torch.float32 or first or not len(x):
            return super().forward(x_orig)
        least, largest = torch.aminmax(x)
        low, high = torch.minimum(self.min_val, least), torch.maximum(self.max_val, largest)
        if not bool(torch.isfinite(high - low)) or low == high:
            return super().forward(x_orig)
        counted = counts(x, self.bins, low, high)
        both = self._combine_histograms(
            self.histogram, self.min_val, self.max_val, counted, low, high
        )
        self.histogram.copy_(both)
        self.min_val.copy_(low)
        self.max_val.copy_(high)
        return x_orig

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Step and zero point. The search looks at one bin after the other, each of which an
        accelerator would have to be waited for."""
        device = self.histogram.device
        self.to("cpu")
        step, zero = super().calculate_qparams()
        self.to(device)
        return step.to(device), zero.to(device)


def counts(values: Tensor, bins: int, low: Tensor, high: Tensor) -> Tensor:
    """What `torch.histc` counts, in less than half of its time on a CPU.

    Args:
        values: float32, finite, (N,).
        bins: of equal width from low to high.
        low: at most all values.
        high: at least all values, and more than low.

    Returns:
        float32, (bins,).
    """
    total = torch.zeros(bins, dtype=torch.int64)
    for piece in values.split(PIECE):
        places = (piece - low).mul_(bins).div_(high - low).to(torch.int32).clamp_(max=bins - 1)
        total += torch.bincount(places, minlength=bins)
    return total.to(torch.float32)


class WidestObserver(PerChannelMinMaxObserver):
    """torchao's observer of weights with the steps of a CPU, bit for bit, on every device."""

    def calculate_qparams(self) -> tuple[Any, Any]:
        """Steps and zero points of the output channels."""
        _, zeros = super().calculate_qparams()
        largest = torch.maximum(-self.min_val.clamp(max=0), self.max_val.clamp(min=0))
        bits = (self.quant_max - self.quant_min + 1).bit_length() - 1
        return torch.maximum(widest(largest, bits), self.eps.to(largest)), zeros


# Of activations, by the word of a scheme.
ACTIVATIONS = {"histogram": LevelHistogramObserver, "minmax": MinMaxObserver}


def range_observer(observer: str, bits: int) -> nn.Module:
    """What finds the range of an activation, as calibration makes it for each.

    Args:
        observer: "histogram" or "minmax".
        bits: of the codes.
    """
    made: nn.Module = ACTIVATIONS[observer](
        dtype=torch.uint8,
        quant_min=0,
        quant_max=2**bits - 1,
        qscheme=torch.per_tensor_affine,
    )
    return made


class Observed(nn.Module):
    """A network with observers, callable from inference mode, whose tensors they must not keep.

    Attributes:
        calls: how often it was evaluated.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, *inputs: Tensor) -> Tensor:
        """Evaluate on copies of the inputs."""
        self.calls += 1
        with torch.inference_mode(False), torch.no_grad():
            prediction: Tensor = self.network(*(tensor.clone() for tensor in inputs))
            return prediction

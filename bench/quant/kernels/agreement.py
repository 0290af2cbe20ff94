"""Whether integer kernels agree with the simulation of the same quantized graph.

One layer at a time, on the input that the simulation gives it: there the two differ by the order
of a sum of floats, and a layer that differs by more than `LEAST_SQNR` has a wrong kernel. From end
to end they differ more, and must: a last bit decides now and then which way a code is rounded,
each such code is off by a whole step, and the next layers multiply them. In a deep network the
difference nears the quantization noise itself, between any two executions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import Interpreter, Node

from bench.core.record import Agreement
from bench.quant.kernels.integer_layer import Kernel
from bench.quant.kernels.lowering import kernels_of, quantize
from bench.quant.rewrite import LAYER, Execution

LEAST_SQNR = 60.0
# Reported for equal results, whose noise is zero.
EXACT = 200.0
# The codes that a kernel was called with, and the range of that call where ranges switch.
Called = tuple[Tensor, tuple[Tensor, ...]]
# Images whose codes are compared from end to end, of all inputs together; all there are would take
# too much memory.
COMPARED = 12


def measure(
    execution: Execution, simulation: Execution, inputs: Sequence[tuple[Tensor, ...]]
) -> Agreement:
    """Compare an execution in integers with the simulation.

    Args:
        execution: from `lower`.
        simulation: of the same quantized graph.
        inputs: of the network, of the graph's shapes; at least those of one evaluation.

    Raises:
        RuntimeError: a layer disagrees beyond its bound; the message has its name.
    """
    kernels = kernels_of(execution)
    whole, different, compared = Ratio(), 0, 0
    layers = {node: Ratio() for node in kernels}
    with torch.inference_mode():
        for called in inputs:
            seen: dict[int, Called] = {}
            hook = _keep(seen, -(-COMPARED // len(inputs)))
            hooks = [kernel.register_forward_pre_hook(hook) for kernel in kernels.values()]
            try:
                y = execution(*called)
            finally:
                for handle in hooks:
                    handle.remove()
            watch = _Watch(simulation.graph, kernels, layers, seen)
            whole.add(y, watch.run(*called))
            different, compared = different + watch.different, compared + watch.compared
    worst = min(layers, key=lambda node: layers[node].decibels)
    name, sqnr = kernels[worst].layer.name, layers[worst].decibels
    require(name, kernels[worst].operator, sqnr)
    return Agreement(whole.decibels, different / compared, name, sqnr)


def require(name: str, operator: str, sqnr: float) -> None:
    """Hold the agreement of the worst layer against its bound.

    Args:
        name: of the layer.
        operator: what computes it.
        sqnr: signal to quantization noise on equal input, dB.

    Raises:
        RuntimeError: it is lower.
    """
    if not sqnr >= LEAST_SQNR:
        raise RuntimeError(
            f"layer {name}: {operator} agrees with the simulation to {sqnr:.1f} dB "
            f"only, and must to {LEAST_SQNR:g} dB"
        )


class Ratio:
    """Signal to quantization noise, 10 log10 (sum y^2 / sum (y' - y)^2) in dB."""

    def __init__(self) -> None:
        self.signal = self.noise = 0.0

    def add(self, test: Tensor, reference: Tensor) -> None:
        """Count a result and what it should be, of equal shapes."""
        exact = reference.to(torch.float64)
        self.signal += exact.square().sum().item()
        self.noise += (test.to(torch.float64) - exact).square().sum().item()

    @property
    def decibels(self) -> float:
        """Of all that was added; `EXACT` where it is equal."""
        if self.noise == 0:
            return EXACT
        if self.signal == 0 or not math.isfinite(self.signal + self.noise):
            return -EXACT
        return min(10 * math.log10(self.signal / self.noise), EXACT)


class _Watch(Interpreter):
    """Runs the simulation and each kernel beside it, on the same input."""

    def __init__(
        self,
        module: Any,
        kernels: dict[str, Kernel],
        layers: dict[str, Ratio],
        seen: dict[int, Called],
    ) -> None:
        super().__init__(module)
        self.kernels, self.layers, self.seen = kernels, layers, seen
        self.different = self.compared = 0

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        if kernel := self.kernels.get(n.meta.get(LAYER, "")):
            x = self.env[cast("Node", n.args[0])]
            executed, given = self.seen[id(kernel)]
            codes = quantize(x, *kernel.range(given), kernel.layer.act_high)
            self.layers[n.meta[LAYER]].add(kernel(codes, *given), result)
            self.different += int((executed != codes[: len(executed)]).sum())
            self.compared += executed.numel()
        return result


def _keep(seen: dict[int, Called], images: int) -> Any:
    def hook(kernel: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        codes, *given = arguments
        seen[id(kernel)] = codes[:images].clone(), tuple(given)

    return hook

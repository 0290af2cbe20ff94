"""Whether a runtime that takes a whole network agrees with the simulation of the same graph.

Its layers cannot be called one at a time, so they are watched where they run: the network returns
the input and the output of each layer for a few images beside the prediction (`handing_over`). The
simulation computes the layer on the input that the runtime had, and the two outputs must be equal
but for the order of a sum, as in `agreement`. The prediction that is compared from end to end is
that of the network as it is used, in which nothing is watched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx import Interpreter, Node

from bench.core.record import Agreement
from bench.quant.kernels.agreement import Ratio, require
from bench.quant.kernels.handing_over import WATCHED, Handed
from bench.quant.rewrite import LAYER, Execution

# The input and the output of a layer as a runtime computed them.
Seen = tuple[Tensor, Tensor]


def measure(
    execution: Execution,
    watched: Callable[..., Sequence[Tensor]],
    simulation: Execution,
    handed: Handed,
    inputs: Sequence[tuple[Tensor, ...]],
    operators: Mapping[str, str],
) -> Agreement:
    """Compare a runtime with the simulation.

    Args:
        execution: the network as it is used.
        watched: the same, which also returns what `Handed.graph` does.
        simulation: of the same quantized graph.
        handed: what the runtime was given.
        inputs: of the network, of the graph's shapes; at least those of one evaluation.
        operators: what computes each layer, by its node, for the message.

    Raises:
        RuntimeError: a layer disagrees beyond its bound; the message has its name.
    """
    whole, different, compared = Ratio(), 0, 0
    layers = {node: Ratio() for node in handed.watched}
    steps = {node: handed.ranges[each.number].scale for node, each in handed.watched.items()}
    with torch.inference_mode():
        for called in inputs:
            outputs = watched(*called)
            seen = {node: (outputs[w.x], outputs[w.y]) for node, w in handed.watched.items()}
            watch = _Watch(simulation.graph, layers, seen, steps)
            whole.add(execution(*called), watch.run(*called))
            different, compared = different + watch.different, compared + watch.compared
    worst = min(layers, key=lambda node: layers[node].decibels)
    sqnr = layers[worst].decibels
    name = handed.watched[worst].name
    require(name, operators[worst], sqnr)
    return Agreement(whole.decibels, different / compared, name, sqnr)


class _Watch(Interpreter):
    """Runs the simulation, and each of its layers once more on the input that a runtime had."""

    def __init__(
        self,
        module: Any,
        layers: dict[str, Ratio],
        seen: Mapping[str, Seen],
        steps: Mapping[str, float],
    ) -> None:
        super().__init__(module)
        self.layers, self.seen, self.steps = layers, seen, steps
        self.different = self.compared = 0

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        name = n.meta.get(LAYER, "")
        if name in self.seen:
            x, y = self.seen[name]
            arguments, options = self.fetch_args_kwargs_from_env(n)
            simulated, *rest = arguments
            self.layers[name].add(y, cast("Any", n.target)(x, *rest, **options))
            codes = (x - simulated[:WATCHED]).abs() > self.steps[name] / 2
            self.different += int(codes.sum())
            self.compared += codes.numel()
        return result

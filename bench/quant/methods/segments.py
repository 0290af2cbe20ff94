"""A piece of a quantized graph with gradients, to learn weights by more than a layer's output.

Rounding has no slope, so an input that is rounded passes the slope on as it is, and none where it
is clipped (the straight-through estimate, Bengio et al. 2013, arXiv 1308.3432), as torch's
fake-quantize does it. Weights are given from outside in place of the graph's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.fx import GraphModule, Node, map_arg

from bench.quant.graph import DEQUANTIZES, QUANTIZES
from bench.quant.rewrite import mutates
from bench.quant.simulate import fake_quantized
from bench.quant.weight_rows import constant


class Segment:
    """What leads from some values of a graph to others.

    Args:
        graph: quantized.
        known: nodes whose values may be given; `inputs` are those that are needed.
        outputs: nodes whose values are computed.
        weights: nodes whose values are given too, the second arguments of layers.

    Raises:
        RuntimeError: an output needs an input of the network that is not known.
    """

    def __init__(
        self,
        graph: GraphModule,
        known: Iterable[Node],
        outputs: Sequence[Node],
        weights: Iterable[Node],
    ) -> None:
        self.graph, self.outputs = graph, list(outputs)
        known, weights = set(known), set(weights)
        needed: set[Node] = set()
        inputs: set[Node] = set()
        stack = list(self.outputs)
        while stack:
            node = stack.pop()
            if node in needed or node in weights:
                continue
            if node in known and node.op != "get_attr":
                inputs.add(node)
                continue
            if node.op == "placeholder":
                raise RuntimeError(f"{node.name} is needed for {outputs} and is not given")
            needed.add(node)
            stack += node.all_input_nodes
        self.inputs = [node for node in graph.graph.nodes if node in inputs]
        self.nodes = [node for node in graph.graph.nodes if node in needed]
        # An operation in place must not reach what is given again.
        self.copies = any(mutates(node) for node in self.nodes)

    def __call__(
        self, values: Mapping[Node, Tensor], weights: Mapping[Node, Tensor]
    ) -> list[Tensor]:
        """The outputs, with gradients to the weights.

        Args:
            values: of the inputs.
            weights: of layers, in their shape.
        """
        env: dict[Node, Any] = {**weights}
        for node in self.inputs:
            env[node] = values[node].clone() if self.copies else values[node]
        for node in self.nodes:
            env[node] = self._run(node, env)
        return [env[node] for node in self.outputs]

    def _run(self, node: Node, env: dict[Node, Any]) -> Any:
        if node.op == "get_attr":
            return constant(self.graph, node).detach()
        arguments: Any = map_arg(node.args, env.__getitem__)
        if node.target in QUANTIZES:
            return fake_quantized(*arguments[:5])
        if node.target in DEQUANTIZES:
            return arguments[0]
        target: Any = node.target
        return target(*arguments, **map_arg(node.kwargs, env.__getitem__))

"""What leaves memory when the quantized graph of a spare network is made: the weights in float.

The graph keeps what it reads: codes of the layers that are quantized, and the other parameters.
Libraries hold graphs of the calibration longer than these are needed, with the same parameters in
them, so each parameter that is not read any more gives its memory away wherever it is held.
"""

from __future__ import annotations

from torch.fx import GraphModule

from bench.core.denoiser import Denoiser
from bench.quant.graph import FLOAT
from bench.quant.layers import forget
from bench.quant.weight_rows import constant
from bench.system import weightless


def release(denoiser: Denoiser, graph: GraphModule) -> None:
    """Take the weights out of memory that a quantized graph was made of and does not read.

    Args:
        denoiser: a spare one; of its network such weights have shapes and no numbers afterwards.
        graph: made of it.
    """
    forget(denoiser)
    graph.meta.pop(FLOAT, None)
    read = {id(constant(graph, node)) for node in graph.graph.nodes if node.op == "get_attr"}
    for parameter in denoiser.model.parameters():
        if id(parameter) not in read:
            parameter.data = weightless.hollow(parameter).data

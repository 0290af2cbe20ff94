"""What leaves memory when the quantized graph of a spare network is made: the weights in float.

The graph keeps what it reads: codes of the layers that are quantized, and the other parameters.
"""

from __future__ import annotations

from torch.fx import GraphModule

from bench.core.denoiser import Denoiser
from bench.quant.graph import FLOAT
from bench.quant.layers import forget
from bench.system import weightless


def release(denoiser: Denoiser, graph: GraphModule) -> None:
    """Take the weights out of memory that a quantized graph was made of and does not read.

    Args:
        denoiser: a spare one; its network has shapes and no numbers afterwards.
        graph: made of it.
    """
    forget(denoiser)
    weightless.hollow_out(denoiser.model)
    graph.meta.pop(FLOAT, None)
    read = {node.target for node in graph.graph.nodes if node.op == "get_attr"}
    named = dict(graph.named_parameters(remove_duplicate=False))
    for name in (name for name in named if name not in read):
        owner, _, last = name.rpartition(".")
        delattr(graph.get_submodule(owner), last)

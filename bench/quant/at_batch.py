"""A quantized graph for another number of images than that of its calibration.

A trace has the number of images in some of its arguments, as those of a reshaping. Which ones is
read from two traces of the network, one for each number: where these differ, the quantized graph
takes what the other trace has. Ranges and weights stay as they are.
"""

from __future__ import annotations

from typing import Any

from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from bench.core.denoiser import Denoiser
from bench.core.errors import NotExecuted
from bench.quant.layers import copied, exported
from bench.quant.operators import batch_of


def at_batch(graph: GraphModule, denoiser: Denoiser, batch: int) -> GraphModule:
    """A quantized graph that takes so many images.

    Args:
        graph: from `quantize_graph`, of this network; not changed.
        denoiser: whose network it is.
        batch: images.

    Raises:
        NotExecuted: the network is another one for so many images.
    """
    first = next(node for node in graph.graph.nodes if node.op == "placeholder")
    here, there = exported(denoiser, batch_of(first)), exported(denoiser, batch)
    others = _changed(here, there)
    made = copied(graph)
    for node in made.graph.nodes:
        other = others.get(node.name)
        if other is None or node.target != other.target:
            continue
        if node.op == "placeholder":
            node.meta["val"] = other.meta["val"]
        else:
            node.args = _with_numbers(node.args, other.args)
            node.kwargs = _with_numbers(node.kwargs, other.kwargs)
    made.recompile()
    return made


def _changed(here: GraphModule, there: GraphModule) -> dict[str, Node]:
    """The inputs and the nodes of another trace whose numbers differ, by their names."""
    pairs = list(zip(here.graph.nodes, there.graph.nodes, strict=False))
    same = len(here.graph.nodes) == len(there.graph.nodes)
    if not same or any((a.name, a.target) != (b.name, b.target) for a, b in pairs):
        raise NotExecuted("the network has another graph for another number of images")
    return {b.name: b for a, b in pairs if b.op == "placeholder" or _numbers(a) != _numbers(b)}


def _numbers(node: Node) -> list[Any]:
    leaves = pytree.tree_leaves((node.args, node.kwargs))
    return [None if isinstance(leaf, Node) else leaf for leaf in leaves]


def _with_numbers(own: Any, others: Any) -> Any:
    """Arguments with the nodes of one call and the numbers of another one."""
    leaves, structure = pytree.tree_flatten(own)
    numbers = pytree.tree_leaves(others)
    merged = [a if isinstance(a, Node) else b for a, b in zip(leaves, numbers, strict=True)]
    return pytree.tree_unflatten(merged, structure)

"""Which layers of a network are reconstructed together: the blocks that its modules make.

Layers that one module calls one after the other are a block, as those of a residual block, of an
attention or of a time embedding: inside they make up for each other's errors, and outside little
depends on more than the block's output (Li et al. 2021, BRECQ, arXiv 2102.05426, section 3.2). A
block has at most `MOST` layers, so that a network without modules is cut too. What a block
takes and gives is read from the graph, not from names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch.fx import GraphModule, Node

from bench.quant.methods.rounded import RoundedLayer
from bench.quant.operators import QUANTIZABLE

MOST = 12


@dataclass(frozen=True)
class Block:
    """Layers that are reconstructed together.

    Attributes:
        layers: with rounded weights, in order.
        inputs: names of the values that come from outside, the same in both graphs.
        outputs: names of the values that others take.
        end: name of the first node behind the block.
    """

    layers: tuple[RoundedLayer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    end: str


def blocks(full: GraphModule, layers: Sequence[RoundedLayer]) -> list[Block]:
    """The blocks of a network in order of execution.

    Args:
        full: in full precision.
        layers: with rounded weights, in order; of those that are executed twice the first time.
    """
    nodes = {node.name: node for node in full.graph.nodes}
    groups: list[list[RoundedLayer]] = []
    for layer in layers:
        caller = _caller(nodes[layer.layer.node])
        group = groups[-1] if groups else []
        if group and len(group) < MOST and _caller(nodes[group[-1].layer.node]) == caller:
            group.append(layer)
        else:
            groups.append([layer])
    made: list[Block] = []
    for group in groups:
        made += _cut(full, nodes, group)
    return made


def _caller(node: Node) -> tuple[str, ...]:
    """The modules around the one that a node belongs to, from outside in, each call by its own."""
    stack = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
    return tuple(stack[:-1])


def _cut(full: GraphModule, nodes: dict[str, Node], group: list[RoundedLayer]) -> list[Block]:
    """A block of the layers, or one of each where something between them is not computed from
    their inputs alone."""
    block = _block(full, [nodes[each.layer.node] for each in group], tuple(group))
    if block is not None or len(group) == 1:
        assert block is not None
        return [block]
    return [part for each in group for part in _cut(full, nodes, [each])]


def _block(full: GraphModule, nodes: list[Node], layers: tuple[RoundedLayer, ...]) -> Block | None:
    """The block from the first to the last of some nodes, with what its module does behind the
    last one; None where its inputs are not there before it begins."""
    order = list(full.graph.nodes)
    place = {node: k for k, node in enumerate(order)}
    start, end = place[nodes[0]], place[nodes[-1]]
    if len(nodes) > 1:
        # To the end of the module, as its sum with the shortcut counts, or to its next layer.
        caller = _caller(nodes[-1])
        while (behind := _behind(order, end)) is not None and _belongs(order[behind], caller):
            if order[behind].target in QUANTIZABLE:
                break
            end = behind
    inside = [node for node in order[start : end + 1] if node.op == "call_function"]
    taken = dict.fromkeys(each for node in inside for each in node.all_input_nodes)
    known = {*inside}
    inputs = [each for each in taken if each not in known and each.op != "get_attr"]
    if any(place[each] > start for each in inputs):
        return None
    outputs = [node for node in inside if any(user not in known for user in node.users)]
    after = _behind(order, end)
    assert after is not None
    taken_names, given_names = (tuple(n.name for n in some) for some in (inputs, outputs))
    return Block(layers, taken_names, given_names, order[after].name)


def _behind(order: Sequence[Node], end: int) -> int | None:
    """The place of the first node behind one that is no constant."""
    return next((k for k in range(end + 1, len(order)) if order[k].op != "get_attr"), None)


def _belongs(node: Node, caller: tuple[str, ...]) -> bool:
    """Whether a node is of the innermost of some modules, or of one in it."""
    stack = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
    return node.op == "call_function" and tuple(stack[: len(caller)]) == caller

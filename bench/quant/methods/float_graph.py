"""A network's graph in full precision, as methods change it before it is calibrated.

Weights are put in the place of others, never changed: the graph shares them with the network. New
layers get weights below the module that they come from, `conv.part1.weight`, so that skip lists
and reports still know them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bench.quant.graph import put
from bench.quant.layers import weight_of
from bench.quant.methods.windows import groups_of
from bench.quant.operators import CONVOLUTIONS, QUANTIZABLE
from bench.quant.weight_rows import constant

aten = torch.ops.aten
# Operators that move values, or multiply all of a channel alike: what scales a channel passes
# through. Rectifiers do too, as scales are above 0.
PASSING = (
    aten.view.default,
    aten.reshape.default,
    aten.transpose.int,
    aten.permute.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.contiguous.default,
    aten.clone.default,
    aten.to.dtype,
    aten.dropout.default,
    aten.relu.default,
    aten.leaky_relu.default,
    aten.upsample_nearest2d.vec,
)


def layers(graph: GraphModule) -> Iterator[Node]:
    """The convolutions and linear layers with weights of their own, in order."""
    for node in list(graph.graph.nodes):
        if node.target in QUANTIZABLE and weight_of(node) is not None:
            yield node


def name_of(node: Node) -> str:
    """The path of a layer's module."""
    weight = weight_of(node)
    assert weight is not None
    return str(weight.target).removesuffix(".weight")


def executed_once(graph: GraphModule) -> dict[Node, Node]:
    """The layers by the nodes of their weights; those that are executed twice are left out."""
    seen: dict[str, list[tuple[Node, Node]]] = {}
    for node in layers(graph):
        weight = weight_of(node)
        assert weight is not None
        seen.setdefault(str(weight.target), []).append((weight, node))
    return {weight: node for (weight, node), *more in seen.values() if not more}


def replace(graph: GraphModule, node: Node, value: Tensor) -> None:
    """Put another tensor of the same shape in the place of a parameter or buffer.

    Args:
        graph: is changed; the network is not.
        node: reads the parameter.
        value: the new one.
    """
    put(graph, str(node.target), value.detach().to(node.meta["val"].dtype).contiguous())


def weight(graph: GraphModule, before: Node, name: str, value: Tensor) -> Node:
    """A new weight.

    Args:
        graph: is changed.
        before: the node before which it is read.
        name: of its module, which is made; the weight is `NAME.weight`.
        value: float32.
    """
    module: nn.Module = graph
    for word in name.split("."):
        children = dict(module.named_children())
        if word not in children:
            module.add_module(word, nn.Module())
        module = module.get_submodule(word)
    module.register_buffer("weight", value.detach().contiguous())
    with graph.graph.inserting_before(before):
        made = graph.graph.get_attr(f"{name}.weight")
    made.meta["val"] = like(before, value.shape)
    return made


def call(graph: GraphModule, after: Node, target: Any, arguments: Any, shape: Any) -> Node:
    """A new call of a function behind a node, with a result of a shape."""
    with graph.graph.inserting_after(after):
        made = graph.graph.call_function(target, arguments)
    made.meta = {"val": like(after, shape)}
    if stack := after.meta.get("nn_module_stack"):
        made.meta["nn_module_stack"] = stack
    return made


def like(node: Node, shape: Any) -> Tensor:
    """What stands for a tensor of another shape than that of a node."""
    stands: Tensor = node.meta["val"]
    return stands.new_empty(tuple(shape))


def channels(node: Node) -> int:
    """The dimension of a layer's input that holds the channels which its weights multiply."""
    return 1 if node.target in CONVOLUTIONS else -1


def reached(start: Node, marks: Tensor) -> list[tuple[Node, Tensor]] | None:
    """Where the channels of a value go, through operators that keep them apart.

    Args:
        start: the node of the value.
        marks: the number of the channel of each element, whole numbers of its shape.

    Returns:
        Each layer that takes them, and for each of its input channels the number that it holds;
        None where a value goes anywhere else, or a channel holds several numbers.
    """
    ends: list[tuple[Node, Tensor]] = []
    for user in start.users:
        if user.target in QUANTIZABLE and user.args[0] is start and groups_of(user) == 1:
            moved = marks.movedim(channels(user), 0).flatten(1)
            if not bool((moved == moved[:, :1]).all()):
                return None
            ends.append((user, moved[:, 0]))
            continue
        passed = _passed(user, start, marks)
        further = None if passed is None else reached(user, passed)
        if further is None:
            return None
        ends += further
    return ends


def _passed(user: Node, value: Node, marks: Tensor) -> Tensor | None:
    """The numbers of the channels behind an operator, None where it mixes them."""
    target: Any = user.target
    if target is aten._assert_tensor_metadata.default:
        return marks
    if target in PASSING and user.args[0] is value:
        # Whole numbers pass rectifiers as they are, and types are none of theirs.
        if target in (aten.to.dtype, aten.dropout.default):
            return marks
        moved: Tensor = target(marks.float(), *user.args[1:], **user.kwargs)
        return moved.round().long()
    attends = target is aten.scaled_dot_product_attention.default and user.args[2] is value
    mixes = target in (aten.matmul.default, aten.bmm.default) and user.args[1] is value
    if attends or mixes:
        # The last dimension stays, and rows of the one before it are averaged.
        if not bool((marks == marks.narrow(-2, 0, 1)).all()):
            return None
        shape = user.meta["val"].shape
        return marks.narrow(-2, 0, 1).expand(shape) if marks.ndim == len(shape) else None
    return None


def exact(graph: GraphModule, node: Node) -> Tensor:
    """The tensor that a node of the graph reads, float32."""
    return constant(graph, node).detach().float()

"""Activation ranges for groups of timesteps, switched by the timestep inside the quantized graph.

With N - 1 boundaries b, an evaluation at the level t belongs to group g = #{i: b_i <= t}, and each
layer's input is quantized with entry g of its own table of N scales and zero points. Boundaries,
tables and the choice are nodes of the graph, so whatever executes it switches likewise. The images
of a batch share their level as they are sampled: that of the first decides for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.quant.graph import DEQUANTIZE_SWITCHED, QUANTIZE_SWITCHED, inputs_of
from bench.quant.weight_rows import constant

aten = torch.ops.aten
# The buffer of a graph that holds the boundaries; by it a graph whose ranges switch is known.
BOUNDARIES = "bench_boundaries"


@dataclass(frozen=True, eq=False)
class Switch:
    """How an evaluation tells its group.

    Attributes:
        place: of the input of the network that says the level, (B,); 1 is the second.
        modulus: T where its values are codes t + T y of timestep and class, else 0.
        boundaries: least value of each group but the first, rising, (N - 1,), of the input's type.
    """

    place: int
    modulus: int
    boundaries: Tensor

    def __len__(self) -> int:
        """Groups N."""
        return len(self.boundaries) + 1

    def levels(self, inputs: Sequence[Tensor]) -> Tensor:
        """What the inputs of an evaluation say of the level of each image, (B,)."""
        values = inputs[self.place]
        return values.remainder(self.modulus) if self.modulus else values

    def group(self, inputs: Sequence[Tensor]) -> int:
        """The group of an evaluation, 0 to N - 1."""
        return int(torch.bucketize(self.levels(inputs)[0], self.boundaries, right=True))


def level_input(denoiser: Denoiser) -> tuple[int, int]:
    """Place and modulus (as of `Switch`) of the input by which a network is told the level.

    Found by what `Denoiser.inputs` makes of other levels and of other classes.

    Raises:
        InputError: no single input of one number for each image tells the level.
    """
    zeros = torch.zeros(2, *denoiser.shape, device=denoiser.device)
    levels, label = denoiser.levels, torch.zeros(2, dtype=torch.int64, device=denoiser.device)
    labels = [label, label + 1] if denoiser.classes else [None]
    least, most = (
        denoiser.inputs(zeros, levels.at(index), labels[0]) for index in (0, len(levels) - 1)
    )
    pairs = enumerate(zip(least, most, strict=True))
    places = [place for place, (low, high) in pairs if not torch.equal(low, high)]
    if len(places) != 1 or least[places[0]].shape != (2,):
        raise InputError(
            f"tgroups cannot read the timestep of this network: {len(places)} of its inputs tell "
            f"it, and it needs one, with one number for each image"
        )
    (place,) = places
    classes = denoiser.inputs(zeros, levels.at(0), labels[-1])[place]
    if torch.equal(classes, least[place]):
        return place, 0
    if not torch.equal(classes, least[place] + len(levels)):
        raise InputError(
            "tgroups cannot read the timestep of this network: the input that tells it is also "
            "told the class, and not as t + T y"
        )
    return place, len(levels)


def boundaries(levels: Tensor, count: int) -> Tensor:
    """Boundaries that part levels into groups of equal number, halfway between their neighbours.

    Args:
        levels: distinct and rising, (L,) with L >= count.
        count: groups N; where it does not divide L, their sizes differ by one.

    Returns:
        (N - 1,), of the levels' type.
    """
    starts = torch.tensor([k * len(levels) // count for k in range(1, count)], dtype=torch.int64)
    starts = starts.to(levels.device)
    low, high = levels[starts - 1], levels[starts]
    if levels.is_floating_point():
        middle = low + (high - low) / 2
        # Between two neighbours of the number format there is nothing.
        return torch.where(middle > low, middle, high)
    return low + (high - low + 1) // 2


class SwitchedRanges:
    """Writes a switch, and ranges that follow it, into a graph, which is compiled anew after it.

    Args:
        graph: without a switch.
        switch: whose boundaries lie on the graph's device.
    """

    def __init__(self, graph: GraphModule, switch: Switch) -> None:
        self.graph, self.device = graph, switch.boundaries.device
        self.known: dict[tuple[float, ...], tuple[Node, Node]] = {}
        inputs = [node for node in graph.graph.nodes if node.op == "placeholder"]
        # All that depends on the level alone comes first, wherever it is used.
        self.first = inputs[-1].next
        call = graph.graph.call_function
        with graph.graph.inserting_before(self.first):
            level = call(aten.select.int, (inputs[switch.place], 0, 0))
            if switch.modulus:
                level = call(aten.remainder.Scalar, (level, switch.modulus))
            edges = self._constant(BOUNDARIES, switch.boundaries)
            self.group = call(aten.bucketize.Tensor, (level, edges), {"right": True})

    def quantized(self, x: Node, table: Tensor, bits: int) -> Node:
        """Quantize and dequantize a value at the place where the graph inserts nodes.

        Args:
            x: the value.
            table: scale and zero point of each group, (N, 2); scales are rounded to float32.
            bits: of the codes.

        Returns:
            The node of the dequantized value.
        """
        limits = (*self._range(table), 0, 2**bits - 1, torch.uint8)
        codes = self.graph.graph.call_function(QUANTIZE_SWITCHED, (x, *limits))
        return self.graph.graph.call_function(DEQUANTIZE_SWITCHED, (codes, *limits))

    def _range(self, table: Tensor) -> tuple[Node, Node]:
        """Scale and zero point of the group; layers of equal tables share them."""
        key = tuple(table.double().flatten().tolist())
        if key not in self.known:
            name = f"bench_ranges_{len(self.known)}"
            table = table.to(self.device)
            with self.graph.graph.inserting_before(self.first):
                columns = (
                    self._constant(f"{name}_scale", table[:, 0].to(torch.float32)),
                    self._constant(f"{name}_zero", table[:, 1].to(torch.int32)),
                )
                scale, zero = (
                    self.graph.graph.call_function(aten.take.default, (column, self.group))
                    for column in columns
                )
            self.known[key] = scale, zero
        return self.known[key]

    def _constant(self, name: str, value: Tensor) -> Node:
        self.graph.register_buffer(name, value)
        return self.graph.graph.get_attr(name)


def switch_of(graph: GraphModule) -> Switch | None:
    """The switch that `SwitchedRanges` wrote into a graph, None where there is none."""
    nodes = list(graph.graph.nodes)
    edges = next((n for n in nodes if n.op == "get_attr" and n.target == BOUNDARIES), None)
    if edges is None:
        return None
    (group,) = edges.users
    level, modulus = group.args[0], 0
    if level.target is aten.remainder.Scalar:
        level, modulus = level.args
    inputs = [node for node in nodes if node.op == "placeholder"]
    return Switch(inputs.index(level.args[0]), modulus, constant(graph, edges))


def inputs_of_all_groups(graph: GraphModule) -> list[tuple[Tensor, ...]]:
    """Inputs of the calibration, as `inputs_of`, by which every range of a graph is used.

    Where ranges do not switch, images of all of them in one batch are enough; they are for kernels
    of which all images are looked at. Where they do, a batch has one level; for a group that none
    of them belongs to there is one more: the first, moved to its level.
    """
    inputs, switch = list(inputs_of(graph)), switch_of(graph)
    if switch is None:
        return [_mixed(inputs)] if _may_mix(inputs) else inputs
    met = {switch.group(each) for each in inputs}
    for group in sorted(set(range(len(switch))) - met):
        moved = list(inputs[0])
        told, edges = moved[switch.place], switch.boundaries
        below = edges[0].abs() / 2 if edges.is_floating_point() and edges[0] != 0 else 1
        least = edges[group - 1] if group else edges[0] - below
        moved[switch.place] = told - switch.levels(inputs[0]) + least
        inputs.append(tuple(moved))
    return inputs


def _may_mix(inputs: Sequence[tuple[Tensor, ...]]) -> bool:
    """Whether all tensors are of one batch, which has room for an image of each."""
    batch = len(inputs[0][0]) if inputs[0][0].ndim else 0
    sizes = {tensor.shape[:1] for each in inputs for tensor in each}
    return batch >= len(inputs) and sizes == {(batch,)}


def _mixed(inputs: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """A batch whose image i is that of input i mod n, of n inputs."""
    images = torch.arange(len(inputs[0][0]))
    return tuple(
        torch.stack(every)[images % len(inputs), images] for every in zip(*inputs, strict=True)
    )

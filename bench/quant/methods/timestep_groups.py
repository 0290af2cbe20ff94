"""Activation ranges for groups of timesteps, switched by the timestep inside the graph.

The values that a layer meets change along a trajectory, and one range for all timesteps may fit
none of them. Wang et al. 2024 (APQ-DM, arXiv 2305.18723) quantize activations otherwise in each
group of timesteps, Huang et al. 2024 (TFMQ-DM, arXiv 2311.16503) what the time embedding feeds at
each single one. Here the noise levels that sampling walks through are parted into N groups of
neighbours, equal in number, and the input of every layer gets a range for each, found as that of
plain calibration: by the scheme's observer, from what full precision meets along its trajectories,
at the levels of the group alone. The graph itself reads the level that it is called with
(`bench.quant.switched`); weights stay as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node

from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.printable import quoted
from bench.core.protocols import Calibration
from bench.core.scheme import FLOAT_BITS, Scheme
from bench.quant.graph import OBSERVER, float_of, layers_of
from bench.quant.identities import METHOD_VERSIONS
from bench.quant.layers import Layer
from bench.quant.methods.percentile import Percentile
from bench.quant.observers import range_observer
from bench.quant.switched import Switch, SwitchedRanges, boundaries, level_input

# Groups at most: as many as timesteps of usual trainings.
MOST = 1000


class TimestepGroups:
    """Gives activations a range for each group of timesteps (Wang et al. 2024, APQ-DM)."""

    version = METHOD_VERSIONS["tgroups"]

    def __init__(self, argument: str = "") -> None:
        if not (argument.isascii() and argument.isdigit() and 2 <= int(argument[:9]) <= MOST):
            given = f", not {quoted(argument)}" if argument else ""
            raise InputError(f"tgroups=8 takes a number of groups, 2 to {MOST}{given}")
        self.count = int(argument)

    def refuses(self, scheme: Scheme) -> str | None:
        """Refuse float activations, and two ranges of the same ones."""
        if scheme.act_bits in FLOAT_BITS:
            return "the activations stay in float, so they have no range"
        for name, _, argument in (method.partition(":") for method in scheme.methods):
            if name == "percentile" and Percentile(argument).activations < 100:
                return (
                    "percentile chooses the ranges of the same activations: name one of them, or "
                    "percentile=activations:100 with a percentile of weights"
                )
        return None

    def __call__(
        self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration
    ) -> GraphModule:
        """Give the inputs of all layers a range for each group.

        Raises:
            InputError: the network does not tell its level so that it can be read, or sampling
                meets fewer levels than there should be groups.
            RuntimeError: an input is not finite, the images of a batch are at different levels, or
                the calibration evaluates nothing.
        """
        full = float_of(graph)
        place, modulus = level_input(denoiser)
        levels = met_levels(full, Switch(place, modulus, torch.empty(0)), calibration)
        if len(levels) < self.count:
            raise InputError(
                f"tgroups={self.count}: sampling meets {len(levels)} noise levels, and each group "
                f"needs one: name at most {len(levels)} groups, or sample in more steps"
            )
        switch = Switch(place, modulus, boundaries(levels, self.count))
        set_ranges(graph, switch, group_ranges(graph, full, switch, calibration))
        return graph


def met_levels(full: GraphModule, switch: Switch, calibration: Calibration) -> Tensor:
    """The distinct levels at which the calibration evaluates a network, rising, (L,).

    Samplers choose them before they see a prediction, so one of zeros serves and costs nothing.
    """
    seen: list[Tensor] = []
    output = next(node for node in full.graph.nodes if node.op == "output")
    shape = output.all_input_nodes[0].meta["val"].shape

    def evaluate(*inputs: Tensor) -> Tensor:
        seen.append(_only_level(switch, inputs))
        return inputs[0].new_zeros(shape)

    calibration(evaluate)
    if not seen:
        raise RuntimeError("calibration did not evaluate the network")
    with torch.inference_mode(False):
        return torch.stack([level.clone() for level in seen]).unique()


def _only_level(switch: Switch, inputs: tuple[Tensor, ...]) -> Tensor:
    """The level of all images of a batch."""
    levels = switch.levels(inputs)
    if bool((levels != levels[0]).any()):
        raise RuntimeError(
            "tgroups: images of one batch are at different timesteps, and ranges switch for all"
        )
    return levels[0]


def group_ranges(
    graph: GraphModule, full: GraphModule, switch: Switch, calibration: Calibration
) -> dict[str, Tensor]:
    """The range of each layer's input in each group.

    Args:
        graph: from `quantize_graph`.
        full: the network in full precision, with nodes of the same names.
        switch: the groups.
        calibration: gives the trajectories.

    Returns:
        Scale and zero point of each group, float64 (N, 2), by the node of the layer.
    """
    layers = [layer for layer in layers_of(graph) if layer.act_bits not in FLOAT_BITS]
    watched = _Watched(full, layers, switch, graph.meta[OBSERVER])
    calibration(watched.evaluate)
    tables: dict[tuple[Node, int], Tensor] = {}
    for name, layer in watched.layers.items():
        key = watched.inputs[name]
        observers = watched.observers.get(key, {})
        if len(observers) < len(switch):
            raise RuntimeError(f"sampling met no level of a group at layer {layer.name}")
        rows = [observers[group].calculate_qparams() for group in range(len(switch))]  # type: ignore[operator]
        tables[key] = torch.tensor(
            [[float(scale), int(zero)] for scale, zero in rows], dtype=torch.float64
        )
    return {node: tables[key] for node, key in watched.inputs.items()}


def set_ranges(graph: GraphModule, switch: Switch, tables: dict[str, Tensor]) -> None:
    """Give layers' inputs ranges that switch, in the place of those that they have.

    Args:
        graph: is changed.
        switch: the groups.
        tables: as `group_ranges` returns them, of all layers with quantized inputs.
    """
    bits = {layer.node: layer.act_bits for layer in layers_of(graph)}
    written = SwitchedRanges(graph, switch)
    for node in list(graph.graph.nodes):
        if node.name not in tables:
            continue
        old = node.args[0]
        x = old.args[0].args[0]
        # An input of the network is rounded before the one that tells the level may be there.
        with graph.graph.inserting_before(written.first if x.op == "placeholder" else old):
            new = written.quantized(x, tables[node.name], bits[node.name])
        node.replace_input_with(old, new)
    graph.graph.eliminate_dead_code()
    graph.recompile()


class _Watched(Interpreter):
    """Executes a network, and observes the inputs of its layers for each group by itself.

    Attributes:
        layers: the first one of each input, by its node.
        inputs: what each layer shares its observers by: the node of its input, and its bits.
        observers: for that, by group.
    """

    def __init__(
        self, graph: GraphModule, layers: list[Layer], switch: Switch, observer: str
    ) -> None:
        super().__init__(graph)
        self.switch, self.observer, self.group = switch, observer, 0
        self.layers: dict[str, Layer] = {}
        self.inputs: dict[str, tuple[Node, int]] = {}
        self.observers: dict[tuple[Node, int], dict[int, nn.Module]] = {}
        nodes = {node.name: node for node in graph.graph.nodes}
        for layer in layers:
            key = nodes[layer.node].args[0], layer.act_bits
            if key not in self.inputs.values():
                self.layers[layer.node] = layer
            self.inputs[layer.node] = key

    def evaluate(self, *inputs: Tensor) -> Tensor:
        """Run; from inference mode too, whose tensors observers must not keep."""
        _only_level(self.switch, inputs)
        self.group = self.switch.group(inputs)
        with torch.inference_mode(False), torch.no_grad():
            prediction: Tensor = self.run(*(tensor.clone() for tensor in inputs))
            return prediction

    def run_node(self, n: Node) -> Any:
        if layer := self.layers.get(n.name):
            x = self.env[n.args[0]]  # type: ignore[index]
            if not bool(torch.isfinite(x).all()):
                raise RuntimeError(f"inputs of layer {layer.name} are not finite")
            groups = self.observers.setdefault(self.inputs[n.name], {})
            if self.group not in groups:
                groups[self.group] = range_observer(self.observer, layer.act_bits).to(x.device)
            groups[self.group](x)
        return super().run_node(n)

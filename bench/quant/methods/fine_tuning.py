"""Fine-tuning by distillation: the quantized network learns what full precision predicts.

For a few hundred updates the network is trained with rounding in the loop to predict what its own
full precision predicts, on inputs from the sampling trajectories of both: no data is needed (He et
al. 2024, EfficientDM, arXiv 2310.03270). Learned are, of each layer with rounded weights, the
weights, the steps of their rows, and the bias; activations keep their ranges. Rounding passes the
slope on as it is, and so the step s of weights w has the slope of round(w / s) - w / s, or of the
end of its range (Esser et al. 2020, LSQ, arXiv 1902.08153).

    least over W, s, b:    E[(predicted_q(x, t) - predicted(x, t))^2]

by Adam, whose rate falls to zero along a half cosine. The result is weights whose plain rounding
is the learned one. It begins at what earlier methods made of the weights. Where the error over all
inputs is no less than before, everything stays as it was. Updates are kept as they are made, so
that a killed run goes on where it stopped.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.fx import GraphModule, Node

from bench.core.denoiser import Denoiser
from bench.core.protocols import Calibration
from bench.core.scheme import FLOAT_BITS, Scheme
from bench.quant.biases import bias_of, set_bias
from bench.quant.graph import float_of
from bench.quant.identities import METHOD_VERSIONS
from bench.quant.methods import options
from bench.quant.methods.rounded import (
    Grid,
    RoundedLayer,
    by_name,
    grid_of,
    names_after,
    rounded_layers,
    set_codes,
)
from bench.quant.methods.segments import Segment
from bench.quant.stopped import Inputs, drawn
from bench.quant.switched import switch_of
from bench.quant.weight_rows import constants, dequantized
from bench.system import artifacts
from bench.system.random import seeded
from bench.system.remaining import Remaining

OPTIONS = {"updates": (300.0, 1.0, 1e6), "rate": (0.01, 1e-6, 1.0)}
# Most inputs of the network that are drawn from the trajectories of each of the two.
INPUTS = 2048
# Rates of the logarithms of steps, and of biases in units of their layer's weights, as shares of
# the rate of the weights in units of steps.
STEPS, BIASES = 0.1, 0.1
# Updates between two that are kept.
PAUSE = 25


class FineTuning:
    """Trains the quantized network for a while to predict as full precision (He et al. 2024)."""

    version = METHOD_VERSIONS["finetune"]

    def __init__(self, argument: str = "") -> None:
        values = options.numbers("finetune", argument, OPTIONS)
        self.updates, self.rate = int(values["updates"]), values["rate"]

    def refuses(self, scheme: Scheme) -> str | None:
        """Refuse float weights, and what rounds them anew afterwards."""
        if scheme.weight_bits in FLOAT_BITS:
            return "the weights stay in float, so they are not rounded"
        if after := names_after(scheme, "finetune"):
            return f"{after} chooses the same weights after it: name {after} before finetune"
        return None

    def __call__(
        self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration
    ) -> GraphModule:
        """Train all layers with rounded weights.

        Raises:
            RuntimeError: a prediction is not finite, or a layer computes its bias.
        """
        student = _Student(graph, self.rate)
        lessons = _Lessons(graph, denoiser, calibration)
        before = student.error(lessons)
        if not math.isfinite(before):
            raise RuntimeError("predictions of the network are not finite: check its weights")
        path = calibration.place and calibration.place / "finetune.safetensors"
        done = student.resume(path)
        told = Remaining("finetune", self.updates)
        told.skip(done)
        for k in range(done, self.updates):
            student.update(lessons, k, self.updates)
            told.advance(1)
            if k + 1 == self.updates or (k + 1) % PAUSE == 0:
                student.keep(path, k + 1)
        after = student.error(lessons)
        if after < before:
            student.write()
            graph.recompile()
        else:
            print(
                f"bench: finetune: {self.updates} updates gained nothing (mean square error "
                f"{before:.3g}, then {after:.3g}), so all stays as it was",
                file=sys.stderr,
            )
        return graph


class _Lessons:
    """Inputs of the network in batches, and what full precision predicts of each."""

    def __init__(self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration) -> None:
        size, full = calibration.shape[0], float_of(graph)
        self.inputs: list[Inputs] = []
        for model in (denoiser.model, graph):
            some = drawn(model, calibration, INPUTS // size * size, size, switch_of(graph))
            # The graph takes whole batches only.
            self.inputs += [batch for batch in some if len(batch[0]) == size]
        with torch.no_grad():
            self.predictions: list[Tensor] = [full(*copies(each)) for each in self.inputs]

    def chosen(self, update: int) -> int:
        """The batch of an update: all of them, in a new order each time round."""
        turn, place = divmod(update, len(self.inputs))
        order = torch.randperm(len(self.inputs), generator=seeded("finetune", turn))
        return int(order[place])


def copies(inputs: Inputs) -> Inputs:
    """Inputs that a network may change in place."""
    return tuple(tensor.clone() for tensor in inputs)


class _Trained:
    """The weights, steps and bias of a layer on their way.

    Attributes:
        weight, steps, bias: changes, in units of steps, of their logarithm and of the size of the
            layer's weights.
    """

    def __init__(self, graph: GraphModule, executions: Sequence[RoundedLayer]) -> None:
        first = executions[0]
        self.executions, self.grid = executions, grid_of(graph, first)
        self.rows = constants(graph, first.node)[1].float()
        self.start = _latent(graph, first, self.grid)
        self.unit = self.start.std(unbiased=False) * math.sqrt(self.start.shape[1])
        self.first_bias = bias_of(graph, first.node, first.layer.name)
        self.weight = torch.zeros_like(self.start, requires_grad=True)
        self.steps = torch.zeros_like(self.rows, requires_grad=True)
        self.bias = torch.zeros_like(self.first_bias, requires_grad=True)

    def numbers(self) -> tuple[Tensor, Tensor]:
        """Weights as numbers of steps, within the grid, and the steps, both (C_out, K)."""
        rows = self.rows * self.steps.exp()
        steps = rows.view(len(self.start), -1)
        if steps.shape[1] > 1:
            steps = steps.repeat_interleave(self.start.shape[1] // steps.shape[1], 1)
        weight = self.start + self.grid.steps * self.weight
        return self.grid.within(weight / steps), steps

    def rounded(self) -> Tensor:
        """The weights that are computed with, (C_out, K), with slopes as if none were rounded."""
        numbers, steps = self.numbers()
        return (numbers + (numbers.round() - numbers).detach()) * steps

    def biased(self) -> Tensor:
        """The bias, (C_out,)."""
        return self.first_bias + self.unit * self.bias

    def write(self, graph: GraphModule) -> None:
        """Give the graph what was learned."""
        with torch.no_grad():
            numbers, _ = self.numbers()
            for each in self.executions:
                constants(graph, each.node)[1].copy_(self.rows * self.steps.exp())
                set_codes(graph, each, numbers.round())
                set_bias(graph, each.node, self.biased())


class _Student:
    """What is trained of a graph, and how."""

    def __init__(self, graph: GraphModule, rate: float) -> None:
        self.graph = graph
        self.layers = [_Trained(graph, some) for some in by_name(rounded_layers(graph)).values()]
        for layer in self.layers:
            for each in layer.executions:
                # So that each layer has one that can be given another value.
                set_bias(graph, each.node, layer.first_bias.clone())
        graph.graph.eliminate_dead_code()
        graph.recompile()
        nodes = list(graph.graph.nodes)
        self.inputs = [node for node in nodes if node.op == "placeholder"]
        output = nodes[-1].all_input_nodes
        given = [node for layer in self.layers for node in _nodes(layer)]
        self.segment = Segment(graph, self.inputs, output, given)
        self.rates = [rate, rate * STEPS, rate * BIASES]
        trained = [
            [layer.weight for layer in self.layers],
            [layer.steps for layer in self.layers],
            [layer.bias for layer in self.layers],
        ]
        pairs = zip(trained, self.rates, strict=True)
        self.adam = torch.optim.Adam([{"params": some, "lr": rate} for some, rate in pairs])

    def update(self, lessons: _Lessons, number: int, total: int) -> None:
        """One update; its rate is that of a half cosine over all of them."""
        share = (1 + math.cos(math.pi * number / total)) / 2
        for group, rate in zip(self.adam.param_groups, self.rates, strict=True):
            group["lr"] = rate * share
        self.adam.zero_grad()
        with torch.enable_grad():
            self._of_batch(lessons, lessons.chosen(number)).backward()
        self.adam.step()

    def error(self, lessons: _Lessons) -> float:
        """The mean square error of the prediction over all inputs."""
        with torch.no_grad():
            errors = [float(self._of_batch(lessons, k)) for k in range(len(lessons.inputs))]
        return sum(errors) / len(errors)

    def _of_batch(self, lessons: _Lessons, batch: int) -> Tensor:
        given: dict[Node, Tensor] = {}
        for layer in self.layers:
            values = layer.rounded(), layer.biased()
            for node, value in zip(_nodes(layer), values * len(layer.executions), strict=True):
                wide = layer.executions[0].weight.shape
                given[node] = value.view(wide) if value.ndim > 1 else value
        values_of_inputs = dict(zip(self.inputs, lessons.inputs[batch], strict=True))
        (prediction,) = self.segment(values_of_inputs, given)
        return (prediction - lessons.predictions[batch]).square().mean()

    def keep(self, path: Path | None, done: int) -> None:
        """Keep the state after some updates."""
        if path is not None:
            tensors = {"done": torch.tensor(done)}
            for k, variable in enumerate(self._variables()):
                tensors[f"{k} value"] = variable.detach()
                tensors |= {f"{k} {name}": t for name, t in self.adam.state[variable].items()}
            artifacts.write(path, artifacts.bound(path), save(tensors))

    def resume(self, path: Path | None) -> int:
        """Go on from the state that was kept; the updates that it has behind it."""
        content = path and artifacts.read(path, artifacts.bound(path))
        if not content:
            return 0
        tensors = load(content)
        done = int(tensors.pop("done"))
        with torch.no_grad():
            for k, variable in enumerate(self._variables()):
                variable.copy_(tensors[f"{k} value"])
                self.adam.state[variable] = {
                    name: tensors[f"{k} {name}"].to(variable.device if name != "step" else "cpu")
                    for name in ("step", "exp_avg", "exp_avg_sq")
                }
        return done

    def _variables(self) -> list[Tensor]:
        return [tensor for group in self.adam.param_groups for tensor in group["params"]]

    def write(self) -> None:
        """Give the graph what was learned."""
        for layer in self.layers:
            layer.write(self.graph)


def _nodes(layer: _Trained) -> list[Node]:
    """The nodes of weights and biases of all executions of a layer."""
    nodes: list[Node] = []
    for each in layer.executions:
        nodes += each.node.args[1:3]  # type: ignore[arg-type]
    return nodes


def _latent(graph: GraphModule, first: RoundedLayer, grid: Grid) -> Tensor:
    """Weights whose plain rounding is what the graph has, as near to full precision as may be,
    float32 (C_out, K)."""
    rounded, exact = dequantized(graph, first.node).flatten(1), first.weight.flatten(1)
    reach = 0.49 * grid.steps
    return rounded + (exact - rounded).clamp(-reach, reach)

"""The methods of a scheme, one after the other, on the quantized graph that all backends execute.

A method changes the graph in full precision before its ranges are calibrated (`prepare`), or the
quantized graph afterwards, or both. It may be anyone's: after each one the graph is held against
what every execution relies on, so that simulation and integer kernels run the very same result, or
the cell fails by its name.
"""

from __future__ import annotations

import copy
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.core import extensions
from bench.core.denoiser import Denoiser
from bench.core.printable import say, short
from bench.core.protocols import Calibration
from bench.core.scheme import FLOAT_BITS, Scheme
from bench.quant.methods.guarding import guarded
from bench.system.user_code import tried

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node


def refusal(scheme: Scheme) -> str | None:
    """The reason why a method of the scheme has nothing to do under it, or None.

    Raises:
        InputError: an unknown method, or an argument that it does not take.
    """
    for name in scheme.methods:
        if reason := extensions.lookup("methods", name)().refuses(scheme):
            plain = extensions.plain(name)
            return f"method {name if plain == 'python' else plain}: {reason}"
    return None


def prepares(scheme: Scheme) -> bool:
    """Whether a method of a scheme changes the graph in full precision."""
    made = (extensions.lookup("methods", name)() for name in scheme.methods)
    return any(hasattr(method, "prepare") for method in made)


def check(scheme: Scheme, denoiser: Denoiser) -> None:
    """Ask the methods of a scheme whether they fit a network, before anything is computed.

    Raises:
        InputError: one does not, or fails to say so.
    """
    for name in scheme.methods:
        method = extensions.lookup("methods", name)()
        if hasattr(method, "check"):
            tried(f"method {name}", "check", partial(method.check, denoiser))


def prepared(denoiser: Denoiser, scheme: Scheme, calibration: Calibration) -> GraphModule:
    """The network's graph in full precision, as the methods of a scheme want it calibrated.

    Args:
        denoiser: in full precision; its weights are not changed.
        scheme: whose methods act.
        calibration: says of which shape the graph is, and where methods keep what took long.

    Raises:
        InputError: as methods raise it.
        RuntimeError: a method gave no graph, or one of another output.
    """
    import torch

    from bench.quant.layers import exported

    graph = exported(denoiser, calibration.shape[0])
    for name in scheme.methods:
        method = extensions.lookup("methods", name)()
        if not hasattr(method, "prepare"):
            continue
        with torch.inference_mode(False), torch.no_grad(), guarded(denoiser, name):
            made = method.prepare(graph, denoiser, calibration)
        graph = _graph(made, name)
        graph.graph.lint()
        graph.recompile()
    return graph


def switches(scheme: Scheme) -> bool:
    """Whether activation ranges of the scheme switch with the timestep."""
    return any(extensions.plain(name) == "tgroups" for name in scheme.methods)


def applied(
    graph: GraphModule, denoiser: Denoiser, scheme: Scheme, calibration: Calibration
) -> GraphModule:
    """The graph after all methods of its scheme; without methods the graph itself.

    Args:
        graph: from `quantize_graph`; methods get a copy, which shares no weights with it.
        denoiser: in full precision.
        scheme: that the graph executes.
        calibration: that led to the graph.

    Raises:
        InputError: as methods raise it.
        RuntimeError: a method left something that simulation and kernels would not both run.
    """
    if not scheme.methods:
        return graph
    import torch

    from bench.quant.graph import CALIBRATION, FLOAT, INPUTS, LAYERS, OBSERVER, TOLD, float_of

    told = {name: graph.meta[name] for name in (LAYERS, INPUTS, CALIBRATION, FLOAT, OBSERVER)}
    # The float weights of a graph are those of the denoiser, which its full-precision twin needs.
    # Copies that are made in inference mode, as probes run, could not be changed.
    with torch.inference_mode(False):
        graph = copy.deepcopy(graph, {id(float_of(graph)): float_of(graph)})
    texts = {}
    for name in scheme.methods:
        method = extensions.lookup("methods", name)()
        if not callable(method):
            continue
        with torch.inference_mode(False), torch.no_grad(), guarded(denoiser, name):
            made = method(graph, denoiser, calibration)
        graph = _graph(made, name)
        if text := graph.meta.pop(TOLD, ""):
            texts[extensions.plain(name)] = short(str(text), 500)
        graph.meta.update(told)
        try:
            _check(graph)
        except RuntimeError as error:
            raise RuntimeError(f"after method {name}: {error}") from error
    for name, text in texts.items():
        say(f"bench: {name}: {text}", file=sys.stderr)
    graph.meta[TOLD] = texts
    return graph


def _graph(made: object, name: str) -> GraphModule:
    """What a method gave, if it is a graph."""
    import torch

    if not isinstance(made, torch.fx.GraphModule):
        raise RuntimeError(f"method {name} gave a {type(made).__name__}, not a graph")
    return made


def _check(graph: GraphModule) -> None:
    """Hold a graph against what its executions, and the file that keeps it, rely on."""
    from bench.quant.graph import layers_of, verify

    graph.graph.lint()
    graph.recompile()
    layers = layers_of(graph)
    verify(graph, layers)
    nodes = {node.name: node for node in graph.graph.nodes}
    for layer in layers:
        _check_range_and_bias(graph, layer.name, nodes[layer.node])
        if layer.weight_bits not in FLOAT_BITS and layer.weights:
            _check_rows(graph, nodes[layer.node], layer.name)


def _check_rows(graph: GraphModule, node: Node, name: str) -> None:
    """Hold the rows of a layer's weights against what kernels and files take."""
    import torch

    from bench.quant.weight_rows import constants, rows_node

    rows = rows_node(node.args[1])
    if rows is None or any(each.op != "get_attr" for each in rows.args[:3]):  # type: ignore[union-attr]
        raise RuntimeError(f"the weights of layer {name} are computed, not stored")
    codes, steps, zeros = constants(graph, node)
    low, high = (int(limit) for limit in rows.args[4:6])  # type: ignore[arg-type]
    for what, numbers in (("weights", codes), ("zero points", zeros)):
        least, most = int(numbers.min()), int(numbers.max())
        if least < low or most > high:
            raise RuntimeError(
                f"the {what} of layer {name} must be from {low} to {high}, and are from {least} "
                f"to {most}"
            )
    if codes.dtype != torch.int8:
        raise RuntimeError(f"the weights of layer {name} must be int8, and are {codes.dtype}")
    if not bool((torch.isfinite(steps) & (steps > 0)).all()):
        raise RuntimeError(f"the steps of layer {name} must be above 0")


def _check_range_and_bias(graph: GraphModule, name: str, node: Node) -> None:
    """Hold the step of a layer's input, and its bias, against what they can be."""
    from bench.quant.graph import DEQUANTIZE
    from bench.quant.weight_rows import constant

    x, bias = node.args[0], node.args[2] if len(node.args) > 2 else None
    step: Any = x.args[1] if getattr(x, "target", None) is DEQUANTIZE else 1  # type: ignore[union-attr]
    if not step > 0:
        raise RuntimeError(f"the step of the input of layer {name} must be above 0")
    # Layers that share an input share its codes, but not what reads them.
    if getattr(x, "target", None) is DEQUANTIZE and x.args[0].args[1:] != x.args[1:]:  # type: ignore[union-attr]
        raise RuntimeError(
            f"the input of layer {name} is rounded by one range and read by another: give all "
            f"layers that share an input the same"
        )
    values = constant(graph, bias) if getattr(bias, "op", "") == "get_attr" else None  # type: ignore[arg-type]
    if values is not None and not bool(values.isfinite().all()):
        raise RuntimeError(f"the bias of layer {name} is not finite")

"""A handed-over graph in the operations that OpenVINO's converter of torch graphs knows.

The graph came out of `torch.export` itself, so one more trace, which takes operations apart on its
way, gives what a second export and its decompositions give, in a third of the time. It takes apart
what stands in the graph, and not what comes out of that; a graph for which this is not enough is
exported again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from bench.system.quiet import quiet_import, quiet_tracing

with quiet_import():
    from openvino.frontend.pytorch.torchdynamo.export_decompositions import ops_to_not_decompose


def traced(graph: GraphModule, examples: Sequence[Tensor]) -> GraphModule:
    """The graph in simpler operations, with its inputs under their names.

    Args:
        graph: of `bench.quant.kernels.handing_over`.
        examples: of its inputs.
    """
    table = decompositions()
    kept = {*ops_to_not_decompose()}
    for node in graph.graph.nodes:
        called = node.target
        is_operator = isinstance(called, torch._ops.OpOverload)
        if is_operator and called not in table and called not in kept and called._can_decompose():
            table[called] = called.decompose
    with torch.inference_mode(False), torch.no_grad(), quiet_tracing():
        trace = make_fx(
            graph,
            decomposition_table=table,
            tracing_mode="fake",
            _allow_non_fake_inputs=True,
            pre_dispatch=True,
        )
        made = trace(*examples)
    inputs = [[n for n in each.graph.nodes if n.op == "placeholder"] for each in (graph, made)]
    for before, after in zip(*inputs, strict=True):
        after.target = before.name
        after._rename(before.name)
    made.recompile()
    return made


def exported(graph: GraphModule, examples: Sequence[Tensor]) -> GraphModule:
    """The same by an export of its own, whose decompositions leave nothing out."""
    with torch.inference_mode(False), torch.no_grad(), quiet_tracing():
        program = torch.export.export(graph, tuple(examples))
        return cast("GraphModule", program.run_decompositions(decompositions()).module())


def decompositions() -> Any:
    """How operations become simpler ones, but for those that OpenVINO has a translation of.

    As its decoder chooses them, which writes to the log of every program that uses it, though.
    """
    table = torch.export.default_decompositions()
    for operator in ops_to_not_decompose():
        if operator in table:
            table.pop(operator)
    return table

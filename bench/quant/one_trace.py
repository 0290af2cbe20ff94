"""One trace for all networks of one structure, which differ in nothing but their parameters.

Tracing takes seconds, and the checkpoints of a run are mostly trainings of one network. Two
networks are of one structure where their modules are of the same classes and everything that
these hold is the same to the byte: numbers, names, flags, buffers, and the shapes of parameters.
What decides the trace is all in there, but for code that asks for the values of parameters, which
torch.export refuses. A network that cannot be written down so, as one with hooks, is traced by
itself.

What is kept of a trace holds no parameters, so no network stays in memory for it.
"""

from __future__ import annotations

import copy
import hashlib
import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

# Traces that are kept; the one that was not used for longest goes first.
MOST = 16


def structure(model: nn.Module) -> tuple[Hashable, ...] | None:
    """What two networks share where one trace serves both; None where that cannot be told.

    Args:
        model: any network.
    """
    written = io.BytesIO()
    try:
        _Structure(written).dump(model)
    # Whatever a network may hold: functions of a function, locks, open files.
    except Exception:
        return None
    classes = tuple(type(module) for module in model.modules())
    return (*classes, hashlib.sha256(written.getvalue()).hexdigest())


class _Structure(pickle.Pickler):
    """Writes a network without the values of its parameters; equal bytes, equal structure."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self._places: dict[int, int] = {}

    def persistent_id(self, value: Any) -> Any:
        """What stands for a tensor: all but the values of a parameter; None for all else."""
        if not isinstance(value, Tensor):
            return None
        # Tensors in several places, as tied weights, are told from those that are only alike.
        place = self._places.setdefault(id(value), len(self._places))
        about = (str(value.device), str(value.dtype), *value.shape, *value.stride())
        if isinstance(value, nn.Parameter):
            return ("parameter", type(value), place, value.requires_grad, about)
        values = value.detach().cpu().contiguous().view(-1).view(torch.uint8)
        return ("tensor", place, about, hashlib.sha256(values.numpy().tobytes()).hexdigest())


@dataclass(frozen=True)
class _Trace:
    """A graph whose parameters have shapes but no values, and these by their names."""

    graph: GraphModule
    parameters: dict[str, nn.Parameter]
    buffers: dict[str, Tensor]


@dataclass
class Traces:
    """The traces of a process."""

    _kept: OrderedDict[Hashable, _Trace] = field(default_factory=OrderedDict)

    def of(
        self, model: nn.Module, called: Hashable, trace: Callable[[], GraphModule]
    ) -> GraphModule:
        """The graph of a network, which shares its parameters.

        Args:
            model: the network.
            called: what tells the shapes and types that it is called with.
            trace: traces it; called where no network of its structure was traced before.
        """
        alike = structure(model)
        if alike is None:
            return trace()
        graph = self._find((alike, called), model)
        if graph is None:
            graph = trace()
            self._keep((alike, called), model, graph)
        return graph

    def _find(self, key: Hashable, model: nn.Module) -> GraphModule | None:
        if (trace := self._kept.get(key)) is None:
            return None
        self._kept.move_to_end(key)
        own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        there: dict[str, Tensor] = {**trace.parameters, **trace.buffers}
        return copy.deepcopy(trace.graph, {id(there[name]): own[name] for name in there})

    def _keep(self, key: Hashable, model: nn.Module, graph: GraphModule) -> None:
        parameters = dict(model.named_parameters())
        # A constant of the trace that is a parameter of something else would be lost.
        known = {id(value) for value in parameters.values()}
        if not all(id(value) in known for value in graph.parameters()):
            return
        empty = {name: _without_values(value) for name, value in parameters.items()}
        buffers = {name: value.clone() for name, value in model.named_buffers()}
        memo: dict[int, Tensor] = {id(value): empty[name] for name, value in parameters.items()}
        memo |= {id(value): buffers[name] for name, value in model.named_buffers()}
        self._kept[key] = _Trace(copy.deepcopy(graph, memo), empty, buffers)
        if len(self._kept) > MOST:
            self._kept.popitem(last=False)


def _without_values(parameter: nn.Parameter) -> nn.Parameter:
    empty = torch.empty_like(parameter, device="meta")
    return nn.Parameter(empty, requires_grad=parameter.requires_grad)

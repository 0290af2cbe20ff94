"""A model as OpenVINO executes it on a CPU, and which kernels it took.

With several threads it computes the parts of a batch at the same time, each with one thread
(streams), or one batch with all of them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import openvino
import torch
from torch import Tensor, nn

# What multiplications by weights become in the graph that is executed.
PRODUCTS = ("Convolution", "FullyConnected", "MatMul")
INTEGERS = ("u8", "i8")


class Compiled(nn.Module):
    """A model as OpenVINO executes it: network inputs -> outputs, all on a CPU.

    Args:
        model: from `convert`.
        inputs: names of the inputs that it is called with, in order; it may have fewer.
        streams: parts of a batch that are computed at the same time, each by one thread of its
            own; the model is that of a part.
    """

    def __init__(self, model: openvino.Model, inputs: Sequence[str], streams: int = 1) -> None:
        super().__init__()
        self.compiled = _core().compile_model(model, "CPU", _settings(streams))
        self.requests = [self.compiled.create_infer_request() for _ in range(streams)]
        ports = {port.get_node().get_friendly_name(): port for port in self.compiled.inputs}
        self.ports = [ports.get(name) for name in inputs]

    def forward(self, *inputs: Tensor) -> Tensor:
        """The first output."""
        return self.outputs(*inputs)[0]

    def outputs(self, *inputs: Tensor) -> list[Tensor]:
        """All outputs, copied."""
        chunks = [x.detach().contiguous().chunk(len(self.requests)) for x in inputs]
        for request, part in zip(self.requests, zip(*chunks, strict=True), strict=True):
            pairs = zip(self.ports, part, strict=True)
            given = {port: x.numpy() for port, x in pairs if port is not None}
            request.start_async(given, share_inputs=True)
        for request in self.requests:
            request.wait()
        return [
            torch.cat([torch.from_numpy(made.get_tensor(port).data) for made in self.requests])
            for port in self.compiled.outputs
        ]

    def operators(self) -> dict[str, tuple[str, bool]]:
        """What computes each product of a weight, by its name: the kernel, and whether its
        operands are integers."""
        found = {}
        for node in self.compiled.get_runtime_model().get_ops():
            told = node.get_rt_info()
            if told["layerType"].astype(str) not in PRODUCTS:
                continue
            kernel = told["primitiveType"].astype(str)
            integers = told["runtimePrecision"].astype(str) in INTEGERS
            for name in told["originalLayersNames"].astype(str).split(","):
                # Of signed codes only the node that scales the product keeps its name.
                name, _, rest = name.partition("/")
                if not rest or rest.startswith("Dequantization"):
                    found[name] = f"openvino.{kernel}", integers
        return found


@functools.cache
def _core() -> openvino.Core:
    return openvino.Core()


def _settings(streams: int) -> Mapping[str, Any]:
    # Float stays float32 on CPUs that would take bfloat16, and threads are those of torch.
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,
    }

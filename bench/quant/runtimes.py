"""A network in full precision as other runtimes for CPUs execute it, by name.

They are what an execution in integers competes with: whoever ships a network on a CPU takes one of
them. They are timed beside it, and draw no images of a run.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

from bench.core.denoiser import Denoiser
from bench.system import devices

if TYPE_CHECKING:
    from torch import nn

# The packages that each of them needs.
RUNTIMES = {
    "float-openvino": ("openvino",),
    "onnxruntime": ("onnxruntime", "onnx", "onnxscript"),
}


def refusal(name: str, device: str) -> str | None:
    """Why a runtime cannot be used here, or None.

    Args:
        name: one of `RUNTIMES`.
        device: from `devices.find`.
    """
    if device != devices.CPU:
        return f"{name} is timed on a CPU, not on {device}"
    missing = [package for package in RUNTIMES[name] if find_spec(package) is None]
    if missing:
        return f"{name} needs {', '.join(missing)}: pip install {' '.join(missing)}"
    return None


def executed(name: str, denoiser: Denoiser, batch: int) -> nn.Module:
    """A network as a runtime executes it: its inputs, for so many images -> its prediction.

    Args:
        name: one of `RUNTIMES` that is not refused.
        denoiser: in full precision, on a CPU.
        batch: images that each call is given.

    Raises:
        NotExecuted: the network cannot be traced, or has an operation that the runtime does not
            know.
    """
    make: dict[str, Callable[[Denoiser, int], nn.Module]] = {
        "float-openvino": _openvino,
        "onnxruntime": _onnxruntime,
    }
    return make[name](denoiser, batch)


def _openvino(denoiser: Denoiser, batch: int) -> nn.Module:
    from bench.quant.kernels import openvino
    from bench.quant.kernels.handing_over import hand_over
    from bench.quant.layers import exported

    handed = hand_over(exported(denoiser, batch), openvino.cut)
    return openvino.execution(handed, openvino.convert(handed))


def _onnxruntime(denoiser: Denoiser, batch: int) -> nn.Module:
    import onnxruntime
    import torch
    from torch import Tensor, nn

    from bench.core.errors import NotExecuted
    from bench.quant.layers import exported
    from bench.quant.tracing import cause
    from bench.system import disk
    from bench.system.quiet import quiet_tracing

    class Session(nn.Module):
        def __init__(self, model: bytes) -> None:
            super().__init__()
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            self.session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
            self.names = [each.name for each in self.session.get_inputs()]

        def forward(self, *inputs: Tensor) -> Tensor:
            pairs = zip(self.names, inputs, strict=True)
            given = {name: x.detach().contiguous().numpy() for name, x in pairs}
            return torch.from_numpy(self.session.run(None, given)[0])

    graph, inputs = exported(denoiser, batch), denoiser.example_inputs(batch)
    with torch.inference_mode(False), torch.no_grad():
        try:
            with quiet_tracing(), warnings.catch_warnings():
                # Traced graphs always say so, and are in evaluation mode.
                warnings.filterwarnings("ignore", "Exporting a model while it is in training")
                made = torch.onnx.export(graph, inputs, dynamo=True, verbose=False)
        except Exception as error:
            if stop := disk.stops(error):
                raise stop from error
            raise NotExecuted(f"ONNX cannot express the network ({cause(error)})") from None
    assert made is not None
    return Session(cast("bytes", made.model_proto.SerializeToString())).eval()

"""Full precision executed in other ways that everyone accepts: the networks behind a noise floor.

Each takes a network and gives one that computes the same function, rounded in another order or in
bfloat16. What they change in images is what a user of the network never asks about: the other
batch size, the other number of threads, the other memory layout, the half type.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map


def _own(model: nn.Module, is_spare: bool) -> nn.Module:
    """A network that may be changed: a copy, or a spare one itself."""
    return model if is_spare else copy.deepcopy(model)


class Bfloat16(nn.Module):
    """A copy of a network, or a spare one itself, in bfloat16, between float32 tensors."""

    def __init__(self, model: nn.Module, is_spare: bool = False) -> None:
        super().__init__()
        self.model = _own(model, is_spare).to(torch.bfloat16)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Evaluate; floating inputs are rounded to bfloat16, the output is float32."""
        halves = (x.to(torch.bfloat16) if x.is_floating_point() else x for x in inputs)
        output: Tensor = self.model(*halves)
        return output.to(torch.float32)


class RoundedToBfloat16(nn.Module):
    """A network whose weights, inputs and every operation's result are rounded to bfloat16, each
    operation being computed in float32.

    That is what a CPU without instructions for bfloat16 does, at a fifth of the time.
    """

    def __init__(self, model: nn.Module, is_spare: bool = False) -> None:
        super().__init__()
        self.model = _own(model, is_spare)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.copy_(_rounded(parameter))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Evaluate; the output is float32."""
        with _Rounding():
            output: Tensor = self.model(*map(_rounded, inputs))
        return output


class _Rounding(TorchDispatchMode):
    """Rounds the results of operations on float32 tensors that compute something new."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        # A view has the values of its base, which were rounded when they were computed.
        return result if func.is_view else tree_map(_rounded, result)


def _rounded(value: Any) -> Any:
    """A float32 tensor rounded to bfloat16; all else as it is."""
    if not isinstance(value, Tensor) or value.dtype != torch.float32:
        return value
    return value.to(torch.bfloat16).to(torch.float32)


class Halves(nn.Module):
    """A network that is given each batch in two halves; a batch of one image is given twice over.

    Libraries choose their kernels by the size of a batch, so sums are rounded in another order.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> Tensor:
        """Evaluate; inputs whose first dimension is that of x are cut."""
        count = len(inputs[0])
        batched = [x.ndim > 0 and len(x) == count for x in inputs]
        if count == 1:
            pairs = zip(inputs, batched, strict=True)
            twice = [torch.cat([x, x]) if is_batched else x for x, is_batched in pairs]
            output: Tensor = self.model(*twice)
            return output[:1]
        middle = count // 2
        outputs = [
            self.model(*(x[part] if cut else x for x, cut in zip(inputs, batched, strict=True)))
            for part in (slice(None, middle), slice(middle, None))
        ]
        return torch.cat(outputs)


class OtherThreads(nn.Module):
    """A network that is evaluated by another number of threads of the CPU than all else.

    Args:
        model: the network.
        count: the number of threads.
    """

    def __init__(self, model: nn.Module, count: int) -> None:
        super().__init__()
        self.model, self.count = model, count

    def forward(self, *inputs: Tensor) -> Tensor:
        """Evaluate; the number of threads is as before afterwards."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.count)
        try:
            output: Tensor = self.model(*inputs)
        finally:
            torch.set_num_threads(before)
        return output


class ChannelsLast(nn.Module):
    """A copy of a network, or a spare one itself, whose convolutions take the channels of a pixel
    side by side."""

    def __init__(self, model: nn.Module, is_spare: bool = False) -> None:
        super().__init__()
        moved = _own(model, is_spare)
        self.model: nn.Module = moved.to(memory_format=torch.channels_last)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Evaluate; images of four dimensions are laid out likewise."""
        laid = (
            x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in inputs
        )
        output: Tensor = self.model(*laid)
        return output.contiguous()

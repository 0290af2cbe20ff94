"""The layers of a network that has no graph: what one evaluation executes, as torch counts it.

Each product that torch dispatches is counted by the formulas of its own flop counter. One whose
weights are those of an `nn.Linear` or `nn.Conv2d` that runs just then is a layer that can be
rounded; all others stay in float with the reason.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from bench.core.denoiser import Denoiser
from bench.core.errors import NotExecuted
from bench.core.scheme import FLOAT_BITS, Scheme
from bench.quant.layers import Layer, check_plan, matches

# The modules whose weights and inputs are rounded.
ROUNDED = (nn.Linear, nn.Conv2d)
CONVOLUTION = torch.ops.aten.convolution
# Torch's own table lacks the attention that CPUs execute, which is counted like any other.
_attention = torch.ops.aten._scaled_dot_product_flash_attention
FLOPS = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[_attention],
}


@dataclass(frozen=True)
class Product:
    """One product of an evaluation.

    Attributes:
        name: path of the module whose weights it takes, else of the module that runs.
        operator: torch's.
        macs: multiply-accumulates of the whole batch.
        shape: of the weights, () where they are computed or there are none.
        is_module: whether the module that owns the weights runs, and is one of ROUNDED.
    """

    name: str
    operator: str
    macs: int
    shape: tuple[int, ...]
    is_module: bool

    @property
    def is_convolution(self) -> bool:
        """Whether it is a convolution of images."""
        return self.operator == "aten.convolution" and len(self.shape) == 4


def layers(denoiser: Denoiser, scheme: Scheme, batch: int) -> tuple[Layer, ...]:
    """All layers in execution order, with the bits at which the scheme runs them.

    Raises:
        NotExecuted: nothing of it could be rounded.
        InputError: the scheme does not fit the network.
    """
    products = executed(denoiser, batch)
    convolutions = [k for k, product in enumerate(products) if product.is_convolution]
    edges = {convolutions[0], convolutions[-1]} if convolutions else set()
    counts: Counter[str] = Counter()
    planned = []
    for k, product in enumerate(products):
        counts[product.name] += 1
        node = f"{product.name} {counts[product.name]}"
        planned.append(_layer(product, node, scheme, k in edges, batch))
    if not scheme.is_float and not any(product.is_module for product in products):
        raise NotExecuted(
            "the network has no graph, and no nn.Linear or nn.Conv2d to round module by module"
        )
    check_plan(planned, scheme)
    return tuple(planned)


def _layer(product: Product, node: str, scheme: Scheme, edge: bool, batch: int) -> Layer:
    bits = scheme.layer_bits(edge)
    reason = "" if scheme.is_float else _reason(product, scheme)
    if edge and not reason and not scheme.is_float and scheme.edge_bits in FLOAT_BITS:
        reason = "skip-io"
    weight_bits, act_bits = (32, 32) if reason else bits
    return Layer(
        product.name,
        node,
        product.macs // batch,
        math.prod(product.shape) if product.shape else 0,
        product.shape[0] if product.shape else 0,
        weight_bits,
        act_bits,
        reason,
        product.operator,
    )


def _reason(product: Product, scheme: Scheme) -> str:
    for glob in scheme.skip:
        if matches(product.name, glob):
            return f"skip={glob}"
    if not product.shape:
        return "a product without stored weights, as in attention"
    if not product.is_module:
        return "no nn.Linear or nn.Conv2d, which alone are rounded module by module"
    return ""


@torch.no_grad()
def executed(denoiser: Denoiser, batch: int) -> list[Product]:
    """The products of one evaluation, in order."""
    seen = _Seen(denoiser.model)
    with torch.inference_mode(False), torch.no_grad():
        inputs = [tensor.clone() for tensor in denoiser.example_inputs(batch)]
        try:
            with seen:
                denoiser.model(*inputs)
        finally:
            seen.close()
    return seen.products


def _stored(value: Tensor) -> int:
    """How many numbers a tensor has of its own: a weight may be expanded over a batch."""
    sizes = zip(value.shape, value.stride(), strict=True)
    return math.prod(size for size, stride in sizes if stride or size == 1)


class _Seen(TorchDispatchMode):
    """Counts products as they are dispatched, and knows which module runs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.products: list[Product] = []
        self.running: list[str] = [""]
        self.model = model
        self.owners = {
            value.data_ptr(): (name, value.numel()) for name, value in model.named_parameters()
        }
        self.hooks = []
        for name, module in model.named_modules():
            self.hooks.append(module.register_forward_pre_hook(self._enter(name)))
            self.hooks.append(module.register_forward_hook(self._leave, always_call=True))

    def close(self) -> None:
        """Take the hooks off the network again."""
        for hook in self.hooks:
            hook.remove()

    def _enter(self, name: str) -> Callable[..., None]:
        def enter(module: nn.Module, arguments: Any) -> None:
            self.running.append(name)

        return enter

    def _leave(self, module: nn.Module, arguments: Any, result: Any) -> None:
        self.running.pop()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in FLOPS:
            flops = FLOPS[packet](*args, **(kwargs or {}), out_val=result)
            self.products.append(self._product(packet, args, int(flops) // 2))
        return result

    def _product(self, packet: Any, arguments: Any, macs: int) -> Product:
        running, operator = self.running[-1], f"aten.{packet.__name__}"
        for value in arguments:
            if not isinstance(value, Tensor) or value.ndim < 2:
                continue
            name, count = self.owners.get(value.data_ptr(), ("", 0))
            owner, _, last = name.rpartition(".")
            if not name or count != _stored(value):
                continue
            shape = tuple(self.model.get_parameter(name).shape)
            is_module = owner == running and type(self.model.get_submodule(owner)) in ROUNDED
            return Product(owner if last == "weight" else name, operator, macs, shape, is_module)
        return Product(running or operator, operator, macs, (), False)

"""What people do today: linear layers replaced by those of bitsandbytes or of torchao.

Neither library has a quantized convolution, and convolutions are nearly all of a UNet: the
coverage says so. They find their own ranges (by row, when they run; weights by channel or by block
of 64), so only the bits of the scheme apply, and there is nothing to calibrate. Which operator
does the products is read from a profile of one evaluation: on some devices it is a float one,
after the weights were expanded again.
"""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from bench.core.denoiser import Denoiser
from bench.core.errors import NotExecuted
from bench.core.protocols import Calibration, Quantized
from bench.core.record import Host
from bench.core.scheme import Scheme
from bench.system import weightless
from bench.system.quiet import quiet_import, quiet_messages, quiet_products, quiet_profiler

if TYPE_CHECKING:
    import torch
    from torch import nn

PRODUCT = re.compile(r"(mm|mm_4bit|matmul|linear)$")


class LinearOnly:
    """A backend for linear layers. Subclasses say for which scheme, and replace a layer."""

    kernel = bits = package = ""
    takes_methods = False
    # What is imported of the package, where that has another name.
    module = ""

    def refuses(self, scheme: Scheme, host: Host) -> str | None:
        """Refuse other bits, methods, and where the package is missing."""
        if scheme.methods:
            names = ", ".join(scheme.method_names)
            return f"{self.kernel} runs no methods ({names}): {self.package} finds its own ranges"
        if scheme.budget:
            return f"{self.kernel} gives all layers {self.bits}, and knows no budget of bits"
        wanted = Scheme.parse(self.bits)
        if (scheme.weight_bits, scheme.act_bits) != (wanted.weight_bits, wanted.act_bits):
            return f"{self.kernel} executes {self.bits} only: ask for --scheme {self.bits}"
        if not is_there(self.module or self.package):
            return f"{self.kernel} needs {self.package}: pip install {self.package}"
        return None

    def make(self, linear: nn.Linear) -> nn.Module:
        """A quantized layer in the place of another."""
        raise NotImplementedError

    def leaves(self, linear: nn.Linear) -> str:
        """Why a layer stays in float, as "has ..."; "" where it is replaced."""
        return ""

    def __call__(self, denoiser: Denoiser, scheme: Scheme, calibrate: Calibration) -> Quantized:
        """Quantize a copy of the network, or a spare network itself, layer by layer.

        Raises:
            RuntimeError: there is no linear layer.
        """
        from bench.quant.coverage import measure
        from bench.quant.layers import layers
        from bench.quant.precisions import number_bytes

        names, refused = self._chosen(denoiser.model, scheme)
        planned = []
        for layer in layers(denoiser, Scheme()):
            if layer.name in names:
                weight_bits, act_bits = scheme.weight_bits, scheme.act_bits
                planned.append(replace(layer, weight_bits=weight_bits, act_bits=act_bits))
            else:
                only = refused.get(layer.name, f"{self.package} quantizes linear layers only")
                planned.append(replace(layer, reason=layer.reason or only))
        model, full = _changeable(denoiser)
        for name in names:
            replace_layer(model, name, self.make, denoiser.is_spare)
        denoiser = full
        called = products(model, names, denoiser.example_inputs(calibrate.shape[0]))
        operators = {
            layer.node: called.get(layer.name, layer.operator) if layer.weights else layer.operator
            for layer in planned
        }
        coverage = measure(denoiser, planned, self.kernel, operators)
        floats = number_bytes(denoiser.model) * (coverage.params - coverage.params_quantized)
        size = sum(_bytes(model.get_submodule(name)) for name in names) + floats
        coverage = replace(coverage, bytes_memory=size, bytes_stored=size)
        return Quantized(replace(denoiser, model=model), coverage)

    def joined(self, made: Quantized, key: str) -> Quantized:
        """With text encoders whose layers it replaces, too (`bench.quant.encoders`)."""
        from bench.quant import encoders

        return encoders.joined(made, self, key)

    def _chosen(self, model: nn.Module, scheme: Scheme) -> tuple[list[str], dict[str, str]]:
        """The layers that are replaced, and why other linear layers are not.

        Raises:
            NotExecuted: there are some, and it can replace none.
            RuntimeError: there is none.
        """
        import torch

        from bench.quant.layers import matches

        found = {n: m for n, m in model.named_modules() if type(m) is torch.nn.Linear}
        found = {n: m for n, m in found.items() if not any(matches(n, g) for g in scheme.skip)}
        refused = {name: why for name, layer in found.items() if (why := self.leaves(layer))}
        if not found:
            raise RuntimeError(f"{self.kernel} found no linear layer to quantize")
        if len(refused) == len(found):
            name, why = next(iter(refused.items()))
            raise NotExecuted(f"{self.kernel} replaces no layer: {name} {why}")
        return [name for name in found if name not in refused], refused


def is_there(module: str) -> bool:
    """Whether a module can be imported; of one within a package both are looked for."""
    package = module.partition(".")[0]
    return find_spec(package) is not None and find_spec(module) is not None


def _changeable(denoiser: Denoiser) -> tuple[nn.Module, Denoiser]:
    """A network whose layers may be replaced, and the denoiser as it was, for what it counts."""
    from bench.quant.layers import forget

    if not denoiser.is_spare:
        return copy.deepcopy(denoiser.model).eval().requires_grad_(False), denoiser
    # Each layer leaves memory when its successor is there, so nothing else may hold its weights.
    forget(denoiser)
    return denoiser.model, replace(denoiser, model=weightless.form(denoiser.model))


def replace_layer(
    model: nn.Module, name: str, make: Callable[[nn.Linear], nn.Module], is_spare: bool = False
) -> None:
    """Put what is made of a linear layer in its place; the weights of a spare network's layer
    leave memory, whatever still holds them, as graphs of a trace do."""
    parent, _, last = name.rpartition(".")
    linear = cast("nn.Linear", model.get_submodule(name))
    weight = linear.weight
    setattr(model.get_submodule(parent), last, make(linear))
    if is_spare:
        weight.data = weightless.hollow(weight).data


class BnbInt8(LinearOnly):
    """LLM.int8 of bitsandbytes."""

    kernel, bits, package = "bnb-int8", "w8a8", "bitsandbytes"

    def make(self, linear: nn.Linear) -> nn.Module:
        """The layer with int8 weights."""
        import bitsandbytes

        quiet_products()
        sizes = linear.in_features, linear.out_features, linear.bias is not None
        # Without memory for random weights, which take a minute to draw for a large network.
        made = bitsandbytes.nn.Linear8bitLt(*sizes, has_fp16_weights=False, device="meta")
        # It quantizes what comes from a CPU.
        weight = linear.weight.detach().cpu().clone()
        made.weight = bitsandbytes.nn.Int8Params(weight, requires_grad=False)
        made.bias = linear.bias
        return made.to(linear.weight.device).eval()


class BnbNf4(LinearOnly):
    """NF4 of bitsandbytes: 16 levels at quantiles of the normal distribution."""

    kernel, bits, package = "bnb-nf4", "w4a16", "bitsandbytes"
    levels = "nf4"

    def make(self, linear: nn.Linear) -> nn.Module:
        """The layer with two weights in a byte."""
        import bitsandbytes

        sizes = linear.in_features, linear.out_features, linear.bias is not None
        made = bitsandbytes.nn.Linear4bit(
            *sizes, compute_dtype=linear.weight.dtype, quant_type=self.levels, device="meta"
        )
        weight = linear.weight.detach().clone()
        made.weight = bitsandbytes.nn.Params4bit(
            weight, requires_grad=False, quant_type=self.levels
        )
        made.bias = linear.bias
        # With AVX512-BF16 it would pack weights for a kernel of its own, which fails on layers of
        # no whole blocks of 32 x 64 and whose operator no profile names. So it expands them, as on
        # other CPUs.
        made.support_avx512bf16_for_cpu = False
        return made.to(linear.weight.device).eval()


class BnbFp4(BnbNf4):
    """FP4 of bitsandbytes: 16 levels of a float of a sign, two bits of exponent and one beside."""

    kernel, levels = "bnb-fp4", "fp4"


class AoInt8(LinearOnly):
    """torchao's int8 weights and activations, with ranges by row when it runs."""

    kernel, bits, package = "ao-int8", "w8a8", "torchao"
    configuration = "Int8DynamicActivationInt8WeightConfig"

    def make(self, linear: nn.Linear) -> nn.Module:
        """The layer with its weights as a tensor subclass."""
        from torch import nn

        with quiet_import():
            from torchao import quantization
        holder = nn.Sequential(linear)
        quantization.quantize_(holder, getattr(quantization, self.configuration)())
        return holder[0]


class AoInt8Weight(AoInt8):
    """torchao's int8 weights, with activations in float."""

    kernel, bits = "ao-int8-weight", "w8a16"
    configuration = "Int8WeightOnlyConfig"


def products(
    model: nn.Module, names: list[str], inputs: Sequence[torch.Tensor]
) -> Mapping[str, str]:
    """The operator that does the products of each named layer, from one profiled evaluation.

    Args:
        model: (inputs) -> tensor.
        names: of its layers.
        inputs: what it is called with.
    """
    import torch
    from torch.autograd import profiler

    marks: dict[str, Any] = {}

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: Any) -> None:
            marks[name] = profiler.record_function(f"layer {name}")
            marks[name].__enter__()

        return hook

    def leave(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: Any, result: Any) -> None:
            marks.pop(name).__exit__(None, None, None)

        return hook

    hooks = []
    for name in names:
        module = model.get_submodule(name)
        hooks.append(module.register_forward_pre_hook(enter(name)))
        hooks.append(module.register_forward_hook(leave(name)))
    try:
        quiet = quiet_profiler(), quiet_messages(), torch.inference_mode()
        with contextlib.ExitStack() as stack:
            for each in quiet:
                stack.enter_context(each)
            seen = stack.enter_context(profiler.profile(use_kineto=False))
            model(*inputs)
    finally:
        for handle in hooks:
            handle.remove()
    products_by_layer = {}
    for event in seen.function_events:
        if event.name.startswith("layer "):
            products_by_layer[event.name.removeprefix("layer ")] = _product(event) or "unknown"
    return products_by_layer


def _product(event: Any) -> str:
    """The innermost product below an event, "" for none."""
    for child in event.cpu_children:
        if inner := _product(child):
            return inner
    return event.name.replace("::", ".") if PRODUCT.search(event.name) else ""


def _bytes(module: nn.Module) -> int:
    """Size of a layer's weights with their scales; the bias is counted elsewhere."""
    total = 0
    for name, tensor in module.state_dict().items():
        if name == "bias":
            continue
        inner = getattr(tensor, "__tensor_flatten__", None)
        parts = [getattr(tensor, part) for part in inner()[0]] if inner else [tensor]
        total += sum(part.nbytes for part in parts if part is not None)
    return total

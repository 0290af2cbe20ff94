"""Which layers, at which timesteps, pay for quantization.

One layer at a time, in one band of timesteps at a time, is executed as the scheme says, everything
else in float. The noise-to-signal ratio of the network's prediction,

    NSR = mean ||eps_q - eps||^2 / mean ||eps||^2,    SQNR = -10 log10 NSR dB,

on noised data in that band ranks the layers cheaply. The band that matters most is chosen by
sampled images: by their PSNR to full precision, from the same noise, with the whole network
quantized in that band alone. The layers that are noisiest in the worst band are verified by images
too, each quantized alone.

The worst of these by PSNR make the skip list. Its cost is the share of multiply-accumulates that
stays in float; its gain is measured, by PSNR with and without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from bench.core import estimates
from bench.core.denoiser import Denoised, Denoiser, diffuse
from bench.core.noise_levels import Level
from bench.core.probe_record import ProbeValue
from bench.core.protocols import Constants, Denoise
from bench.core.scheme import Scheme
from bench.measurement.probes.context import Examples, ProbeContext, Setting, row

# SQNR in dB where nothing changed.
EXACT = 200.0
# Number of layers that are verified by images, for each layer of the skip list.
CANDIDATES = 2


class Sensitivity:
    """Rows `layer_sqnr` (layer, band), `layer_psnr`, `band_psnr`, `skip_psnr`, `skip_macs`."""

    version = 1

    def parts(self, setting: Setting, schemes: Sequence[str]) -> Sequence[str]:
        """For the scheme of the fewest bits: the map, the bands, the worst layers, the list."""
        scheme = lowest(schemes)
        names = ("map", "bands", "layers", "skip") if scheme else ()
        return [f"{scheme}:{name}" for name in names]

    def __call__(
        self, context: ProbeContext, part: str, earlier: Mapping[str, list[ProbeValue]]
    ) -> list[ProbeValue]:
        """Compute one part; "layers" uses the map and the bands, "skip" uses the layers."""
        text, _, kind = part.rpartition(":")
        (scheme,) = (known for known in context.schemes if str(known) == text)
        if kind == "map":
            return noise_map(context, scheme)
        if kind == "bands":
            return list(_bands(context, scheme))
        if kind == "skip":
            verified = sorted(earlier[f"{text}:layers"], key=lambda row: row.value)
            names = [str(row.where["layer"]) for row in verified]
            return _skip(context, scheme, names[: context.setting.worst])
        worst = min(earlier[f"{text}:bands"], key=lambda row: row.value).where["band"]
        names = ranked(earlier[f"{text}:map"], worst)[: CANDIDATES * context.setting.worst]
        layers = {layer.name: layer for layer in context.constants(scheme)}
        return [
            _psnr(context, only(context.full, [layers[name]]), "layer_psnr", text, {"layer": name})
            for name in names
        ]


def lowest(schemes: Sequence[str]) -> str:
    """The scheme of the fewest weight bits, "" for none."""
    return min(schemes, key=lambda text: Scheme.parse(text).mean_bits, default="")


def ranked(rows: Sequence[ProbeValue], band: float | str) -> list[str]:
    """Layers by their noise in a band, the noisiest first."""
    inside = [row for row in rows if row.where["band"] == band]
    return [str(row.where["layer"]) for row in sorted(inside, key=lambda row: row.value)]


def only(full: Denoiser, layers: Sequence[Constants]) -> Denoiser:
    """The denoiser with these layers alone quantized; `full` is not changed."""
    return replace(full, model=_Partly(full.model, layers))


class _Partly(nn.Module):
    """A network that quantizes some layers while it is called."""

    def __init__(self, model: nn.Module, layers: Sequence[Constants]) -> None:
        super().__init__()
        self.model, self.layers = model, layers

    def forward(self, *inputs: Tensor) -> Tensor:
        with ExitStack() as stack:
            for layer in self.layers:
                stack.enter_context(_quantized(self.model, layer))
            prediction: Tensor = self.model(*inputs)
            return prediction


@contextmanager
def _quantized(model: nn.Module, layer: Constants) -> Iterator[None]:
    """Quantize the input and the weights of a module inside the block."""
    module = model.get_submodule(layer.name)
    calls = 0

    def rounded(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        nonlocal calls
        limits = layer.ranges[calls % len(layer.ranges)]
        calls += 1
        if limits is None:
            return inputs
        return (torch.fake_quantize_per_tensor_affine(inputs[0], *limits),)

    handle = module.register_forward_pre_hook(rounded)
    weight = module.get_parameter("weight")
    if layer.error is not None:
        module.weight = nn.Parameter(weight + layer.error, requires_grad=False)
    try:
        yield
    finally:
        module.weight = weight
        handle.remove()


def bands_of(context: ProbeContext) -> list[Examples]:
    """The examples by equal bands of timesteps, from small t to large."""
    count, t = context.setting.bands, context.examples.t
    which = t * count // len(context.full.levels)
    tensors = context.examples.x_0, context.examples.t, context.examples.noise
    return [Examples(*(value[which == band] for value in tensors)) for band in range(count)]


@torch.inference_mode()
def noise_map(context: ProbeContext, scheme: Scheme) -> list[ProbeValue]:
    """`layer_sqnr` of each quantized layer and band, in order of execution."""
    count = max(context.setting.curvature // context.setting.bands, 4)
    inputs = []
    for band in bands_of(context):
        some = band.first(count)
        x_t = diffuse(some.x_0, some.noise, context.full.alpha_bar[some.t])
        called = context.full.inputs(x_t, context.full.levels.each(some.t))
        inputs.append((called, context.full.model(*called)))
    rows = []
    for layer in context.constants(scheme):
        if layer.error is None and not any(layer.ranges):
            continue
        model = only(context.full, [layer]).model
        for number, (called, exact) in enumerate(inputs):
            channels = slice(context.full.shape[0])
            error = (model(*called) - exact)[:, channels].double().square().flatten(1).sum(1)
            signal = exact[:, channels].double().square().flatten(1).sum(1)
            where: dict[str, float | str] = {"layer": layer.name, "band": number}
            rows.append(_sqnr(error.cpu().numpy(), signal.cpu().numpy(), str(scheme), where))
    return rows


def _sqnr(
    error: np.ndarray, signal: np.ndarray, scheme: str, where: Mapping[str, float | str]
) -> ProbeValue:
    """-10 log10 of a ratio of means, with the interval of the ratio."""
    ratio = float(error.mean() / signal.mean())
    low, high = estimates.interval(ratio, (error - ratio * signal) / signal.mean())
    least, most = (None if end is None else _decibels(end) for end in (high, low))
    return ProbeValue("layer_sqnr", _decibels(ratio), least, most, len(error), "dB", scheme, where)


def _decibels(ratio: float) -> float:
    return min(-10 * math.log10(ratio), EXACT) if ratio > 0 else EXACT


def _bands(context: ProbeContext, scheme: Scheme) -> Iterator[ProbeValue]:
    quantized, total = context.executed(scheme), len(context.full.levels)
    count = context.setting.bands
    for band in range(count):
        ends = band * total // count, (band + 1) * total // count
        images = context.sample(context.full, around=partial(_inside, quantized, *ends))
        where: dict[str, float | str] = {"band": band, "from": ends[0], "to": ends[1]}
        yield _likeness(context, images, "band_psnr", str(scheme), where)


def _inside(quantized: Denoiser, low: int, high: int, denoise: Denoise) -> Denoise:
    """Another network in a band of levels, from `low` to below `high`."""

    def denoising(x: Tensor, level: Level) -> Denoised:
        return quantized.denoise(x, level) if low <= level.index < high else denoise(x, level)

    return denoising


def _skip(context: ProbeContext, scheme: Scheme, names: Sequence[str]) -> list[ProbeValue]:
    """PSNR without and with the skip list, and what the list costs."""
    layers = context.constants(scheme)
    skipping = replace(scheme, skip=tuple(dict.fromkeys((*scheme.skip, *names))))
    total = sum(layer.macs for layer in layers)
    macs = sum(layer.macs for layer in layers if layer.name in names)
    networks = {"": context.executed(scheme), str(skipping): context.executed(skipping)}
    rows = [
        _psnr(context, denoiser, "skip_psnr", str(scheme), {"scheme": text or str(scheme)})
        for text, denoiser in networks.items()
    ]
    where: dict[str, float | str] = {"scheme": str(skipping), "layers": ", ".join(names)}
    share = macs / total
    return [*rows, ProbeValue("skip_macs", share, n=len(names), scheme=str(scheme), where=where)]


def _psnr(
    context: ProbeContext,
    denoiser: Denoiser,
    name: str,
    scheme: str,
    where: Mapping[str, float | str],
) -> ProbeValue:
    return _likeness(context, context.sample(denoiser), name, scheme, where)


def _likeness(
    context: ProbeContext,
    images: np.ndarray,
    name: str,
    scheme: str,
    where: Mapping[str, float | str],
) -> ProbeValue:
    """PSNR of images to those of full precision."""
    values = context.likeness(images, context.sample(context.full))
    terms = values - values.mean()
    return row(name, values.mean(), terms, unit="dB", scheme=scheme, where=where)

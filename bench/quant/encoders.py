"""Text encoders of prompted pipelines, with the linear layers of a backend in the place of theirs.

A backend that makes one layer of another needs no more than the encoder itself: nothing is
calibrated. The globs that a scheme skips are of the network, and say nothing of encoders. Layers
that transformers keeps in float32 in a half type, as `wo` of T5, stay in float, as there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.core.errors import NotExecuted
from bench.core.protocols import Quantized
from bench.quant.backends.linear_only import LinearOnly, replace_layer

if TYPE_CHECKING:
    from torch import nn


def joined(made: Quantized, backend: LinearOnly, key: str) -> Quantized:
    """A quantized network of a pipeline, whose prompts are encoded by quantized encoders.

    Args:
        made: by the backend.
        backend: that replaces the layers of the encoders, too.
        key: of all that decides what the encoders compute.

    Raises:
        NotExecuted: there are no encoders, or no layer of one can be replaced.
    """
    if made.denoiser.loop is None:
        raise NotExecuted(f"{backend.kernel} found no text encoders: leave --also out")
    loop = made.denoiser.loop.with_encoders(Encoders(backend), key)
    return replace(made, denoiser=replace(made.denoiser, loop=loop))


class Encoders:
    """Replaces linear layers of text encoders by those of a backend."""

    def __init__(self, backend: LinearOnly) -> None:
        self.backend = backend

    def __call__(self, name: str, encoder: nn.Module, is_form: bool) -> float:
        """The share of the weights of an encoder's linear layers that is quantized, 0..1.

        Args:
            name: of the encoder.
            encoder: its layers are replaced, unless it is a form.
            is_form: whether it has no weights.

        Raises:
            NotExecuted: no layer can be replaced.
        """
        chosen, share = self._chosen(name, encoder)
        # Nothing else holds a layer here, so that it leaves memory when its successor is there.
        for layer in () if is_form else chosen:
            replace_layer(encoder, layer, self.backend.make)
        return share

    def _chosen(self, name: str, encoder: nn.Module) -> tuple[list[str], float]:
        """Names of the layers that are replaced, and their share of the weights."""
        import torch

        found = {n: m for n, m in encoder.named_modules() if type(m) is torch.nn.Linear}
        reasons = {n: self._leaves(encoder, n, layer) for n, layer in found.items()}
        sizes = {n: layer.weight.numel() for n, layer in found.items()}
        chosen = [n for n, why in reasons.items() if not why]
        if not chosen:
            why = " ".join(next(iter(reasons.items()), ("it has no linear layer",)))
            raise NotExecuted(f"{self.backend.kernel} replaces no layer of {name}: {why}")
        return chosen, sum(sizes[n] for n in chosen) / sum(sizes.values())

    def _leaves(self, encoder: Any, name: str, linear: nn.Linear) -> str:
        """Why a layer stays in float, "" where it is replaced."""
        kept = getattr(encoder, "_keep_in_fp32_modules", None) or ()
        if not set(kept).isdisjoint(name.split(".")):
            return "is a layer that transformers keeps in float32"
        return self.backend.leaves(linear)

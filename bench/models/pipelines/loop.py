"""The loop of a pipeline, with another network in the place of its own.

    prompts, generators -> pipe(...) -> images
                            |  network(...) -> model(tensors)

The pipeline is called as its users call it: with prompts, steps, the scale of guidance, and one
generator for each image, which depends on the seed and the index alone. In the place of its
network it is given a shell: the same object with the same config and parts, whose `forward` hands
the tensors of the arguments to whatever is to be sampled.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bench.core.cell import Draw
from bench.models.pipelines import memory
from bench.models.pipelines.calls import batched, first_rows, taken_apart
from bench.models.pipelines.encoding import Encoding
from bench.models.pipelines.folder import Index
from bench.models.samplers.noise import image_generators
from bench.system import weightless
from bench.system.quiet import quiet_diffusers

Model = Callable[..., Tensor]
# Replaces layers of a text encoder, and gives their share (`Loop.with_encoders`).
Executed = Callable[[str, Any, bool], float]


class _Enough(Exception):
    """Ends a loop at the first evaluation of the network."""


class PipelineLoop:
    """Samples images by a pipeline.

    Args:
        pipe: of diffusers, without text encoders, and with the form of its network
            (`bench.system.weightless`) in the place of it.
        index: of its folder.
        prompts: image i has prompt i mod n.
        options: further arguments of each call, as height and width.
        encoding: of the prompts.
        sizes: bytes of the weights of components.

    Attributes:
        form: of the arguments that the pipeline calls its network with (`calls.Called`).
        shapes: of the tensors of an evaluation for one image.
    """

    def __init__(
        self,
        pipe: Any,
        index: Index,
        prompts: Sequence[str],
        options: Mapping[str, Any],
        encoding: Encoding,
        sizes: Mapping[str, int],
    ) -> None:
        self.pipe, self.index, self.prompts = pipe, index, tuple(prompts)
        self.options, self.encoding, self.sizes = dict(options), encoding, sizes
        self.network = getattr(pipe, index.network)
        self.usual = Draw(steps=2, guidance=_default_guidance(pipe))
        self._encoded: set[bool] = set()
        self._quantized = ""
        (one, self.form), (two, _) = self._first(self.usual, 1), self._first(self.usual, 2)
        # With guidance and without, so that the encoders need not come back beside the network.
        for guidance in (self.usual.guidance, 1.0):
            self._encode(replace(self.usual, guidance=guidance))
        self.has_rows, self.each = batched(one, two), len(one[0])
        self.shapes = tuple(tuple(tensor.shape) for tensor in one)

    @functools.cached_property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images, from two steps without a network."""
        images = self.images(self._nothing, "images", self.usual, [0])
        return (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))

    @property
    def dtype(self) -> str:
        """What all of it is computed in, as float32."""
        return str(self.network.dtype).removeprefix("torch.")

    def told(self, is_quantized: bool) -> str:
        """What full precision means, or which parts stay as they are."""
        if not is_quantized:
            return f"all of the {self.index.pipeline} is computed in {self.dtype}"
        if self._quantized:
            return (
                f"the {self.index.network} of the {self.index.pipeline} is quantized, and so are "
                f"its text encoders (of the weights of their linear layers {self._quantized}); "
                f"its vae stays in {self.dtype}, and the coverage counts the {self.index.network} "
                f"alone"
            )
        parts = ", ".join((*self.index.encoders, "vae"))
        return (
            f"only the {self.index.network} of the {self.index.pipeline} is quantized; {parts} "
            f"stay in {self.dtype}, and the coverage does not count them"
        )

    def images(self, model: Model, stream: str, draw: Draw, indices: Sequence[int]) -> Tensor:
        """Images, uint8 (B, C, H, W) on the CPU; arguments as of `Loop.images`."""
        made = self._run(model, stream, draw, indices, "pt")
        # As diffusers' own conversion to pictures.
        return (made.float() * 255).round().to(torch.uint8).cpu()

    def latents(self, model: Model, stream: str, draw: Draw, indices: Sequence[int]) -> None:
        """The same without decoding."""
        self._run(model, stream, draw, indices, "latent")

    def rows(self, draw: Draw) -> int:
        """Images of each evaluation of the network."""
        return len(self._first(draw, draw.batch)[0][0])

    def calls(self, draw: Draw) -> int:
        """Evaluations of the network for a batch of images."""
        count = 0

        def counted(*tensors: Tensor) -> Tensor:
            nonlocal count
            count += 1
            return self._nothing(*tensors)

        self.latents(counted, "images", draw, [0])
        return count

    def example_inputs(self, rows: int) -> tuple[Tensor, ...]:
        """What the network is called with first, for so many images of one evaluation."""
        tensors, _ = self._first(self.usual, -(-rows // self.each))
        return first_rows(tensors, self.has_rows, rows)

    def plan(self, draw: Draw) -> list[str]:
        """What a cell of the draw takes, in lines."""
        calls, batches = self.calls(draw), -(-draw.images // draw.batch)
        one, most = (memory.needed(self.sizes, self.index.network, k) for k in (1, memory.GRAPH))
        return [
            f"{self.index.pipeline}: {len(self.prompts)} prompts, {draw.steps} steps, "
            f"{calls} evaluations of its {self.index.network} for each batch of {draw.batch}, "
            f"{calls * batches} in all for a cell",
            f"weights in {self.dtype}: {memory.words(self.sizes)}; at once in memory about "
            f"{one / 1e6:,.1f} MB, and {most / 1e6:,.1f} MB where a cell takes the one graph",
        ]

    def to(self, device: str) -> None:
        """Move all parts but the network to a device."""
        self.pipe.vae.to(device)
        weightless.hollow_out(self.network, device=device)

    def with_encoders(self, executed: Executed, key: str) -> PipelineLoop:
        """The same loop with quantized text encoders, as of `Loop.with_encoders`."""
        made = copy.copy(self)
        shares = {name: executed(name, form, True) for name, form in self.encoding.forms().items()}
        made._quantized = ", ".join(f"{share:.1%} of {name}" for name, share in shares.items())
        made.pipe, made._encoded = copy.copy(self.pipe), set()

        def load(device: Any) -> Mapping[str, Any]:
            memory.check_encoders(self.sizes)
            # What layers are made of must be no tensors of the mode that the loop is in.
            with torch.inference_mode(False), torch.no_grad():
                parts = self.encoding.load(device)
                for name, part in parts.items():
                    executed(name, part, False)
            return parts

        made.encoding = self.encoding.changed(made.pipe, load, key)
        return made

    def _encode(self, draw: Draw) -> None:
        """Encode all prompts as the draw needs them, and take the encoders out of memory."""
        if draw.is_guided not in self._encoded:
            for k in range(len(self.prompts)):
                self._first(draw, 1, k)
            self._encoded.add(draw.is_guided)
        self.encoding.release()

    def _first(self, draw: Draw, count: int, start: int = 0) -> tuple[list[Tensor], Any]:
        """The tensors of the first evaluation for some images, and the form of its arguments."""
        seen: list[Any] = []

        def stop(arguments: Any, named: Any) -> Tensor:
            tensors: list[Tensor] = []
            seen.extend([tensors, taken_apart((arguments, named), tensors)])
            raise _Enough

        with contextlib.suppress(_Enough):
            self._call(stop, "images", draw, range(start, start + count), "latent")
        return seen[0], seen[1]

    def _run(
        self, model: Model, stream: str, draw: Draw, indices: Sequence[int], output: str
    ) -> Tensor:
        """Sample with a network that takes tensors."""

        def evaluated(arguments: Any, named: Any) -> Tensor:
            tensors: list[Tensor] = []
            form = taken_apart((arguments, named), tensors)
            if form != self.form:
                raise RuntimeError(
                    f"the {self.index.pipeline} calls its {self.index.network} in several ways"
                )
            return model(*tensors)

        self._encode(draw)
        return self._call(evaluated, stream, draw, indices, output)

    @torch.inference_mode()
    def _call(
        self,
        evaluate: Callable[[Any, Any], Tensor],
        stream: str,
        draw: Draw,
        indices: Sequence[int],
        output: str,
    ) -> Tensor:
        """Call the pipeline; `evaluate` takes the arguments of the network."""
        shell: Any = copy.copy(self.network)
        shell.forward = lambda *arguments, **named: (evaluate(arguments, named),)
        setattr(self.pipe, self.index.network, shell)
        try:
            with quiet_diffusers():
                made: Tensor = self.pipe(
                    prompt=[self.prompts[i % len(self.prompts)] for i in indices],
                    generator=image_generators(stream, draw.seed, indices),
                    num_inference_steps=draw.steps,
                    guidance_scale=draw.guidance,
                    output_type=output,
                    return_dict=False,
                    **self.options,
                )[0]
        finally:
            setattr(self.pipe, self.index.network, self.network)
        return made

    def _nothing(self, *tensors: Tensor) -> Tensor:
        """A prediction of zeros of the network's shape."""
        x, config = tensors[0], self.network.config
        channels = getattr(config, "out_channels", None) or x.shape[1]
        if x.ndim != 4:
            return torch.zeros_like(x)
        return x.new_zeros(x.shape[0], channels, *x.shape[2:])


def _default_guidance(pipe: Any) -> float:
    return float(inspect.signature(type(pipe).__call__).parameters["guidance_scale"].default)

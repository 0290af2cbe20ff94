"""Prompts encoded once: the text encoders are in memory only while something is encoded.

A pipeline encodes text by its method `encode_prompt`. In its place stands `Encoding`, which takes
each prompt by itself, keeps what comes of it in the cache, and joins the rows of a batch: so an
image does not depend on the prompts of its batch mates, and a second run needs no text encoder.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from bench.core.cell import content_key
from bench.system import artifacts
from bench.system.quiet import quiet_transformers

NAME, FORM = "encoded", "form"
# Arguments of `encode_prompt` that say nothing of the text.
PLACES = ("device",)
Leaves = tuple[Tensor | None, ...]


class Encoding:
    """Encodes prompts in the place of a pipeline's `encode_prompt`.

    Args:
        pipe: the pipeline, without text encoders; its method is replaced.
        load: (device) -> the text encoders there by the names of the components.
        folder: where what was encoded is kept.
        content: what decides it besides the arguments: weights, versions, machine.
        forms: gives the text encoders without their weights.
    """

    def __init__(
        self,
        pipe: Any,
        load: Callable[[Any], Mapping[str, Any]],
        folder: Path,
        content: Mapping[str, Any],
        forms: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self.pipe, self.load, self.folder, self.content = pipe, load, folder, dict(content)
        self.forms = forms
        # A copy of a pipeline has the encoding of the other one in the place of the method.
        vars(pipe).pop("encode_prompt", None)
        self.original = pipe.encode_prompt
        self.signature = inspect.signature(self.original)
        self.loaded: tuple[str, ...] = ()
        pipe.encode_prompt = self

    def __call__(self, *arguments: Any, **named: Any) -> Leaves:
        """What `encode_prompt` returns for the prompts, each of them encoded by itself."""
        bound = self.signature.bind(*arguments, **named)
        prompts = bound.arguments["prompt"]
        rows = [self._one(prompt, bound.arguments) for prompt in prompts]
        device = self.pipe._execution_device
        return tuple(_joined(leaves, device) for leaves in zip(*rows, strict=True))

    def release(self) -> None:
        """Take the text encoders out of memory."""
        for name in self.loaded:
            setattr(self.pipe, name, None)
        self.loaded = ()

    def changed(self, pipe: Any, load: Callable[[Any], Mapping[str, Any]], key: str) -> Encoding:
        """The encoding of a copy of the pipeline by other text encoders; `key` decides them."""
        return Encoding(pipe, load, self.folder, {**self.content, "changed": key}, self.forms)

    def _one(self, prompt: str, given: Mapping[str, Any]) -> Leaves:
        told = {n: repr(v) for n, v in given.items() if n not in ("prompt", *PLACES)}
        key = content_key(prompt=prompt, arguments=told, **self.content)
        place = self.folder / key[:2] / key
        if (content := artifacts.read(place, f"{key} {NAME}")) is not None:
            return _leaves(content)
        content = self._encoded_anew({**given, "prompt": [prompt]})
        artifacts.write(place, f"{key} {NAME}", content)
        return _leaves(content)

    def _encoded_anew(self, given: Mapping[str, Any]) -> bytes:
        """What the pipeline's own encoding gives for a prompt, as a file."""
        if not self.loaded:
            parts = self.load(self.pipe._execution_device)
            for name, part in parts.items():
                setattr(self.pipe, name, part)
            self.loaded = tuple(parts)
        # The encoders see inputs of their own, whatever mode the loop is in.
        with torch.inference_mode(False), torch.no_grad(), quiet_transformers():
            return _content(self.original(**given))


def _content(made: Sequence[Any]) -> bytes:
    """What `encode_prompt` returned as a file."""
    if any(each is not None and not isinstance(each, Tensor) for each in made):
        raise RuntimeError("encode_prompt of the pipeline gave something else than tensors")
    tensors = {str(k): each.cpu().contiguous() for k, each in enumerate(made) if each is not None}
    return save(tensors, {FORM: str(len(made))})


def _leaves(content: bytes) -> Leaves:
    tensors = load(content)
    length = int.from_bytes(content[:8], "little")
    count = int(json.loads(content[8 : 8 + length])["__metadata__"][FORM])
    return tuple(tensors.get(str(k)) for k in range(count))


def _joined(leaves: Sequence[Tensor | None], device: Any) -> Tensor | None:
    """The rows of a batch; what is no row of a prompt is the same for all of them.

    Raises:
        RuntimeError: it is not.
    """
    present = [leaf for leaf in leaves if leaf is not None]
    if len(present) < len(leaves):
        return None
    if all(leaf.shape[0] == 1 for leaf in present):
        return torch.cat(present).to(device)
    if any(not torch.equal(leaf, present[0]) for leaf in present):
        raise RuntimeError("encode_prompt of the pipeline gave prompts of several lengths")
    return present[0].to(device)

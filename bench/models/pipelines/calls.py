"""The network of a pipeline as a function of tensors alone.

A pipeline calls its network with positional and named arguments, some of them nested: latents, a
timestep, embeddings of the prompt, masks, `return_dict=False`. What is quantized, exported and
calibrated takes tensors one after the other. So the arguments are taken apart into their tensors,
in the order in which they are written, and a form that puts them together again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

# Stands for a tensor in a form.
SLOT = "<tensor>"


def taken_apart(value: Any, tensors: list[Tensor]) -> Any:
    """The form of arguments; their tensors are added to a list.

    Args:
        value: a tensor, tuples, lists and dictionaries of them, or anything else, which stays.
        tensors: gets the tensors in order.
    """
    if isinstance(value, Tensor):
        tensors.append(value)
        return SLOT
    if isinstance(value, Mapping):
        return {name: taken_apart(each, tensors) for name, each in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(taken_apart(each, tensors) for each in value)
    return value


def put_together(form: Any, tensors: Iterator[Tensor]) -> Any:
    """The arguments of a form, with tensors in order; lists become tuples."""
    if isinstance(form, str) and form == SLOT:
        return next(tensors)
    if isinstance(form, dict):
        return {name: put_together(each, tensors) for name, each in form.items()}
    if isinstance(form, tuple):
        return tuple(put_together(each, tensors) for each in form)
    return form


class Called(nn.Module):
    """A network of diffusers, called with the tensors of its arguments.

    Args:
        network: called by a pipeline with `return_dict=False`.
        form: of its (positional, named) arguments.
        shapes: of the tensors for one image; they tell apart networks that are built alike.
    """

    def __init__(self, network: nn.Module, form: Any, shapes: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.network, self.form = network, form
        self.shapes = tuple(map(tuple, shapes))

    def forward(self, *tensors: Tensor) -> Tensor:
        """Predict from the tensors of the arguments."""
        arguments, named = put_together(self.form, iter(tensors))
        prediction: Tensor = self.network(*arguments, **named)[0]
        return prediction

    def extra_repr(self) -> str:
        """The shapes, which decide what an evaluation costs."""
        return f"inputs={self.shapes}"


def batched(one: Sequence[Tensor], two: Sequence[Tensor]) -> tuple[bool, ...]:
    """Which tensors have a row for each image: those that grow with their number.

    Args:
        one, two: tensors of a call for one image, and for two.
    """
    return tuple(a.shape[:1] != b.shape[:1] for a, b in zip(one, two, strict=True))


def first_rows(
    tensors: Sequence[Tensor], has_rows: Sequence[bool], count: int
) -> tuple[Tensor, ...]:
    """Copies of the tensors, the ones with rows cut to so many, which may be changed."""
    with torch.inference_mode(False):
        return tuple(
            (tensor[:count] if cut else tensor).clone()
            for tensor, cut in zip(tensors, has_rows, strict=True)
        )

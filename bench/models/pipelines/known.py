"""The pipelines of diffusers that are understood, and their own scale of guidance.

All of them encode the text by their `encode_prompt`, call one network with `return_dict=False`,
and take a generator for each image. A pipeline of another name may do otherwise, so it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.core.errors import InputError

# The scale with which each is called where nobody says one: the default of its class.
GUIDANCE = {
    "StableDiffusionPipeline": 7.5,
    "StableDiffusionXLPipeline": 5.0,
    "StableDiffusion3Pipeline": 7.0,
    "FluxPipeline": 3.5,
    "PixArtAlphaPipeline": 4.5,
    "PixArtSigmaPipeline": 4.5,
    "SanaPipeline": 4.5,
    "Lumina2Pipeline": 4.0,
}
# Options of a card's config that go to the pipeline as they are, with their types.
OPTIONS: Mapping[str, type] = {
    "height": int,
    "width": int,
    "max_sequence_length": int,
    "use_resolution_binning": bool,
}
# Options of a card's config that bench itself reads.
OWN = ("guidance", "variant", "dtype")
# What a pipeline may be computed in, with the bytes of a number; the first is the default.
DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2}


def require(name: Any, where: str) -> str:
    """The name of a pipeline class, if it is understood.

    Raises:
        InputError: it is not.
    """
    if str(name) not in GUIDANCE:
        raise InputError(
            f"{where} describes a {name}, which is no text-to-image pipeline that bench knows; "
            f"it knows {', '.join(GUIDANCE)}"
        )
    return str(name)


def dtype(config: Mapping[str, Any]) -> str:
    """What a pipeline is computed in, by the config of its card."""
    return str(config.get("dtype", next(iter(DTYPES))))


def check_config(config: Mapping[str, Any]) -> None:
    """Check the config of a card.

    Raises:
        InputError: an unknown option, or a value that is none.
    """
    for name, value in config.items():
        kind = OPTIONS.get(name)
        if kind is None and name not in OWN:
            known = ", ".join((*OWN, *OPTIONS))
            raise InputError(f"config: unknown field {name}; source pipeline has {known}")
        if kind is int and (type(value) is not int or value < 1):
            raise InputError(f"config: {name} must be a positive whole number, not {value!r}")
        if kind is bool and type(value) is not bool:
            raise InputError(f"config: {name} must be true or false, not {value!r}")
        if name == "variant" and not isinstance(value, str):
            raise InputError(f"config: variant must be text, not {value!r}")
        if name == "dtype" and value not in DTYPES:
            raise InputError(f"config: dtype must be {', '.join(DTYPES)}, not {value!r}")
        number = type(value) in (int, float)
        if name == "guidance" and not (number and 0 <= value <= 1000):
            raise InputError(f"config: guidance must be 0 to 1000, not {value!r}")

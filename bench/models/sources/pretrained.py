"""One component of a diffusers folder as a network: its weights, strictly.

Weights may be stored in another precision, as a variant (`*.fp16.safetensors`), in shards, or as
a pickle, which diffusers reads as weights alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.core.errors import InputError
from bench.core.printable import short
from bench.models.sources import fields
from bench.system import components
from bench.system.quiet import quiet_diffusers, quiet_import


def component(
    folder: Path,
    name: str,
    arguments: Mapping[str, Any],
    variant: str | None,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """A network of a folder in evaluation mode.

    Args:
        folder: its folder.
        name: the class of diffusers that builds it.
        arguments: the arguments of that class.
        variant: the variant of the weights; None for the plain ones, or the only ones.
        dtype: that it is loaded in, weight by weight, which needs accelerate; None for float32
            by way of a network of random weights, which needs nothing and twice the memory.

    Raises:
        InputError: arguments of which no network can be built, a damaged file, or weights that do
            not fit exactly.
    """
    chosen, stored = components.choose(folder, variant)
    check_index(folder)
    try:
        with quiet_import():
            import diffusers
        with quiet_diffusers():
            model, report = getattr(diffusers, name).from_pretrained(
                folder,
                local_files_only=True,
                low_cpu_mem_usage=dtype is not None,
                output_loading_info=True,
                torch_dtype=dtype or torch.float32,
                variant=chosen or None,
                use_safetensors=stored == "safetensors",
                **arguments,
            )
    # diffusers and what it reads with raise nearly every exception on damaged files.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"{folder} cannot be loaded ({reason})") from None
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if report.get(what):
            first = str(next(iter(report[what])))
            raise InputError(f"weights of {folder} do not fit the network: {what} {first}")
    for key, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise InputError(f"weight {key} of {folder} holds NaN or infinite values")
    return model.eval().requires_grad_(False)


def check_index(folder: Path) -> None:
    """Make sure that an index of weights in several files names files of its folder alone, which
    are those that the card's hash is of.

    Raises:
        InputError: it names others, or is damaged.
    """
    known = {path.name for paths in components.variants(folder).values() for path in paths}
    for path in sorted(folder.glob("diffusion_pytorch_model*.index*.json")):
        listed = fields.read(path).get("weight_map")
        names = listed.values() if isinstance(listed, dict) else [listed]
        other = next(
            (name for name in names if not isinstance(name, str) or name not in known), ""
        )
        if other != "":
            raise InputError(
                f"{path} names {short(str(other))}, which is no file of weights beside it: fetch "
                f"the folder again"
            )


def told(folder: Path, variant: str | None) -> str:
    """Which files of weights are taken, and in which precision they are stored, in words."""
    chosen, kind = components.choose(folder, variant)
    variants = components.variants(folder)
    others = sorted({name or "plain" for name, _ in variants} - {chosen or "plain"})
    precision = _precision(variants[chosen, kind][0])
    words = f"{folder.name}, stored in {precision}" + (f", variant {chosen}" if chosen else "")
    return words + (f"; {', '.join(others)} beside it is not used" if others else "")


def _precision(path: Path) -> str:
    """The precisions of the floating-point weights of a file."""
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "pt") as weights:
            kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
        named = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
        floats = sorted(named.get(kind, kind) for kind in kinds if "F" in kind)
        return ", ".join(floats) or "integers"
    weights = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    kinds = {
        str(v.dtype).removeprefix("torch.") for v in weights.values() if v.is_floating_point()
    }
    return ", ".join(sorted(kinds)) or "integers"

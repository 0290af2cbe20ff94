"""Weights out of files: flat mappings of names to tensors by kind, out of what training writes.

A kind is raw (the weights of the last update), ema or swa. Recognized are

    flat names                     kind unknown: the card's
    module.* and n_averaged        torch AveragedModel: averaged, ema or swa by the card
    module.*, _orig_mod.*          DataParallel, torch.compile: the prefix is dropped
    shadow_params                  diffusers EMAModel: ema, a list in the order of the parameters
    ema_model.*, online_model.*    lucidrains' EMA: ema, raw
    model_ema(.*), model(.*)       k-diffusion and others: ema, raw
    ema, model, state_dict         training checkpoints that hold one of the above

A pickle is read with `weights_only=True`, which executes nothing but the rebuilding of tensors;
what needs more is refused with the name of what it calls.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bench.errors import InputError
from bench.sources import foreign

KINDS = ("raw", "ema", "swa")
# Names of the one set of weights that a container holds beside others, and their kinds.
PARTS = {
    "ema_model": "ema",
    "model_ema": "ema",
    "ema": "ema",
    "online_model": "raw",
    "model": "raw",
    "state_dict": "raw",
}
WRAPPERS = ("module.", "_orig_mod.")
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


@dataclass(frozen=True)
class Weights:
    """What a file holds.

    Attributes:
        sets: weights by kind, "" where the file does not say; keys are numbers where `ordered`.
        container: what was recognized, in words.
        ordered: whether the names are missing and the order is that of the parameters.
    """

    sets: Mapping[str, Mapping[str, Tensor]]
    container: str
    ordered: bool = False


def read(path: Path) -> Weights:
    """All weights of a file.

    Raises:
        InputError: no whole file, a pickle that needs code, an optimizer's state, or no weights.
    """
    with path.open("rb") as stream:
        head = stream.read(64)
    if head.startswith(b"version https://git-lfs"):
        raise InputError(f"{path} is a Git LFS pointer; run `git lfs pull`")
    pickled = head[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    if pickled or path.suffix in (".pt", ".pth", ".ckpt", ".bin"):
        data = read_pickle(path)
    else:
        try:
            data = load_file(path)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path} is no whole safetensors ({error})") from None
    return unpack(data, path)


def read_pickle(path: Path) -> Any:
    """The content of a file of `torch.save`, tensors and plain values only.

    Raises:
        InputError: truncated, or it calls what no weights need; nothing is executed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    # The unpickler raises nearly every exception on damaged bytes.
    except Exception as error:
        text = " ".join(str(error).split())
        match = _GLOBAL.search(text)
        if called := match[1] if match else foreign.first_call(path):
            if foreign.pickled(called):
                raise InputError(
                    f"{path} refused: a pickle of EDM or its kin, which carries source code; "
                    f"{foreign.INSTEAD}"
                ) from None
            raise InputError(
                f"{path} refused: its pickle calls {called}, which weights do not need; save "
                f"the state dict alone"
            ) from None
        if "TorchScript" in text:
            raise InputError(
                f"{path} refused: it is a TorchScript program; save the state dict alone"
            ) from None
        raise InputError(
            f"{path} is no whole file of torch.save ({text.split('. ')[0][:120]}): fetch it again"
        ) from None


def unpack(data: Any, path: Path) -> Weights:
    """Sort what a file holds into sets of weights.

    Raises:
        InputError: an optimizer's state, or no weights.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{path} holds no state dict but a {type(data).__name__}")
    if "param_groups" in data:
        raise InputError(f"{path} is the state of an optimizer: name the file of the weights")
    if "shadow_params" in data:
        shadow = {str(k): value for k, value in enumerate(data["shadow_params"])}
        return Weights({"ema": shadow}, "diffusers EMAModel", ordered=True)
    if "n_averaged" in data and any(str(key).startswith("module.") for key in data):
        inner = _flat({key: value for key, value in data.items() if key != "n_averaged"}, path)
        return Weights({"averaged": inner}, "torch AveragedModel")
    if found := _parts(data, path):
        return found
    return Weights({"": _flat(data, path)}, "state dict")


def _parts(data: Mapping[str, Any], path: Path) -> Weights | None:
    """The sets of a container, nested or by prefix; None where there is none."""
    sets: dict[str, Mapping[str, Tensor]] = {}
    container = "checkpoint of a training"
    for name, kind in PARTS.items():
        inner = data.get(name)
        if not isinstance(inner, Mapping):
            prefix = f"{name}."
            inner = {k[len(prefix) :]: v for k, v in data.items() if str(k).startswith(prefix)}
        if not inner or kind in sets:
            continue
        found = unpack(inner, path)
        # An EMA wrapper keeps the raw weights too; the part's own name decides which are meant.
        chosen = found.sets.get(kind) or found.sets.get("averaged") or found.sets.get("")
        if chosen is None or found.ordered:
            return Weights(found.sets, found.container, found.ordered)
        sets[kind] = chosen
        container = found.container if found.container != "state dict" else container
    return Weights(sets, container) if sets else None


def _flat(data: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    tensors = dict(data)
    for prefix in WRAPPERS:
        if tensors and all(str(name).startswith(prefix) for name in tensors):
            tensors = {name[len(prefix) :]: value for name, value in tensors.items()}
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise InputError(f"{path} holds no weights: {name} is a {type(value).__name__}")
    if not tensors:
        raise InputError(f"{path} holds no weights")
    return tensors


def choose(found: Weights, wanted: str | None) -> Mapping[str, Tensor]:
    """The weights of the kind that a card asks for.

    Args:
        found: from `read`.
        wanted: "raw", "ema", "swa", or None where the card does not say.

    Raises:
        InputError: the file has several kinds and the card does not say which, or another one.
    """
    if set(found.sets) == {""}:
        return found.sets[""]
    if "averaged" in found.sets:
        if wanted not in ("ema", "swa"):
            raise InputError("weights must be ema or swa: the file is a torch AveragedModel")
        return found.sets["averaged"]
    kinds = ", ".join(sorted(found.sets))
    if wanted not in found.sets:
        said = f"not {wanted}" if wanted else "and the card does not say which"
        raise InputError(f"weights must be one of {kinds}, which the file holds, {said}")
    return found.sets[wanted]

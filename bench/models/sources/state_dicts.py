"""Weights out of files: flat mappings of names to tensors, out of what training code writes.

A file may hold several networks: the raw weights, averages, what a library wraps around them. A
network is found by names that only it has, wherever it lies; the keys on the way to it are its
*part* and say its *kind* (`bench.models.sources.kinds`). Understood are, in any nesting and order,

    state_dict, model, model_state_dict, net ...    raw beside an average, else the card's word
    ema, model_ema, state_dict_ema, ema_model ...   averages, as the word says
    module., _orig_mod., _fsdp_wrapped_module.      wrappers of torch: dropped
    n_averaged beside module.                       torch AveragedModel: ema or swa by the card
    current_model_state, averaging_state            Lightning: state_dict is the average
    shadow_params                                   a list in the order of the parameters, whose
                                                    names are those of the raw weights beside it
    a list                                          DDIM: weights, optimizer, epoch, step, average
    betas or alphas_cumprod beside the network      its noise schedule

Whatever is not taken is named in `Weights.passed`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.core.errors import InputError
from bench.models.sources import contents, kinds, reading, unsupported
from bench.models.sources.filling import PRECISIONS
from bench.models.sources.kinds import AVERAGED, KINDS

# A part of which a callback may have made an average; the card must say.
UNSAID = "unsaid"
SMALL = 1 << 20
# The words of a card that fit each kind.
MEANS = {AVERAGED: ("ema", "swa"), UNSAID: KINDS, "": ("raw",)}
NEEDED = {
    AVERAGED: "weights must be ema or swa: {part} is an average of torch's AveragedModel",
    UNSAID: "weights must be raw, ema or swa: {part} may hold the average of a callback",
}


@dataclass(frozen=True)
class Part:
    """One network of a file.

    Attributes:
        name: keys on the way to it, joined by dots; "" at the top.
        kind: raw, ema, swa, averaged, unsaid, or "" where the file does not say.
        tensors: weights by name; by number where `ordered`.
        ordered: whether the names are missing and the order is that of the parameters.
    """

    name: str
    kind: str
    tensors: Mapping[str, Tensor]
    ordered: bool = False

    @property
    def title(self) -> str:
        """Where it lies, in words."""
        return self.name or "the file"


@dataclass(frozen=True)
class Weights:
    """The weights in a file, and what lies beside them.

    Attributes:
        parts: its networks.
        alpha_bars: noise schedules beside them, by the keys on the way.
        objectives: loss weights of lucidrains' trainer, likewise, which tell what is predicted.
        passed: names of everything else in the file.
    """

    parts: tuple[Part, ...]
    alpha_bars: Mapping[str, Tensor] = field(default_factory=dict)
    objectives: Mapping[str, Tensor] = field(default_factory=dict)
    passed: tuple[str, ...] = ()

    @property
    def sets(self) -> dict[str, Mapping[str, Tensor]]:
        """Weights by kind, the first of each."""
        by_kind: dict[str, Mapping[str, Tensor]] = {}
        for part in self.parts:
            by_kind.setdefault(part.kind, part.tensors)
        return by_kind


def read(path: Path) -> Weights:
    """All weights of a file.

    Raises:
        InputError: no whole file, a pickle that needs code, an optimizer's state, or no weights.
    """
    return unpack(reading.read(path), path)


def unpack(data: Any, path: Path, expected: Collection[str] = ()) -> Weights:
    """Sort what a file holds into networks and what lies beside them.

    Args:
        data: the content of the file.
        path: the path of the file.
        expected: as for `contents.collect`.

    Raises:
        InputError: an optimizer's state, or no weights.
    """
    content = contents.collect(data, path, expected)
    # Averages without names beside a network that is not loaded: score_sde's.
    unknown = content.lists and not content.networks and not expected
    if unknown and (title := unsupported.network(content.tensors)):
        raise InputError(f"{path} holds {unsupported.refusal(title)}")
    parts = [Part(name, kinds.of_path(name.split(".")), t) for name, t in content.networks.items()]
    parts += _undotted(content, parts)
    for listed in content.lists:
        parts.append(_list(listed, content, parts))
    if not parts:
        # No network that bench knows: whoever asks names it by its weights.
        return Weights((Part("", "", content.tensors),), passed=content.others)
    parts = [Part(p.name, _kind(p, parts, content), p.tensors, p.ordered) for p in parts]
    return Weights(tuple(parts), content.alpha_bars, content.objectives, content.others)


def _kind(part: Part, parts: list[Part], content: contents.Contents) -> str:
    """The kind of a part, by its keys and by what lies beside it."""
    top = part.name.split(".")[0]
    averages = "current_model_state" in content.keys and "averaging_state" in content.keys
    if averages and top == "state_dict":
        return content.averaged_by or AVERAGED
    if part.kind:
        return part.kind
    if any(
        part.name == at or part.name.startswith(f"{at}." if at else "") for at in content.counts
    ):
        return AVERAGED
    if content.averaged_by and top == "state_dict":
        # A callback that keeps its average itself left the raw weights there, unless it had
        # swapped them when the file was written.
        kept = [p for p in parts if p.name.split(".")[0] == "callbacks" and p.kind]
        swapped = [p.kind for p in kept if not p.ordered and _same(p, part)]
        if swapped:
            return swapped[0]
        return "raw" if kept else UNSAID
    known = {other.kind for other in parts if other is not part}
    return "raw" if known & {"ema", "swa", AVERAGED} else ""


def _undotted(content: contents.Contents, parts: list[Part]) -> list[Part]:
    """Averages of latent-diffusion's LitEma: the names of the raw weights less their dots."""
    made = []
    for part in parts:
        words = part.name.split(".")
        for prefix, flat in content.undotted.items():
            for start in range(len(words) + 1):
                short = {n: "".join(words[start:]) + n.replace(".", "") for n in part.tensors}
                if all(name in flat for name in short.values()):
                    renamed = {name: flat[key] for name, key in short.items()}
                    made.append(Part(prefix, kinds.of_path(prefix.split(".")) or "ema", renamed))
                    break
    return made


def _list(listed: contents.Listed, content: contents.Contents, parts: list[Part]) -> Part:
    """Weights of a list under the names of the network beside it, where they fit it."""
    kind = kinds.of_path(listed.prefix.split(".")) or "ema"
    for part in parts:
        around = {
            name: value
            for name, value in content.tensors.items()
            if name.split(".")[0] == part.name.split(".")[0]
        }
        stem = f"{part.name}." if part.name else ""
        for names in (part.tensors, around):
            if [v.shape for v in names.values()] != [v.shape for v in listed.tensors]:
                continue
            pairs = dict(zip(names, listed.tensors, strict=True))
            if names is around:
                pairs = {k.removeprefix(stem): v for k, v in pairs.items() if k.startswith(stem)}
            return Part(listed.prefix, kind, pairs)
    numbered = {str(index): value for index, value in enumerate(listed.tensors)}
    return Part(listed.prefix, kind, numbered, ordered=True)


def choose(weights: Weights, wanted: str | None, part: str | None = None) -> Part:
    """The part of a file that a card asks for.

    Args:
        weights: from `read`.
        wanted: kind: "raw", "ema", "swa", or None where the card does not say.
        part: name of the part, where several are of one kind.

    Raises:
        InputError: the file has several kinds and the card does not say which, or another one.
    """
    if part is not None:
        fitting = [p for p in weights.parts if p.name == part or p.name.split(".")[0] == part]
        if not fitting:
            raise InputError(f"no part {part!r} in the file, which holds {_listed(weights.parts)}")
    else:
        fitting = list(weights.parts)
    if len(fitting) > 1 or fitting[0].kind in KINDS:
        fitting = _of_kind(fitting, wanted)
    fitting = [p for k, p in enumerate(fitting) if not any(_same(p, q) for q in fitting[:k])]
    if len(fitting) > 1:
        several = ", ".join(p.title for p in fitting)
        raise InputError(f"the file holds several {wanted}: {several}: name one, part: NAME")
    (chosen,) = fitting
    needed = NEEDED.get(chosen.kind, "")
    if needed and wanted not in (("ema", "swa") if chosen.kind == AVERAGED else KINDS):
        raise InputError(needed.format(part=chosen.title))
    return chosen


def check_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Hold tensors against what a network's weights can be.

    Raises:
        InputError: numbers that are no plain floats, or more of them than the file has bytes for.
    """
    stored, needed = {}, 0
    for name, value in tensors.items():
        kind = str(value.dtype).removeprefix("torch.")
        if value.layout != torch.strided or value.is_meta or value.is_quantized:
            kind = "no plain memory (sparse, quantized or without content)"
        if kind not in PRECISIONS:
            raise InputError(
                f"{path}: weight {name} is stored in {kind}: take weights in "
                f"{', '.join(PRECISIONS)}; bench quantizes them itself"
            )
        storage, taken = value.untyped_storage(), value.numel() * value.element_size()
        stored[storage.data_ptr()], needed = storage.nbytes(), needed + taken
        if taken > storage.nbytes():
            raise InputError(
                f"{path}: weight {name} of shape {list(value.shape)} repeats "
                f"{storage.nbytes()} stored bytes: save it by value, .clone()"
            )
    # Tied weights may stand twice.
    if needed > 2 * sum(stored.values()) + SMALL:
        raise InputError(
            f"{path}: its weights repeat the same stored bytes many times ({needed} of "
            f"{sum(stored.values())}): save them by value, .clone()"
        )


def _same(one: Part, other: Part) -> bool:
    """Whether two parts hold the same numbers: trainers write the raw weights twice."""
    return set(one.tensors) == set(other.tensors) and all(
        value.dtype == other.tensors[name].dtype and torch.equal(value, other.tensors[name])
        for name, value in one.tensors.items()
    )


def _of_kind(parts: list[Part], wanted: str | None) -> list[Part]:
    names = sorted({kind for p in parts for kind in MEANS.get(p.kind, (p.kind,))})
    fitting = [p for p in parts if (p.kind or "raw") == wanted]
    if not fitting:
        fitting = [p for p in parts if wanted in MEANS.get(p.kind, ())]
    if not fitting and wanted is None and names == ["raw"]:
        raise InputError(
            f"the file holds several networks and no word tells which is an average: "
            f"{', '.join(p.title for p in parts)}: name one, part: NAME (--set part=NAME, and "
            f"--set weights=ema if it is one)"
        )
    if not fitting:
        said = f"not {wanted}" if wanted else "and the card does not say which"
        raise InputError(
            f"weights must be one of {', '.join(names)}, which the file holds "
            f"({_listed(parts)}), {said}"
        )
    return fitting


def _listed(parts: list[Part] | tuple[Part, ...]) -> str:
    return "; ".join(f"{' or '.join(MEANS.get(p.kind, (p.kind,)))}: {p.title}" for p in parts)

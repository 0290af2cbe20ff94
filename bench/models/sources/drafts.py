"""Drafts of cards: what a file or folder tells of its checkpoint, and what is assumed for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.core.errors import InputError
from bench.models.sources import (
    adm_names,
    authors,
    beside,
    contents,
    described,
    flags,
    kinds,
    pretrained,
    reading,
    sketch,
    unet_shapes,
    unsupported,
)
from bench.models.sources import diffusers_folder as folders
from bench.models.sources import state_dicts as files
from bench.models.sources.filling import PRECISIONS
from bench.system import components

# More names than these say no more.
LISTED = 12
# Fields of folders alone.
FOLDERS = ("variant", "scaling_factor")


@dataclass
class Draft:
    """A card in the making.

    Attributes:
        source: name of the loader.
        config: the config of the card.
        shape: (channels, edge) of an image, for a guess of the data set; 0 for none.
        assumed: settings that neither the file nor the user states, in words.
        network, code: of a network that a function of the user builds, as on a card.
    """

    source: str
    config: dict[str, Any]
    shape: tuple[int, int]
    assumed: list[str] = field(default_factory=list)
    network: str = ""
    code: Mapping[str, str] = field(default_factory=dict)


def folder(path: Path, given: Mapping[str, Any]) -> Draft:
    """The draft of a diffusers folder, which tells nearly all.

    Raises:
        InputError: no known network, or a field that the folder decides.
    """
    for name in given:
        if name not in folders.FIELDS:
            raise InputError(
                f"--set {name}: the folder decides it; it leaves {', '.join(folders.FIELDS)}"
            )
    config = dict(given)
    description = described.describe(path, config)
    told = pretrained.told(description.network_folder, config.get("variant"))
    if kind := described.kind(description, config):
        config["weights"] = kind
    variant, _ = components.choose(description.network_folder, config.get("variant"))
    if variant:
        config["variant"] = variant
    channels, height, width = description.image
    draft = Draft("diffusers", config, (channels, height if height == width else 0))
    draft.assumed += [
        f"the weights are those of {told}; computed in float32",
        *description.assumed,
    ]
    if description.decoder:
        draft.config["scaling_factor"] = description.decoder[2]["scaling_factor"]
    if "weights" not in config:
        draft.assumed.append("the kind of weights is not known (--set weights=raw|ema|swa)")
    return draft


def file(path: Path, given: Mapping[str, Any]) -> Draft:
    """The draft of one file of weights.

    Raises:
        InputError: no weights, several kinds of them, or no known network.
    """
    for name in FOLDERS:
        if name in given and not (name == "scaling_factor" and "decoder" in given):
            raise InputError(f"--set {name}: a folder of diffusers has one, a file does not")
    content = files.read(path)
    assumed: list[str] = []
    kind = given.get("weights") or kind_of(path, content, given.get("part"), assumed)
    part = files.choose(content, kind, given.get("part"))
    if part.ordered:
        raise InputError(
            f"{path} holds a list without names ({part.title}), as diffusers' EMAModel writes: "
            f"write its card by hand, with the network, and weights: {kind}"
        )
    source = _source(path, part.tensors, content.passed)
    if "attention_order" in given and source not in ("adm", *contents.AUTHORS):
        raise InputError("--set attention_order: a UNet2DModel has q, k and v apart")
    for name in ("classes", "decoder"):
        if name in given and source not in contents.AUTHORS:
            raise InputError(f"--set {name}: of {', '.join(contents.AUTHORS)} alone")
    check(part.tensors, path)
    card = sketch.Sketch(path, given, part.tensors, assumed=assumed)
    card.config |= {"weights": kind} if kind else {}
    card.config |= {"part": given["part"]} if "part" in given else {}
    if part.name:
        assumed.append(f"the weights are those of {part.name} in the file")
    if content.passed:
        more = ", ..." if len(content.passed) > LISTED else ""
        assumed.append(f"passed over in the file: {', '.join(content.passed[:LISTED])}{more}")
    card.config |= {"null_class": given["null_class"]} if "null_class" in given else {}
    card.config |= _stored(part.tensors, assumed)
    if source in contents.AUTHORS:
        channels, height, width = authors.draft(card, source, content, part)
    else:
        sketch.network(card)
        sketch.schedule(card, content, part)
        flags.settle(card)
        channels, height, width = card.config["shape"]
    return Draft(source, card.config, (channels, height if height == width else 0), assumed)


def kind_of(
    path: Path, content: files.Weights, part: str | None, assumed: list[str]
) -> str | None:
    """The kind that is there alone, else what the name of the file says."""
    known = {p.kind for p in content.parts if part is None or p.name.startswith(part)}
    if len(known) != 1:
        return None
    (kind,) = known
    if kind in kinds.KINDS:
        return kind
    if beside.averaged(path):
        assumed.append("weights ema: diffusers' EMAModel wrote the config.json beside the file")
        return "ema"
    named = kinds.of_file(path)
    if named:
        assumed.append(f"weights {named}, by the name of the file (--set weights=...)")
        return named
    if kind == kinds.AVERAGED:
        assumed.append("weights swa: the file is of torch's AveragedModel (--set weights=ema)")
        return "swa"
    return None


def _source(path: Path, weights: Mapping[str, Tensor], passed: tuple[str, ...]) -> str:
    """The loader, for a network that bench knows.

    Raises:
        InputError: it is another network, or the half of one.
    """
    if any("first_stage_model" in name for name in passed):
        raise InputError(f"{path} holds {unsupported.refusal('latent-diffusion')}")
    if adm_names.is_adm(weights):
        return "adm"
    if source := authors.source_of(weights):
        return source
    title = unsupported.network(weights)
    if unet_shapes.is_unet(weights) and not title:
        return "torch" if reading.is_pickled(path) else "safetensors"
    if title:
        raise InputError(f"{path} holds {unsupported.refusal(title)}")
    names = ", ".join(name[:80] for name in list(weights)[:3])
    raise InputError(
        f"{path} holds neither an ADM network nor a UNet2DModel (its weights: {names}, ...)"
    )


def check(weights: Mapping[str, Tensor], path: Path) -> None:
    """Hold weights against what a network can be filled with.

    Raises:
        InputError: as for `state_dicts.check_tensors`; or numbers that are not finite.
    """
    files.check_tensors(weights, path)
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise InputError(
                f"{path}: weight {name} holds NaN or infinite values: the training diverged or "
                f"the file is damaged; take an earlier checkpoint, or fetch it again"
            )


def _stored(weights: Mapping[str, Tensor], assumed: list[str]) -> dict[str, str]:
    kinds_found = {str(v.dtype).removeprefix("torch.") for v in weights.values()}
    if kinds_found == {PRECISIONS[0]}:
        return {}
    stored = kinds_found.pop() if len(kinds_found) == 1 else "mixed"
    words = stored if stored != "mixed" else "several precisions"
    assumed.append(f"stored in {words}, computed in float32")
    return {"stored": stored}

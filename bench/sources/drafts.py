"""Drafts of cards: what a file or folder tells of its checkpoint, and what is assumed for it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.errors import InputError
from bench.sources import adm, foreign, shapes
from bench.sources import folder as folders
from bench.sources import weights as files

# Of ADM's published networks for small images.
HEAD = {"adm": 64, "unet": 8}


@dataclass
class Draft:
    """A card in the making.

    Attributes:
        source: name of the loader.
        config: of the card.
        shape: (channels, edge) of an image, for a guess of the data set.
        assumed: what neither the file nor the user says.
        guessed: fields of the network that its names and shapes do not tell.
    """

    source: str
    config: dict[str, Any]
    shape: tuple[int, int]
    assumed: list[str] = field(default_factory=list)
    guessed: tuple[str, ...] = ()


def folder(place: Path, given: Mapping[str, Any]) -> Draft:
    """The draft of a diffusers folder, which tells nearly all.

    Raises:
        InputError: no known network, or a field that the folder decides.
    """
    for name in given:
        if name not in folders.FIELDS:
            raise InputError(
                f"--set {name}: the folder decides it; it leaves {' and '.join(folders.FIELDS)}"
            )
    _, said = folders.describe(place)
    size = said.get("sample_size") or 0
    latent = (place / "vae").is_dir()
    shape = (0, 0) if latent else (int(said.get("in_channels", 0)), size)
    draft = Draft("diffusers", dict(given), shape)
    if "weights" not in given:
        draft.assumed.append("the kind of weights is not known (--set weights=raw|ema|swa)")
    return draft


def file(path: Path, given: Mapping[str, Any]) -> Draft:
    """The draft of one file of weights.

    Raises:
        InputError: no weights, several kinds of them, or no known network.
    """
    found = files.read(path)
    kind = given.get("weights") or _kind(path, found)
    if found.ordered:
        raise InputError(
            f"{path} is a {found.container}, a list without names: write its card by hand, with "
            f"the network, and weights: {kind}"
        )
    weights = files.choose(found, kind)
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise InputError(
                f"{path}: weight {name} holds NaN or infinite values: the training diverged or "
                f"the file is damaged; take an earlier checkpoint, or fetch it again"
            )
    assumed = [f"the file is a {found.container}"] if found.container != "state dict" else []
    if kind and "weights" not in given and not set(found.sets) & {"raw", "ema", "swa"}:
        assumed.append(f"weights {kind}, by the name of the file (--set weights=...)")
    config: dict[str, Any] = {"weights": kind} if kind else {}
    stored = {str(v.dtype).removeprefix("torch.") for v in weights.values()} - {"int64"}
    if stored != {"float32"}:
        if len(stored) != 1:
            raise InputError(f"{path} mixes precisions: {', '.join(sorted(stored))}")
        config["stored"] = stored.pop()
        assumed.append(f"stored in {config['stored']}, computed in float32")
    source = _source(path, weights)
    config |= _network(path, weights, given, assumed)
    for name, usual in (("schedule", "cosine"), ("predicts", "epsilon"), ("timesteps", 1000)):
        if name not in given:
            assumed.append(f"{name} {usual} (--set {name}=...)")
        config[name] = given.get(name, usual)
    if "variance" in given:
        config["variance"] = given["variance"]
    if source == "adm":
        _order(weights, config, given, assumed)
    shape = (config["shape"][0], config["shape"][1])
    described = adm.is_adm(weights) or (path.parent / "config.json").is_file()
    return Draft(source, config, shape, assumed, () if described else shapes.GUESSED)


def _kind(path: Path, found: files.Weights) -> str | None:
    """The kind that is there alone, else what the name of the file says."""
    known = set(found.sets) - {"", "averaged"}
    if len(known) == 1:
        return known.pop()
    if known:
        return None
    named = re.search(r"(?<![a-z])(ema|swa)(?![a-z])", path.name.lower())
    if named:
        return named[1]
    return "swa" if "averaged" in found.sets else None


def _source(path: Path, weights: Mapping[str, Tensor]) -> str:
    if adm.is_adm(weights):
        return "adm"
    return "safetensors" if path.suffix == ".safetensors" else "torch"


def _network(
    path: Path, weights: Mapping[str, Tensor], given: Mapping[str, Any], assumed: list[str]
) -> dict[str, Any]:
    """Fields network, shape and learns_variance, of config.json beside the file or of shapes."""
    described = path.parent / "config.json"
    if described.is_file() and not adm.is_adm(weights):
        said = folders.read(described.parent)
        unet = {k: v for k, v in said.items() if not k.startswith("_")}
        network = {"patch": 1, "unet": unet}
        assumed.append("the network is that of config.json beside the file")
    elif adm.is_adm(weights) or shapes.is_unet(weights):
        kind = "adm" if adm.is_adm(weights) else "unet"
        head, size = given.get("attention_head_dim", HEAD[kind]), given.get("sample_size")
        if "attention_head_dim" not in given:
            assumed.append(f"{head} channels of an attention head (--set attention_head_dim=N)")
        if size is None:
            raise InputError("weights do not tell the size of the images: --set sample_size=N")
        network = (adm if kind == "adm" else shapes).network(weights, head, size)
    else:
        if title := foreign.network(weights):
            raise InputError(f"{path} holds {foreign.refusal(title)}")
        names = ", ".join(list(weights)[:3])
        raise InputError(
            f"{path} holds neither an ADM network nor a UNet2DModel (its weights: {names}, ...)"
        )
    unet = json.loads(json.dumps(network["unet"]))
    channels, size = unet["in_channels"], unet["sample_size"]
    found = {"network": {"patch": 1, "unet": unet}, "shape": [channels, size, size]}
    return found | {"learns_variance": unet["out_channels"] == 2 * channels}


def _order(
    weights: Mapping[str, Tensor],
    config: dict[str, Any],
    given: Mapping[str, Any],
    assumed: list[str],
) -> None:
    """Decide the order of q, k and v and the heads by what fits the weights, where it shows."""
    config["attention_order"] = given.get("attention_order", "new")
    if config["predicts"] != "epsilon":
        assumed.append(f"attention_order {config['attention_order']}")
        return
    found = adm.errors(weights, config, config.get("stored", "float32"))
    fitting = adm.better(found)
    if fitting and "attention_order" not in given:
        config["attention_order"] = fitting[0]
    if fitting and "attention_head_dim" not in given:
        config["network"]["unet"]["attention_head_dim"] = fitting[1]
    told = ", ".join(f"{order} {head}: {error:.2g}" for (order, head), error in found.items())
    if min(found.values()) >= adm.TRAINED:
        assumed.append(
            f"attention_order {config['attention_order']}: the weights do not tell, they seem "
            f"untrained (errors on noise {told})"
        )
    else:
        assumed.append(
            f"attention_order {config['attention_order']}, by the errors on noise ({told})"
        )

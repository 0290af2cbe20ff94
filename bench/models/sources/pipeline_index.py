"""Which components a diffusers folder has, by its `model_index.json`, and which are understood.

The index names every component and the class that loads it. A component that bench does not
understand would decide images without a word, so it is refused by name; so is a pipeline whose
code does more around the network than to sample it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import InputError
from bench.models.pipelines.known import GUIDANCE
from bench.models.sources.fields import read
from bench.system import components

INDEX = "model_index.json"
# Pipelines that sample one network from noise, with labels or without, and decode latents.
PIPELINES = (
    "DDPMPipeline",
    "DDIMPipeline",
    "PNDMPipeline",
    "DiffusionPipeline",
    "LDMPipeline",
    "DiTPipeline",
    "AudioDiffusionPipeline",
)
# Components and notes that do not change the images.
BESIDE = {"mel": "turns images into sound", "id2label": "names of the classes"}
KINDS = ("raw", "ema")


@dataclass(frozen=True)
class Parts:
    """The components of a folder.

    Attributes:
        networks: folders of the network and of its average, by name.
        decoder: folder of the decoder, None for a model of pixels.
        scheduler: class that the index names, "" where it does not.
        classes: classes that the index names, by component.
    """

    networks: Mapping[str, Path]
    decoder: Path | None
    scheduler: str
    classes: Mapping[str, str]


def parts(folder: Path) -> Parts:
    """The components of a folder.

    Raises:
        InputError: no network, several decoders, or a component that is not understood.
    """
    index = read(folder / INDEX) if (folder / INDEX).is_file() else None
    classes = _classes(folder, index) if index is not None else {}
    networks = components.network_places(folder)
    named = [name for name in components.NETWORKS if name in classes]
    for name in named:
        if name not in networks and "" not in networks:
            raise InputError(f"{folder / INDEX} names {name}, and there is no {folder / name}")
    if not networks:
        raise InputError(f"{folder} holds no config.json of a network of diffusers")
    decoders = [name for name in components.DECODERS if (folder / name).is_dir()]
    if index is not None:
        _hold(folder, decoders, classes)
    else:
        _known(folder)
    plain = [name for name in networks if name in components.NETWORKS]
    for group in (plain, decoders):
        if len(group) > 1:
            raise InputError(f"{folder} holds {' and '.join(group)}: it must hold one of them")
    decoder = folder / decoders[0] if decoders else None
    return Parts(networks, decoder, classes.get("scheduler", ""), classes)


def _classes(folder: Path, index: Mapping[str, Any]) -> dict[str, str]:
    """Classes of the components that are there, all of them understood."""
    label, pipeline = folder / INDEX, index.get("_class_name")
    classes: dict[str, str] = {}
    if str(pipeline) in GUIDANCE:
        raise InputError(
            f"{label} describes a {pipeline}, which makes images from prompts: write a card "
            f"for it with source: pipeline and dataset: none (docs/pipelines.md)"
        )
    known = (*components.NETWORKS, *components.DECODERS, "scheduler")
    for name, value in index.items():
        if name.startswith("_") or name in BESIDE or value is None or value == [None, None]:
            continue
        pair = isinstance(value, list) and len(value) == 2 and isinstance(value[1], str)
        if name not in known or not pair:
            said = value[1] if pair else repr(value)
            raise InputError(
                f"{label} names {name} ({said}), which bench does not understand and which may "
                f"decide the images; it understands {', '.join(known)}"
            )
        classes[name] = value[1]
    if pipeline is not None and pipeline not in PIPELINES:
        raise InputError(
            f"{label} describes a {pipeline}, and what it does around its network is not known "
            f"to bench, which understands {', '.join(PIPELINES)}"
        )
    return classes


def _hold(folder: Path, decoders: list[str], classes: Mapping[str, str]) -> None:
    """Hold the decoders that lie in a folder against those that its index names."""
    for name in components.DECODERS:
        if name in classes and name not in decoders:
            raise InputError(f"{folder / INDEX} names {name}, and there is no {folder / name}")
        if name in decoders and name not in classes:
            raise InputError(
                f"{folder / name} lies there, and {folder / INDEX} does not name it: correct one "
                f"of them"
            )


def _known(folder: Path) -> None:
    """Refuse components of a folder without an index whose purpose is not known."""
    known = (*components.NETWORKS, *components.AVERAGES, *components.DECODERS, "scheduler")
    for path in sorted(folder.glob("*/config.json")):
        name = path.parent.name
        if name not in known and (kind := read(path).get("_class_name")):
            raise InputError(
                f"{folder} has no {INDEX}, and its {name} holds a {kind}, whose part in the "
                f"images is not known to bench"
            )


def network(parts: Parts, weights: str | None, folder: Path) -> tuple[str, Path]:
    """Name and folder of the network, or of its average, as the card says.

    Args:
        parts: the components.
        weights: kind of weights on the card, None where it does not say.
        folder: the folder of the pipeline, for the error.

    Raises:
        InputError: both are there, and the card does not say which.
    """
    if len(parts.networks) == 1:
        return next(iter(parts.networks.items()))
    names = " and ".join(parts.networks)
    if weights is None:
        raise InputError(
            f"{folder} holds {names}: weights must be raw or ema, in the card's config or by "
            f"--set weights=ema"
        )
    wanted = components.AVERAGES if weights == "ema" else components.NETWORKS
    return next((n, p) for n, p in parts.networks.items() if n in wanted)

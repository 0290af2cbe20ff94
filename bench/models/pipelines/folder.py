"""The folder of a prompted pipeline: its index, its files with their hash, and its size.

`model_index.json` names each component with the library and the class that load it. A component
of a kind that is not listed here, a class of another library, and a value that the class of the
pipeline does not take are refused by name. This module needs no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.core.errors import InputError
from bench.models.pipelines import known
from bench.models.sources import fields
from bench.models.sources.pipeline_index import INDEX
from bench.system import disk, hub
from bench.system.components import NETWORKS

TEXT = ("text_encoder", "text_encoder_2", "text_encoder_3")
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
DECODER = "vae"
# Component -> the library that its class is of.
LIBRARIES = {
    **dict.fromkeys((*NETWORKS, DECODER, "scheduler"), "diffusers"),
    **dict.fromkeys((*TEXT, *TOKENIZERS), "transformers"),
}
# What is left out, and why that is right.
LEFT_OUT = {
    "safety_checker": "it would put black images in the place of some",
    "feature_extractor": "it serves the safety checker, or images as prompts",
    "image_encoder": "it serves images as prompts",
}
# Files of a component that decide what it computes.
SUFFIXES = (".json", ".txt", ".model", ".safetensors", ".jinja")
PATTERNS = (INDEX, *(f"{name}/*{suffix}" for name in LIBRARIES for suffix in SUFFIXES))
# Longest header of a file of safetensors, by its own rules.
HEADER = 100_000_000


@dataclass(frozen=True)
class Index:
    """What a folder's index says.

    Attributes:
        folder: of the pipeline.
        pipeline: its class.
        network: name of the component that denoises.
        classes: class of each component that is loaded, by its name.
        absent: components that the index leaves empty, or bench leaves out.
        values: arguments of the pipeline that are no components.
    """

    folder: Path
    pipeline: str
    network: str
    classes: Mapping[str, str]
    absent: tuple[str, ...]
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def encoders(self) -> tuple[str, ...]:
        """The text encoders."""
        return tuple(name for name in TEXT if name in self.classes)


def located(uri: str, revision: str) -> Path:
    """The folder of a pipeline: as named, or its snapshot of the hub.

    Raises:
        InputError: no such folder, or a repository that is neither in the cache nor to be had.
    """
    path = hub.folder(uri, revision, PATTERNS, lambda folder: bool(_holds_all(folder)))
    if not path.is_dir():
        raise InputError(f"no folder {path}")
    return path


def _holds_all(folder: Path) -> bool:
    """Whether a snapshot has the files of each component that its index names."""
    if not (folder / INDEX).is_file():
        return False
    return all(files(folder, name) for name in read(folder).classes)


def read(folder: Path) -> Index:
    """The index of a folder.

    Raises:
        InputError: there is none, a pipeline or component that is not understood, or no network.
    """
    label = folder / INDEX
    if not label.is_file():
        raise InputError(f"{folder} holds no {INDEX}, so it is no pipeline of diffusers")
    said = fields.read(label)
    pipeline = known.require(said.get("_class_name"), str(label))
    classes, absent, values = dict[str, str](), [], dict[str, Any]()
    for name, value in said.items():
        if name.startswith("_"):
            continue
        if name in LEFT_OUT or (isinstance(value, list) and value == [None, None]):
            absent.append(name)
        elif isinstance(value, list):
            classes[name] = _class(name, value, label)
        else:
            values[name] = value
    networks = [name for name in NETWORKS if name in classes]
    if len(networks) != 1:
        raise InputError(f"{label} must name one network, {' or '.join(NETWORKS)}")
    for name in ("scheduler", DECODER):
        if name not in classes:
            raise InputError(f"{label} names no {name}")
    return Index(folder, pipeline, networks[0], classes, tuple(absent), values)


def _class(name: str, value: list[Any], label: Path) -> str:
    if len(value) != 2 or not all(isinstance(part, str) for part in value):
        raise InputError(f"{label}: {name} must be a library and a class, not {value!r}")
    if name not in LIBRARIES:
        raise InputError(
            f"{label} names {name} ({value[1]}), which bench does not understand and which may "
            f"decide the images"
        )
    if value[0] != LIBRARIES[name]:
        raise InputError(
            f"{label}: {name} is a {value[1]} of {value[0]}, and bench loads those of "
            f"{LIBRARIES[name]} alone"
        )
    return value[1]


def files(folder: Path, component: str) -> list[Path]:
    """The files of a component, sorted."""
    paths = (folder / component).glob("*")
    return sorted(path for path in paths if path.suffix in SUFFIXES and path.is_file())


def digest(folder: Path) -> str:
    """SHA-256 (hex) of the names and contents of all files of the components, and of the index.

    Raises:
        InputError: as for `read`; a component without files, or a Git LFS pointer.
    """
    index, total = read(folder), hashlib.sha256()
    paths = [folder / INDEX]
    for name in index.classes:
        found = files(folder, name)
        if not found:
            raise InputError(f"{folder / INDEX} names {name}, and {folder / name} holds no file")
        paths += found
    for path in sorted(paths):
        with path.open("rb") as stream:
            if stream.read(40).startswith(b"version https://git-lfs"):
                raise InputError(f"{path} is a Git LFS pointer; run `git lfs pull`")
        name = path.relative_to(folder).as_posix()
        total.update(f"{name} {disk.sha256(path)}\n".encode())
    return total.hexdigest()


def sizes(index: Index, variant: str | None, dtype: str) -> dict[str, int]:
    """Bytes of each component's weights in memory, from the headers of its files.

    Args:
        index: of the folder.
        variant: of the weights, None for the plain ones.
        dtype: that they are loaded in.
    """
    found = {}
    for name in index.classes:
        paths = [path for path in files(index.folder, name) if path.suffix == ".safetensors"]
        named = [path for path in paths if variant and f".{variant}" in path.name]
        plain = [path for path in paths if path.name.count(".") == 1]
        if count := sum(map(_numbers, named or plain or paths)):
            found[name] = known.DTYPES[dtype] * count
    return found


def _numbers(path: Path) -> int:
    """How many numbers a file of safetensors holds, by its header.

    Raises:
        InputError: it is damaged.
    """
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(length, HEADER)))
        count = 0
        for name, entry in header.items():
            size = 1
            for edge in entry["shape"] if name != "__metadata__" else (0,):
                size *= int(edge)
            count += size
        return count
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {str(error)[:100]}"
        raise InputError(f"{path} is no whole file of safetensors ({reason})") from None

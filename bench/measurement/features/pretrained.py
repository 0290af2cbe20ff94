"""Weights that are taken from the hub: their location and their identity.

`dinov2` and `clip` take a network of the hub in the format of transformers: a folder, or
`OWNER/NAME[@REVISION]`, named by an environment variable, or else the network of the paper at a
pinned commit. As a user may name any network, the SHA-256 of the configuration and of the weights
is part of the extractor's version and of the keys of all that is cached, and the run records it
with the commit of the hub's snapshot. The metric `clip_score` takes its network in the same way,
and the tokenizer beside it. Nothing here imports torch or transformers.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.core import border
from bench.core.errors import InputError
from bench.system import disk, hub

DESCRIPTION = "config.json"
# The first of these files that exists is taken; neither of them can run code.
# Bytes that a description may have.
DESCRIPTION_BYTES = 1 << 24
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
# A tokenizer is one of these sets of files; its options may stand beside it.
TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))
OPTIONS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


@dataclass(frozen=True)
class Choice:
    """Which network an extractor takes.

    Attributes:
        variable: environment variable that names another one.
        default: the network of the paper, on the hub, at a commit.
        kind: `model_type` that its configuration must state.
        arithmetic: rises with what bench does before and after the network.
    """

    variable: str
    default: str
    kind: str
    arithmetic: int = 1


CHOICES = {
    "dinov2": Choice(
        "BENCH_DINOV2", "facebook/dinov2-large@47b73eefe95e8d44ec3623f8890bd894b6ea2d6c", "dinov2"
    ),
    "clip": Choice(
        "BENCH_CLIP",
        "openai/clip-vit-large-patch14-336@ce19dc912ca5cd21c8a653c79e251e808ccabcd1",
        "clip",
    ),
    "clip_score": Choice(
        "BENCH_CLIP_SCORE",
        "openai/clip-vit-base-patch32@3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        "clip",
    ),
}


def folder(extractor: str) -> Path:
    """The folder of an extractor's network: the one named, or its snapshot of the hub.

    Raises:
        InputError: it is not there and cannot be had, or lacks a file.
    """
    choice, given = CHOICES[extractor], _given(extractor)
    path = Path(given) if Path(given).is_dir() else _snapshot(given, choice.variable)
    if not (path / DESCRIPTION).is_file() or not _weights(path):
        raise InputError(
            f"{path} has no {DESCRIPTION} and {WEIGHTS[0]}: {choice.variable} names a folder "
            f"that transformers saved, or OWNER/NAME of the hub"
        )
    return path


def files(extractor: str) -> tuple[Path, Path]:
    """The configuration and the weights of an extractor.

    Raises:
        InputError: they are not there.
    """
    path = folder(extractor)
    return path / DESCRIPTION, _weights(path)[0]


def _weights(path: Path) -> list[Path]:
    return [path / name for name in WEIGHTS if (path / name).is_file()]


def _given(extractor: str) -> str:
    choice = CHOICES[extractor]
    return os.environ.get(choice.variable) or choice.default


@functools.cache
def _snapshot(given: str, variable: str) -> Path:
    name, _, revision = given.partition("@")
    if (kept := hub.cached(name, revision)) and _weights(kept):
        return kept
    try:
        for weights in WEIGHTS:
            snapshot = hub.fetched(name, revision, [DESCRIPTION, weights])
            if _weights(snapshot):
                break
    # The hub's client raises errors of its own, of its transport and of the system.
    except Exception as error:
        command = f"hf download {name}" + (f" --revision {revision}" if revision else "")
        raise InputError(
            f"no weights of {given}: neither a folder nor in the cache of the hub, and they "
            f"cannot be fetched ({hub.reason(error)}): `{command}` where there is a network, or "
            f"name a folder by {variable}"
        ) from None
    return snapshot


def tokenizer(extractor: str) -> list[Path]:
    """The files of the tokenizer beside an extractor's network.

    Raises:
        InputError: they are not there and cannot be had.
    """
    path, given = folder(extractor), _given(extractor)
    if not (kept := _tokenizer(path)) and not Path(given).is_dir():
        # The hub's client keeps a snapshot in a folder that is named by its commit.
        name, commit = given.partition("@")[0], path.name
        names = [*(name for names in TOKENIZERS for name in names), *OPTIONS]
        try:
            kept = _tokenizer(hub.fetched(name, commit, names))
        # The hub's client raises errors of its own, of its transport and of the system.
        except Exception as error:
            raise InputError(
                f"the cache of the hub has the network {given} without its tokenizer, which "
                f"cannot be fetched ({hub.reason(error)}): `hf download {name} --revision "
                f"{commit}` where there is a network"
            ) from None
    if not kept:
        raise InputError(
            f"{path} has no tokenizer.json, and not vocab.json with merges.txt: save the "
            f"tokenizer of the network there"
        )
    return kept


def _tokenizer(path: Path) -> list[Path]:
    """The files of a tokenizer in a folder, none where it is not whole."""
    if not any(all((path / name).is_file() for name in names) for names in TOKENIZERS):
        return []
    names = [*(name for names in TOKENIZERS for name in names), *OPTIONS]
    return [path / name for name in names if (path / name).is_file()]


def origin(extractor: str) -> str:
    """Where the weights are from, and their digest: OWNER/NAME@COMMIT, or the name of a folder.

    Raises:
        InputError: they are not there.
    """
    given, path = _given(extractor), folder(extractor)
    if Path(given).is_dir():
        where = f"folder {path.resolve().name}"
    else:
        # The hub's client keeps a snapshot in a folder that is named by its commit.
        where = f"{given.partition('@')[0]}@{path.name}"
    return f"{where} ({digest(extractor)[:12]})"


def recorded(names: Iterable[str]) -> dict[str, str]:
    """Entries for the versions of a run: origins of the weights that extractors and metrics take;
    {} for others."""
    chosen = [name for name in names if name in CHOICES]
    origins = {name: origin(name) for name in chosen}
    return origins | ({"transformers": _library(chosen[0])} if chosen else {})


def configuration(extractor: str) -> dict[str, Any]:
    """The part of config.json about the image network.

    Raises:
        InputError: it is damaged, or of another kind of network.
    """
    path, kind = files(extractor)[0], CHOICES[extractor].kind
    try:
        said = border.parse(border.text(path, "a description of a network", DESCRIPTION_BYTES))
        stated = said.get("model_type")
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path} cannot be read ({error})") from None
    if stated not in (kind, f"{kind}_vision_model"):
        raise InputError(f"{path} describes a network {stated!r}: {extractor} takes {kind}")
    return said


def digest(extractor: str) -> str:
    """SHA-256 of the files and of bench's version of the extractor; "" for other extractors."""
    if extractor not in CHOICES:
        return ""
    stamps = tuple((str(path), path.stat().st_mtime_ns) for path in files(extractor))
    return _digest(stamps, CHOICES[extractor].arithmetic)


@functools.cache
def _digest(stamps: tuple[tuple[str, int], ...], arithmetic: int) -> str:
    total = hashlib.sha256(str(arithmetic).encode())
    for path, _ in stamps:
        total.update(disk.sha256(Path(path)).encode())
    return total.hexdigest()


def versions(extractor: str) -> dict[str, str]:
    """The identity of an extractor in keys of cached features; {} for other extractors.

    Raises:
        InputError: no weights, or transformers is missing.
    """
    if extractor not in CHOICES:
        return {}
    return {f"{extractor} weights": digest(extractor), "transformers": _library(extractor)}


def with_text(metric: str) -> dict[str, str]:
    """The identity of a metric that takes images and texts by a network and its tokenizer.

    Raises:
        InputError: no weights, those of images alone, no tokenizer, or transformers is missing.
    """
    library = _library(metric)
    if configuration(metric).get("model_type") != CHOICES[metric].kind:
        raise InputError(
            f"{folder(metric)} has the network of images alone: {metric} needs the whole network, "
            f"that of texts included"
        )
    total = hashlib.sha256()
    for path in tokenizer(metric):
        total.update(f"{path.name} {disk.sha256(path)}\n".encode())
    return {
        "weights": digest(metric),
        "tokenizer": total.hexdigest()[:32],
        "transformers": library,
    }


def _library(name: str) -> str:
    try:
        return metadata.version("transformers")
    except metadata.PackageNotFoundError:
        raise InputError(
            f"{name} needs transformers: pip install 'diffusion-quant-bench[transformers]'"
        ) from None


class Version:
    """Class attribute `version` of an extractor: the first 32 bits of its digest."""

    def __get__(self, instance: object, owner: Any) -> int:
        return int(digest(owner.name)[:8], 16)


class Dimension:
    """Class attribute `dim` of an extractor, read from its configuration."""

    def __get__(self, instance: object, owner: Any) -> int:
        said = configuration(owner.name)
        field = "projection_dim" if owner.name == "clip" else "hidden_size"
        if not isinstance(said.get(field), int):
            raise InputError(f"{files(owner.name)[0]} does not say {field}")
        return int(said[field])

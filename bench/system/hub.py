"""Checkpoints of the hub and diffusers folders: where their files are, and their hash.

`hf:OWNER/NAME` with a full commit as revision names the same bytes for ever. Files come from the
hub's own cache where they are there, and from the network only where they are not and
HF_HUB_OFFLINE does not forbid it.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import InputError
from bench.system import components, disk

PREFIX = "hf:"
_NETWORKS = (*components.NETWORKS, *components.AVERAGES, *components.DECODERS)
COMPONENTS = ("", *(f"{name}/" for name in (*_NETWORKS, "scheduler")))
DESCRIPTIONS = tuple(f"{c}*.json" for c in COMPONENTS)
SAFE = tuple(f"{c}diffusion_pytorch_model*.safetensors" for c in COMPONENTS[:-1])
PICKLED = tuple(pattern.replace(".safetensors", ".bin") for pattern in SAFE)
_NAME = re.compile(r"[\w.-]+/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
TIMEOUT = 10


def folder(
    uri: str,
    revision: str,
    patterns: Sequence[str] = (),
    is_whole: Callable[[Path], bool] | None = None,
) -> Path:
    """The folder of a checkpoint: as named, or its snapshot in the hub's cache.

    Args:
        uri: a path, or `hf:OWNER/NAME`.
        revision: commit of the repository.
        patterns: files that are fetched; none for those of networks and decoders.
        is_whole: whether a snapshot holds them; None for `complete`.

    Raises:
        InputError: no such folder, a bad id or revision, or files that are neither in the cache
            nor to be had.
    """
    if not uri.startswith(PREFIX):
        return Path(uri)
    name = uri.removeprefix(PREFIX)
    if not _NAME.fullmatch(name):
        raise InputError(f"{uri} must be hf:OWNER/NAME")
    if not COMMIT.fullmatch(revision):
        raise InputError(
            f"{uri} needs a pinned revision, the 40 hexadecimal digits of a commit, not "
            f"{revision!r}"
        )
    if (snapshot := cached(name, revision)) and (is_whole or complete)(snapshot):
        return snapshot
    try:
        snapshot = fetched(name, revision, patterns or [*DESCRIPTIONS, *SAFE])
        if not patterns and not complete(snapshot):
            snapshot = fetched(name, revision, [*DESCRIPTIONS, *PICKLED])
    # The hub's client raises errors of its own, of its transport and of the system.
    except Exception as error:
        raise InputError(
            f"{uri} at {revision[:12]} is not in the cache of the hub and cannot be fetched "
            f"({reason(error)}): fetch it where there is a network, `hf download {name} "
            f"--revision {revision}`, and copy the cache (HF_HOME)"
        ) from None
    return snapshot


def cached(name: str, revision: str = "") -> Path | None:
    """The snapshot of a repository in the hub's cache, whatever it holds; None for none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision or None, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def fetched(name: str, revision: str, patterns: Sequence[str]) -> Path:
    """The snapshot of a repository with the files of these patterns, downloaded; that it is
    downloaded, and how much that is, is told on stderr.

    Raises:
        Exception: whatever the hub's client raises.
    """
    from huggingface_hub import HfApi, snapshot_download

    pinned = revision or None
    # One request that is not repeated: without a network the download itself tries for a while.
    info = HfApi().model_info(name, revision=pinned, timeout=TIMEOUT, files_metadata=True)
    print(_download_line(name, info.siblings or (), patterns), file=sys.stderr)
    return Path(snapshot_download(name, revision=pinned, allow_patterns=list(patterns)))


def _download_line(name: str, siblings: Sequence[Any], patterns: Sequence[str]) -> str:
    """Say what is about to be fetched; the hub does not know the size of every file."""
    wanted = [s for s in siblings if any(fnmatch.fnmatch(s.rfilename, p) for p in patterns)]
    size = sum(s.size or 0 for s in wanted)
    known = f", up to {size / 1e6:.0f} MB" if size else ""
    return f"fetching hf:{name} from the hub: {len(wanted)} files{known}"


def reason(error: Exception) -> str:
    """An error of the hub's client in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:120]


def complete(path: Path) -> bool:
    """Whether each component of a diffusers folder that has a config has weights."""
    networks = list(components.network_places(path).values())
    decoders = [path / name for name in components.DECODERS if (path / name).is_dir()]
    return bool(networks) and all(components.weights_of(p) for p in (*networks, *decoders))


def digest(path: Path) -> str:
    """SHA-256 of the names and contents of the files of a diffusers folder that are read.

    Raises:
        InputError: it holds no weights, or a Git LFS pointer in place of them.
    """
    files = sorted(f for c in COMPONENTS[:-1] for f in components.weights_of(path / c))
    if not files:
        raise InputError(f"{path} holds no diffusion_pytorch_model weights of diffusers")
    files += sorted({file for pattern in DESCRIPTIONS for file in path.glob(pattern)})
    # A folder of one component has its scheduler in the pipeline around it.
    around = components.beside(path)
    if around and not around.is_relative_to(path):
        files.append(around)
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            if stream.read(40).startswith(b"version https://git-lfs"):
                raise InputError(f"{file} is a Git LFS pointer; run `git lfs pull`")
        name = Path(os.path.relpath(file, path)).as_posix()
        total.update(f"{name} {disk.sha256(file)}\n".encode())
    return total.hexdigest()

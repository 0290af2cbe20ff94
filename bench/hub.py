"""Checkpoints of the hub and diffusers folders: where their files are, and their hash.

`hf:OWNER/NAME` with a full commit as revision names the same bytes for ever. Files come from the
hub's own cache where they are there, and from the network only where they are not and
HF_HUB_OFFLINE does not forbid it.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from bench import store
from bench.errors import InputError

PREFIX = "hf:"
COMPONENTS = ("", "unet/", "transformer/", "vae/", "scheduler/")
DESCRIPTIONS = tuple(f"{c}*.json" for c in COMPONENTS)
SAFE = tuple(f"{c}diffusion_pytorch_model*.safetensors" for c in ("", *COMPONENTS[1:4]))
PICKLED = tuple(pattern.replace(".safetensors", ".bin") for pattern in SAFE)
_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def folder(uri: str, revision: str) -> Path:
    """The folder of a checkpoint: as named, or its snapshot in the hub's cache.

    Raises:
        InputError: no such folder, a bad id or revision, or files that are neither in the cache
            nor to be had.
    """
    if not uri.startswith(PREFIX):
        return Path(uri)
    name = uri.removeprefix(PREFIX)
    if not _NAME.fullmatch(name):
        raise InputError(f"{uri} must be hf:OWNER/NAME")
    if not _COMMIT.fullmatch(revision):
        raise InputError(
            f"{uri} needs a pinned revision, the 40 hexadecimal digits of a commit, not "
            f"{revision!r}"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    patterns = [*DESCRIPTIONS, *SAFE]
    try:
        found = Path(snapshot_download(name, revision=revision, local_files_only=True))
        if weights_of(found):
            return found
    except LocalEntryNotFoundError:
        pass
    try:
        found = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
        if not weights_of(found):
            patterns = [*DESCRIPTIONS, *PICKLED]
            found = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    # The hub's client raises errors of its own, of its transport and of the system.
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{uri} at {revision[:12]} is not in the cache of the hub and cannot be fetched "
            f"({type(error).__name__}: {reason}): fetch it where there is a network, "
            f"`hf download {name} --revision {revision}`, and copy the cache (HF_HOME)"
        ) from None
    return found


def weights_of(path: Path) -> list[Path]:
    """The files of weights in a diffusers folder, safetensors before pickles; [] for none."""
    for patterns in (SAFE, PICKLED):
        found = sorted({file for pattern in patterns for file in path.glob(pattern)})
        if found:
            return found
    return []


def digest(path: Path) -> str:
    """SHA-256 of the names and contents of the files of a diffusers folder that are read.

    Raises:
        InputError: it holds no weights, or a Git LFS pointer in place of them.
    """
    files = weights_of(path)
    if not files:
        raise InputError(f"{path} holds no diffusion_pytorch_model weights of diffusers")
    files += sorted({file for pattern in DESCRIPTIONS for file in path.glob(pattern)})
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            if stream.read(40).startswith(b"version https://git-lfs"):
                raise InputError(f"{file} is a Git LFS pointer; run `git lfs pull`")
        total.update(f"{file.relative_to(path).as_posix()} {store.sha256(file)}\n".encode())
    return total.hexdigest()

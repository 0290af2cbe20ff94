"""The components of a diffusers folder: which sub-folders it has, and the files that are read.

A pipeline's folder holds one folder for each component, named in `model_index.json`; a folder of
one component holds its files at the top. `hub` hashes the files that are listed here, and the
source `diffusers` reads the same files.
"""

from __future__ import annotations

import re
from pathlib import Path

from bench.core.errors import InputError

# Averages of a training by diffusers' scripts lie beside the network, as NETWORK_ema.
NETWORKS = ("unet", "transformer")
AVERAGES = tuple(f"{name}_ema" for name in NETWORKS)
DECODERS = ("vae", "vqvae")
SCHEDULER = "scheduler_config.json"
_TRAINING = re.compile(r"checkpoint-\d+")
_WEIGHTS = re.compile(
    r"diffusion_pytorch_model(?:\.(?P<before>[A-Za-z]\w*))?(?:-\d+-of-\d+)?"
    r"(?:\.(?P<after>[A-Za-z]\w*))?\.(?P<format>safetensors|bin)"
)
# What weights, and the states of optimizers, are stored in.
_STORED = (
    *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".onnx", ".h5"),
    *(".gguf", ".npz"),
)
# More names than these say no more.
_LISTED = 6


def network_places(folder: Path) -> dict[str, Path]:
    """Folders with the config of a network, by name; the folder itself has the name ""."""
    names = (*NETWORKS, *AVERAGES)
    places = {name: folder / name for name in names if (folder / name / "config.json").is_file()}
    if not places and (folder / "config.json").is_file():
        return {"": folder}
    return places


def beside(path: Path) -> Path | None:
    """The description of the scheduler that belongs to a file of weights, or to a folder.

    It lies in the same folder or its `scheduler`. Where the folder is one component, or a
    checkpoint of a training (`checkpoint-500`), it lies in the pipeline around it.
    """
    folder = path if path.is_dir() else path.parent
    places = [folder, folder / "scheduler"]
    while folder.name in (*NETWORKS, *AVERAGES) or _TRAINING.fullmatch(folder.name):
        folder = folder.parent
        places += [folder / "scheduler", folder]
    return next((place / SCHEDULER for place in places if (place / SCHEDULER).is_file()), None)


def variants(folder: Path) -> dict[tuple[str, str], list[Path]]:
    """Files of weights of one component by (variant, format); the variant of plain ones is ""."""
    files: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(folder.glob("diffusion_pytorch_model*")):
        if match := _WEIGHTS.fullmatch(path.name):
            variant = match["before"] or match["after"] or ""
            files.setdefault((variant, match["format"]), []).append(path)
    return files


def passed_over(folder: Path) -> str:
    """Files of weights in a diffusers folder that are of none of its components, in words: LoRA,
    whole models beside the parts, states of a training; "" for none.

    Other variants of a component's weights are told with the component.
    """
    known = ("", *NETWORKS, *AVERAGES, *DECODERS)
    names = []
    for path in sorted((*folder.glob("*"), *folder.glob("*/*"))):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in name.split("/"))
        is_known = _WEIGHTS.fullmatch(path.name) and name.rpartition("/")[0] in known
        if path.suffix.lower() in _STORED and not (hidden or is_known) and path.is_file():
            names.append(name)
    more = ", ..." if len(names) > _LISTED else ""
    return f"{len(names)} files: {', '.join(names[:_LISTED])}{more}" if names else ""


def choose(folder: Path, wanted: str | None) -> tuple[str, str]:
    """The (variant, format) of a component's weights that is loaded: the plain one where it is
    there, else the only one.

    Args:
        folder: the component's folder.
        wanted: the variant that the card asks for, None where it does not say.

    Raises:
        InputError: no weights, not the wanted ones, or several variants and none wanted.
    """
    files = variants(folder)
    if not files:
        others = passed_over(folder)
        but = f", but {others}, which are no network's" if others else ""
        raise InputError(f"{folder} holds no diffusion_pytorch_model weights of diffusers{but}")
    names = sorted({variant for variant, _ in files})
    told = ", ".join(name or "the plain one" for name in names)
    if wanted is not None and wanted not in names:
        raise InputError(f"{folder} holds no variant {wanted!r} of its weights, but {told}")
    if wanted is None and "" not in names and len(names) > 1:
        raise InputError(
            f"{folder} holds several variants of its weights, {told}: say which (variant: "
            f"{names[0]} in the card's config, or --set variant={names[0]})"
        )
    variant = wanted if wanted is not None else names[0]
    return variant, "safetensors" if (variant, "safetensors") in files else "bin"


def weights_of(folder: Path) -> list[Path]:
    """Files of weights of one component: safetensors, and pickles where those are missing or
    there are no plain ones; [] for none."""
    files = variants(folder)
    safe = [path for (_, kind), paths in files.items() if kind == "safetensors" for path in paths]
    pickled = [path for (_, kind), paths in files.items() if kind == "bin" for path in paths]
    return sorted(safe if ("", "safetensors") in files else [*safe, *pickled])

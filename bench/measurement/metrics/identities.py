"""What decides the numbers of metrics that come with packages of their own, for the keys.

`flip` is computed by its authors' package; of `lpips` and `dists` the packages have the weights on
top of a backbone, whose published file has its SHA-256 in `bench.measurement.metrics.backbones`.
Nothing here imports a package or torch.
"""

from __future__ import annotations

import functools
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from bench.core.errors import InputError
from bench.measurement.metrics import backbones
from bench.system import disk

EXTRA = "pip install 'diffusion-quant-bench[perceptual]'"
FLIP = "flip-evaluator"
# By metric: the distribution, the folder and the file of its weights, and the backbone.
WEIGHTS = {
    "lpips": ("lpips", "lpips", "weights/v0.1/alex.pth", "alexnet"),
    "lpips_vgg": ("lpips", "lpips", "weights/v0.1/vgg.pth", "vgg16"),
    "dists": ("DISTS-pytorch", "DISTS_pytorch", "weights.pt", "vgg16"),
}


def flip(metric: str = "flip") -> dict[str, str]:
    """What decides the numbers of `flip`: the package that computes it.

    Raises:
        InputError: it is missing.
    """
    return {"package": f"{FLIP} {_version(metric, FLIP)}"}


def weighted(metric: str) -> dict[str, str]:
    """What decides the numbers of `lpips` and `dists`: the package, and SHA-256 of its weights and
    of the backbone's.

    Raises:
        InputError: the package is missing, or has no such file.
    """
    distribution, _, _, backbone = WEIGHTS[metric]
    version = _version(metric, distribution)
    path = weights(metric)
    return {
        "package": f"{distribution} {version}",
        "weights": _digest(path, path.stat().st_mtime_ns)[:32],
        "backbone": f"{backbone} {backbones.FILES[backbone].digest[:32]}",
    }


def weights(metric: str) -> Path:
    """The file of the weights that a metric's package has.

    Raises:
        InputError: the package is missing, or has no such file.
    """
    distribution, folder, file, _ = WEIGHTS[metric]
    _version(metric, distribution)
    spec = find_spec(folder)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(place, file)).is_file():
            return path
    raise InputError(
        f"metric {metric}: {distribution} lacks {file}: pip install --force-reinstall "
        f"{distribution}"
    )


@functools.cache
def _digest(path: Path, changed: int) -> str:
    return disk.sha256(path)


def _version(metric: str, distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        raise InputError(f"metric {metric} needs {distribution}: {EXTRA}") from None

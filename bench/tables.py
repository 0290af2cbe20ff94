"""Every extension by name: "module:attribute", imported on first use.

Adding one costs a module, a line here and a test file. Other packages add theirs by entry points
in the group `bench.<table>`, for example `bench.samplers`.
"""

from __future__ import annotations

import difflib
from importlib import import_module, metadata
from typing import Any

from bench.errors import InputError

SOURCES = {"safetensors": "bench.sources.local:load"}
DATASETS = {"fashion-mnist": "bench.data.fashion_mnist:load"}
BACKENDS = {
    "float": "bench.quant.backends:FullPrecision",
    "simulated": "bench.quant.backends:Simulated",
}
SAMPLERS = {"ddim": "bench.sampling:ddim", "ddpm": "bench.sampling:ddpm"}
EXTRACTORS = {"efficientnet": "bench.features.efficientnet:EfficientNet"}
METRICS = {
    "frechet": "bench.metrics.frechet:Frechet",
    "frechet_twin": "bench.metrics.frechet:FrechetTwin",
    "kernel": "bench.metrics.kernel:Kernel",
    "psnr": "bench.metrics.paired:Psnr",
    "ssim": "bench.metrics.paired:Ssim",
}
ENGINES = {"local": "bench.engines.local:run"}

TABLES = {
    "sources": SOURCES,
    "datasets": DATASETS,
    "backends": BACKENDS,
    "samplers": SAMPLERS,
    "extractors": EXTRACTORS,
    "metrics": METRICS,
    "engines": ENGINES,
}


def names(table: str) -> list[str]:
    """The names in a table, those of other packages included."""
    points = metadata.entry_points(group=f"bench.{table}")
    return sorted({*TABLES[table], *(point.name for point in points)})


def lookup(table: str, name: str) -> Any:
    """Import what a name stands for.

    Raises:
        InputError: unknown name; the message offers near ones.
    """
    for point in metadata.entry_points(group=f"bench.{table}"):
        if point.name == name:
            return point.load()
    if name not in TABLES[table]:
        near = difflib.get_close_matches(name, names(table))
        offer = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names(table))}"
        raise InputError(f"unknown {table[:-1]} {name!r}: {offer}")
    module, attribute = TABLES[table][name].split(":")
    return getattr(import_module(module), attribute)

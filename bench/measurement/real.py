"""The real images that a cell's metrics need: their features, or their statistics alone.

The features of 50,000 real images fill a gigabyte, their mean and covariance do not: where no
metric asks for features, these are read once, reduced to statistics, and dropped.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TypeVar

from bench.core import distances, extensions
from bench.core.cell import Cell
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.images import RealSplit
from bench.core.protocols import Features, Statistics
from bench.measurement.features import moments, reference, statistics_files

Answer = TypeVar("Answer")


def of(
    real: RealSplit, metrics: Sequence[str], extractor: str
) -> tuple[Features | None, Statistics | None]:
    """Features and statistics of real images, None where no metric asks for them."""
    needed = reference.needs(metrics, extractor)
    dataset, split = real.dataset, real.split
    features = reference.load(dataset, extractor, split) if "features" in needed else None
    return features, _statistics(dataset, extractor, split) if needed else None


@functools.cache
def _statistics(dataset: str, extractor: str, split: str) -> Statistics:
    path = reference.find(dataset, extractor, split)
    if path.suffix == ".npz":
        return statistics_files.read(path, extractor)
    version = extensions.lookup("extractors", extractor).version
    # Bypass the cache of `read`: it would keep gigabytes alive.
    values = reference.unkept(path, version).values
    return Statistics(*moments.statistics(values), len(values))


def by_extractor(cell: Cell, ask: Callable[[str, str, str], Answer]) -> dict[str, Answer]:
    """What is known of the real images that the metrics of a cell compare with, by extractor.

    Args:
        cell: names the data set, the split and the extractors.
        ask: (data set, extractor, split) -> `count`, `reference.digest` or another answer.
    """
    return {
        extractor: ask(cell.checkpoint.dataset, extractor, cell.real)
        for extractor in cell.extractors
        if reference.needs(cell.metrics, extractor)
    }


def count(dataset: str, extractor: str, split: str) -> int:
    """Number of real images behind a reference file, 0 where the file does not say."""
    path = reference.find(dataset, extractor, split)
    if path.suffix == ".npz":
        return statistics_files.count(path)
    return reference.count(dataset, extractor, split)


def check(cell: Cell) -> None:
    """Make sure that the real features or statistics of a cell's metrics exist, without reading.

    Raises:
        InputError: no reference features, statistics alone where a metric needs features, or
            fewer real images than a metric is defined for.
    """
    for extractor, number in by_extractor(cell, count).items():
        for name in cell.metrics:
            metric = extensions.lookup("metrics", name)
            takes = metric.needs and distances.kind(extractor) in metric.kinds
            if takes and 0 < number < metric.least:
                raise InputError(
                    f"{cell.checkpoint.dataset} has {number} real images of the split "
                    f"{cell.real}, metric {name} needs at least {metric.least}: "
                    f"add images, or leave it out by --metrics"
                )
    for extractor in cell.extractors:
        needed = reference.needs(cell.metrics, extractor)
        if not needed:
            continue
        path = reference.find(cell.checkpoint.dataset, extractor, cell.real)
        if path.suffix == ".npz" and "features" in needed:
            asking = [
                m for m in cell.metrics if extensions.lookup("metrics", m).needs == "features"
            ]
            raise InputError(
                f"{path} holds statistics, but {', '.join(asking)} need the features of real "
                f"images: leave them out by --metrics, or make the features with `bench reference`"
            )


def image_shape(denoiser: Denoiser) -> tuple[int, ...]:
    """(C, H, W) of the images of a denoiser, through its decoder where it has one."""
    if denoiser.loop is not None:
        return denoiser.loop.image_shape
    if denoiser.decode is None:
        return tuple(denoiser.shape)
    import torch

    latents = torch.zeros(1, *denoiser.shape, device=denoiser.device)
    with torch.inference_mode():
        return tuple(denoiser.decode(latents).shape[1:])


def check_images(cell: Cell, denoiser: Denoiser) -> None:
    """Check that the images of a network have the shape of the real ones.

    Raises:
        InputError: they are of another shape.
    """
    dataset = cell.checkpoint.dataset
    for name in cell.extractors:
        shape = reference.shape(dataset, name, cell.real)
        if shape and (made := image_shape(denoiser)) != shape:
            raise InputError(
                f"card {cell.checkpoint.name!r} makes images of shape {list(made)}, those of "
                f"{dataset} have {list(shape)}: name another data set"
            )

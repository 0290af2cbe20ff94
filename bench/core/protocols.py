"""The contracts of the stages. No stage imports another; the pipeline hands values along.

Shapes: B images of C channels and H x W pixels. Image tensors handed between stages are uint8
(0..255); network inputs x_t are float32, with x_0 in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.core.denoiser import Denoiser

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from bench.core.cell import Cell, Checkpoint, Draw
    from bench.core.probe_record import Row
    from bench.core.record import Coverage, Host, Measurement, Record
    from bench.core.scheme import Scheme
    from bench.core.shards import Shards


@dataclass(frozen=True)
class Features:
    """Features of images: `values` (N, D), an array or shards; `seeds` are the indices, (N,)."""

    extractor: str
    version: int
    values: np.ndarray | Shards
    seeds: np.ndarray


@dataclass(frozen=True)
class Statistics:
    """Mean mu (D,) and unbiased covariance sigma (D, D) of features, float64, of `count` images;
    0 where that is not known."""

    mu: np.ndarray
    sigma: np.ndarray
    count: int


@dataclass(frozen=True)
class Evidence:
    """All that a metric may look at. Images and features may be `bench.core.shards.Shards`:
    take rows by slices, which bounds the memory.

    Attributes:
        images, twin_images: uint8 (N, C, H, W) of this cell and of its full-precision reference,
            paired by index.
        simulated_images: of the same scheme in simulation, where a metric asks for them.
        features, twin_features: of those images.
        real_features: of real images of the data set, None where there are only statistics.
        real_statistics: of those features, None where the kind of extractor has none.
    """

    images: np.ndarray | Shards
    twin_images: np.ndarray | Shards
    features: Features
    twin_features: Features
    real_features: Features | None = None
    real_statistics: Statistics | None = None
    simulated_images: np.ndarray | Shards | None = None


class Source(Protocol):
    """Loads a checkpoint; InputError where the file is missing, corrupt or of other shape."""

    def __call__(self, checkpoint: Checkpoint) -> Denoiser: ...


class Dataset(Protocol):
    """Loads real images of a split ("train", "test"), uint8 (N, C, H, W), in a fixed order."""

    def __call__(self, split: str) -> Tensor: ...


class Calibration(Protocol):
    """Evaluates a network along the sampling trajectories that it gives itself, over all
    timesteps: `model(x_t, t)`, with x_t always of `shape` (B, C, H, W).

    Attributes:
        shape: of x_t.
        place: folder for what the calibration leads to, None to keep nothing.
        digest: SHA-256 of all inputs so far; set by who takes an earlier result from `place`.
    """

    shape: tuple[int, ...]
    place: Path | None
    digest: str

    def __call__(self, model: Callable[[Tensor, Tensor], Tensor]) -> None: ...


class Backend(Protocol):
    """Executes a scheme. `kernel` says what runs: none, simulated, int8, nf4 ..."""

    kernel: str

    def refuses(self, scheme: Scheme, host: Host) -> str | None:
        """The reason why this scheme cannot run here, or None. Does not import torch."""

    def __call__(
        self, denoiser: Denoiser, scheme: Scheme, calibrate: Calibration
    ) -> tuple[Denoiser, Coverage]:
        """Quantize. `calibrate` runs an observed copy of the network in full precision; the
        result takes inputs of its shape only."""


class Sampler(Protocol):
    """Samples one image for each generator; `watch(x_t, t)` sees each network input."""

    def __call__(
        self,
        denoiser: Denoiser,
        generators: Sequence[torch.Generator],
        draw: Draw,
        watch: Callable[[Tensor, Tensor], None] | None = None,
    ) -> Tensor: ...


class Extractor(Protocol):
    """Image features: uint8 (B, C, H, W) -> float32 (B, dim). `version` rises with arithmetic."""

    version: int
    dim: int

    def __call__(self, images: Tensor) -> Tensor: ...


class Metric(Protocol):
    """A number from the evidence. `least` is the smallest N it is defined for, `kinds` the kinds
    of extractor it takes (`bench.core.distances`), none for a metric of images alone. `needs` is
    what it takes of real images: "features", "statistics" or "". It raises `NotMeasured` where it
    is not defined for images of such a size, and its constructor raises InputError where weights
    are missing: one is made before anything is sampled.

    `paired` metrics compare images with their full-precision twins and are left out for the
    reference itself. The others are measured of both, and the pipeline makes the change against
    the reference, with its interval, from the influences; a metric with a `change_ends` gives the
    interval of its change itself. A metric with a true `simulated` needs the images of the
    simulation.
    """

    better: str
    version: int
    least: int
    paired: bool
    kinds: tuple[str, ...]
    needs: str

    def __call__(self, evidence: Evidence) -> Measurement: ...

    def measure(self, evidence: Evidence) -> tuple[Measurement, np.ndarray]:
        """Measure; also the influence of each image on the value, (N,), of mean 0, and NaN where
        it is not known."""


@dataclass(frozen=True)
class Constants:
    """What quantization does to one layer.

    Attributes:
        name: path of its module.
        error: rounded weights minus weights; None where they stay.
        ranges: (scale, zero point, low, high) of its input at each of its executions in a forward
            pass; None where it stays in float.
        macs: multiply-accumulates for one image, of all its executions.
    """

    name: str
    error: Tensor | None
    ranges: tuple[tuple[float, int, int, int] | None, ...]
    macs: int


class Probe(Protocol):
    """An explanation of one checkpoint, in parts that are kept one by one.

    `setting` and `subject` are those of `bench.measurement.probes.context`.
    """

    version: int

    def parts(self, setting: Any, schemes: Sequence[str]) -> Sequence[str]:
        """Names of the parts; one that starts with "SCHEME:" is about that scheme."""

    def __call__(self, subject: Any, part: str, earlier: Mapping[str, list[Row]]) -> list[Row]:
        """The rows of a part; `earlier` are those of the parts before it."""


class Engine(Protocol):
    """Runs work over cells, in any order that keeps references first."""

    def __call__(
        self, work: Callable[[Cell], Record], cells: Sequence[Cell]
    ) -> Iterator[Record]: ...

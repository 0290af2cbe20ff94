"""The contracts of the stages. No stage imports another; the pipeline hands values along.

Shapes: B images of C channels and H x W pixels. Image tensors handed between stages are uint8
(0..255); network inputs x_t are float32, with x_0 in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.core.denoiser import Denoised, Denoiser

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from torch.fx import GraphModule

    from bench.core.cell import Checkpoint
    from bench.core.noise_levels import Level
    from bench.core.probe_record import ProbeValue
    from bench.core.progress import Done, Progress
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
            paired by index. Of images from elsewhere the sizes may be mixed: H and W are None
            then, those of a size follow each other, and a slice must stay within one size
            (`bench.core.shards.same_sizes` says which rows these are).
        simulated_images: images of the same scheme in simulation, where a metric asks for them.
        features, twin_features: features of `images` and of `twin_images`.
        real_features: of real images of the data set, None where there are only statistics.
        real_statistics: of the real features, None where the kind of extractor has none.
        prompts: the text that each image and its twin were made from, where that is known.
        pairwise: by `id` of a metric what its `together` knows of each pair already.
    """

    images: np.ndarray | Shards
    twin_images: np.ndarray | Shards
    features: Features
    twin_features: Features
    real_features: Features | None = None
    real_statistics: Statistics | None = None
    simulated_images: np.ndarray | Shards | None = None
    prompts: Sequence[str] | None = None
    pairwise: Mapping[int, Any] = field(default_factory=dict)


class Source(Protocol):
    """Loads a checkpoint; InputError where the file is missing, corrupt or of other shape."""

    def __call__(self, checkpoint: Checkpoint) -> Denoiser: ...


class Dataset(Protocol):
    """Loads real images of a split ("train", "test"), uint8 (N, C, H, W), in a fixed order."""

    def __call__(self, split: str) -> Tensor: ...


class Calibration(Protocol):
    """Evaluates a network along the sampling trajectories that it gives itself, over all noise
    levels: `model(*inputs)`, the inputs being those of `Denoiser.inputs` for x of one `shape`.

    Attributes:
        shape: (B, C, H, W) of x.
        kept: a few of the inputs, from the start, the middle and near the end of trajectories.
        place, plain: folders for what the calibration leads to with the methods of the scheme, and
            without them; None to keep nothing.
    """

    shape: tuple[int, ...]
    place: Path | None
    plain: Path | None
    kept: list[tuple[Tensor, ...]]

    def __call__(self, model: Callable[..., Tensor]) -> str:
        """Evaluate; the SHA-256 of all inputs that the network was given."""


@dataclass(frozen=True)
class Quantized:
    """What a backend makes of a network.

    Attributes:
        denoiser: the network as it is executed; it takes inputs of the calibration's shape only.
        coverage: which share of it is quantized, and what executes.
        calibration: SHA-256 of the network inputs that its ranges come from, also where they were
            found by an earlier run; "" where nothing was calibrated.
    """

    denoiser: Denoiser
    coverage: Coverage
    calibration: str = ""


class Method(Protocol):
    """Changes a quantized graph after the calibration, once for all backends that execute it.

    `w4a8+NAME` makes one; `w4a8+NAME=VALUE` hands over `argument="VALUE"`, which a class with
    options checks when made, with InputError. `version` rises with arithmetic, not its rounding.
    A function `prepare`, of the arguments and the result of `__call__`, is called before the
    calibration with the graph in full precision, which shares the network's parameters: others are
    put in their place. It is called again when a kept graph is built, so what takes long belongs
    under `calibration.place`. A method that has it needs no `__call__`. A function `check` of the
    network may refuse it by InputError.
    """

    version: int

    def refuses(self, scheme: Scheme) -> str | None:
        """The reason why it has nothing to do under this scheme, or None."""

    def __call__(
        self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration
    ) -> GraphModule:
        """Change a graph that `bench.quant.graph` describes, or make another one; return it.

        Equal arguments must give equal bits: what is random is seeded (`bench.system.random`). The
        weights of `denoiser` must stay as they are. Each call of `calibration(model)` samples the
        trajectories once more. Layers keep their bits, and their weights integers within them."""


class Backend(Protocol):
    """Executes a scheme. `kernel` says what runs: none, simulated, int8, nf4 ...

    One that executes the graph of `bench.quant.stored.quantized` runs the methods of a scheme with
    it, and says so by a true `takes_methods`; any other is never given a scheme with methods.
    """

    kernel: str
    takes_methods: bool

    def refuses(self, scheme: Scheme, host: Host) -> str | None:
        """The reason why this scheme cannot run here, or None. Does not import torch."""

    def __call__(self, denoiser: Denoiser, scheme: Scheme, calibrate: Calibration) -> Quantized:
        """Quantize. `calibrate` runs an observed copy of the network in full precision."""


class Denoise(Protocol):
    """The network as a sampler sees it: it knows labels and bounds. One call, one evaluation."""

    def __call__(self, x: Tensor, level: Level, /) -> Denoised: ...


class Noise(Protocol):
    """Fresh standard normal noise for each image, (B, C, H, W). That of image i depends on the
    seed, i and how often it was called alone, so quantized and full-precision images share it."""

    def __call__(self) -> Tensor: ...


class Sampler(Protocol):
    """Leads a batch from noise to x_0 along noise levels; runs in inference mode.

    It knows no labels, bounds, decoders or pixels. Each number of steps must be right for all
    levels x = signal x_0 + noise eps, whatever their convention. A sampler with a parameter `eta`
    is given that of the draw. One that walks through levels of its own has a method
    `choose(levels, steps)` that gives them: `levels` are the `NoiseLevels` of the network, and the
    draw's spacing is not used.
    """

    def __call__(
        self, denoise: Denoise, x_T: Tensor, levels: Sequence[Level], noise: Noise
    ) -> Tensor:
        """Sample.

        Args:
            denoise: x and its level -> x_0, the noise, and the share of a random step's variance.
            x_T: noise at the first level, float32 (B, C, H, W).
            levels: from the most noise to the least, then `CLEAN`.
            noise: for the random steps.

        Returns:
            x_0 of each image, (B, C, H, W).
        """


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
    simulation, one with a true `prompted` the prompts, of which its `remark(prompts)` says in a
    line what the user must know, or "". Metrics that share a function `together(metrics,
    evidence)` read images once for all of them: it is called before any of them is measured
    (`bench.measurement.metrics.paired.pairwise`).
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
    """The constants by which one layer is quantized.

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
    """An explanation of one checkpoint, in parts that are kept one by one. `setting` and `context`
    are those of `bench.measurement.probes.context`."""

    version: int

    def parts(self, setting: Any, schemes: Sequence[str]) -> Sequence[str]:
        """Names of the parts; one that starts with "SCHEME:" is about that scheme."""

    def __call__(
        self, context: Any, part: str, earlier: Mapping[str, list[ProbeValue]]
    ) -> list[ProbeValue]:
        """The rows of a part; `earlier` are those of the parts before it."""


class Work(Protocol):
    """What an engine runs: resolved cells, parts or tasks go in, as they are come to, and what is
    told of them comes out. It can be pickled (`bench.evaluation.worker.Worker`)."""

    def __call__(self, cells: Iterable[Any], /) -> Iterator[Progress | Done | Record]: ...


class Engine(Protocol):
    """Runs a worker over cells (`evaluation.resolved.ResolvedCell`), parts of them (`.parts.Part`)
    or tasks (`.engines.queue.Task`), wherever that is, and yields what it tells: progress, and
    once the record of each cell, or that a part or task is done. Given none, it looks at its
    argument. Records may come in any order; references are best run first. An engine decides no
    number, so it is part of no key; a run states its name and `identity()`.
    """

    def __call__(
        self, worker: Work, cells: Sequence[Any]
    ) -> Iterator[Progress | Done | Record]: ...

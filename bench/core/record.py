"""Results as values: measurements, coverage, host, records and runs, with JSON both ways.

`run.json` is a `Run`, docs/run.schema.json its JSON schema (`python -m bench.core.record` prints
it). The schema number rises with each change that older readers cannot follow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.core import border, sound
from bench.core.cell import Cell
from bench.core.elsewhere import Elsewhere
from bench.core.errors import InputError
from bench.core.migrations import migrate
from bench.core.printable import short
from bench.core.rounds import Decided, Rounds

SCHEMA = 4
# JSON strings hold no raw line end, so joining lines changes the layout alone.
_INNERMOST = re.compile(r"[\[{]\n[^\[\]{}]*[\]}]")


@dataclass(frozen=True)
class Measurement:
    """A number and what it means.

    Attributes:
        name: with the sample size where it matters, for example `fd_efficientnet@500`.
        value: NaN where undefined.
        low, high: ends of the 95% interval, None where there is no interval yet.
        n: number of images that it was computed from.
        unit: "" for none.
        better: "lower" or "higher".
        version: rises when the arithmetic changes; different versions do not compare.
        paired: whether it compares images with their full-precision twins.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    n: int
    unit: str
    better: str
    version: int
    paired: bool = False


@dataclass(frozen=True)
class LayerCoverage:
    """One execution of a layer.

    Attributes:
        name: path of its module.
        macs: multiply-accumulates for one image.
        weights: count, 0 for a product of two activations.
        bits: its precision, for example "w4a8", or "fp32".
        kernel: the operator that was called, for example "onednn.qconv2d_pointwise".
        reason: why it is in float, "" where it is not or nothing is to be quantized.
    """

    name: str
    macs: int
    weights: int
    bits: str
    kernel: str
    reason: str = ""


@dataclass(frozen=True)
class Agreement:
    """How well kernels agree with the simulation of the same quantized network.

    Attributes:
        sqnr: signal to quantization noise of one evaluation, dB; 200 where equal.
        codes: share of the layers' input codes that differ, 0..1.
        worst_layer, worst_sqnr: the layer that agrees least on equal input, and its dB.
    """

    sqnr: float
    codes: float
    worst_layer: str
    worst_sqnr: float


@dataclass(frozen=True)
class Coverage:
    """Which share of the network is quantized, and which kernels executed it.

    Attributes:
        macs: multiply-accumulates of one forward pass of one image.
        macs_quantized: multiply-accumulates in layers whose weights are quantized.
        macs_by_bits: multiply-accumulates by layer precision, as {"w4a8": ..., "w8a8": ...}.
        params, params_quantized: counts of weights, all and quantized.
        bytes: theoretical size of the weights at their bit widths, scales included.
        kernel: "none" (float), "simulated", "int8", "nf4", ...
        skipped: (module, reason) for each convolution or linear layer left in float.
        macs_by_kernel: multiply-accumulates by the operator that was called.
        bytes_stored, bytes_memory: measured size of the quantized network at rest, 4-bit weights
            two in a byte, and of its weights as the kernels keep them.
        layers, agreement: all layers in order of execution; of kernels with the simulation.
        told: what methods say of their work, by their names.
    """

    macs: int
    macs_quantized: int
    params: int
    params_quantized: int
    bytes: int
    kernel: str
    macs_by_bits: Mapping[str, int] = field(default_factory=dict)
    skipped: tuple[tuple[str, str], ...] = ()
    macs_by_kernel: Mapping[str, int] = field(default_factory=dict)
    bytes_stored: int = 0
    bytes_memory: int = 0
    layers: tuple[LayerCoverage, ...] = ()
    agreement: Agreement | None = None
    told: Mapping[str, str] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Share of the multiply-accumulates that is quantized, 0..1."""
        return self.macs_quantized / self.macs if self.macs else 0.0


@dataclass(frozen=True)
class Host:
    """The machine that made a result.

    Attributes:
        device: device that evaluated the networks: "cpu", "cuda", "cuda:1", "mps".
        isa: its kind, which decides the arithmetic: "avx2", "NVIDIA H100 80GB HBM3 sm_90".
        threads: number of CPU threads.
    """

    name: str
    device: str
    isa: str
    threads: int
    versions: Mapping[str, str]

    @property
    def arithmetic(self) -> dict[str, str]:
        """For content keys: what changes the bits of a result besides the library versions."""
        return {"device": self.device, "isa": self.isa, "threads": str(self.threads)}


@dataclass(frozen=True)
class Record:
    """The outcome of one cell. `status` is ok, refused (by the backend) or failed.

    Attributes:
        seconds: wall time by stage (load, quantize, sample, features, metrics).
        calibration: SHA-256 of the calibration batches, "" where there are none.
        error: reason of a refusal or failure, or of what was not measured, one line.
        real: SHA-256 of the real images' features by extractor; empty in runs of schema 1.
        rounds: how a quantized cell was sampled to a wanted precision, else None.
        real_images: number of real images by extractor; empty in older runs.
        decided: how a quantized cell was sampled until it was known whether it is worse, else
            None.
        equal: number of images that equal their twins bit for bit; None where that was not
            counted, as for the reference itself and in older runs.
        elsewhere: which images these are, where bench did not make them.
    """

    cell: Cell
    host: Host
    status: str
    coverage: Coverage | None
    measurements: tuple[Measurement, ...]
    seconds: Mapping[str, float]
    calibration: str = ""
    error: str = ""
    real: Mapping[str, str] = field(default_factory=dict)
    rounds: Rounds | None = None
    real_images: Mapping[str, int] = field(default_factory=dict)
    decided: Decided | None = None
    equal: int | None = None
    elsewhere: Elsewhere | None = None

    def measurement(self, prefix: str) -> Measurement | None:
        """The first measurement whose name before "@" is `prefix`."""
        return next((m for m in self.measurements if m.name.split("@")[0] == prefix), None)


@dataclass(frozen=True)
class Fit:
    """The description that was taken of a checkpoint, and whether it fits the weights.

    Attributes:
        checkpoint: its name.
        description: in words, by topic: schedule, prediction, bounds of x_0.
        verdict: "fits", "another fits better", "worse than no network" or "not checked".
        loss, trivial: mean square error of x_0 of the network and of the best multiple of x_t, as
            geometric means over noise levels (`bench.models.plausibility`); None unless checked.
        images: real images that it was checked on.
        better: descriptions that fit clearly better, each with its loss over the trivial one.
        reason: why it was not checked, "" where it was.
        remedy: where the description is put right, if another one fits clearly better.
    """

    checkpoint: str
    description: Mapping[str, str]
    verdict: str
    loss: float | None = None
    trivial: float | None = None
    images: int = 0
    better: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    remedy: str = ""

    @property
    def ratio(self) -> float | None:
        """Loss over the trivial one; 1 is as good as no network."""
        return self.loss / self.trivial if self.loss is not None and self.trivial else None


@dataclass(frozen=True)
class Run:
    """A versioned report: everything that `bench report` renders.

    Attributes:
        fits: whether descriptions fit the weights; empty in runs made before there was the check.
        engine: what ran the cells: its name, and what it says of itself, which decide no number;
            and "kernels", why integer kernels were chosen. Empty in older runs.
    """

    id: str
    created: str
    commit: str
    dirty: bool
    command: str
    records: tuple[Record, ...]
    schema: int = SCHEMA
    fits: tuple[Fit, ...] = ()
    engine: Mapping[str, str] = field(default_factory=dict)

    @property
    def judged(self) -> tuple[Record, ...]:
        """The records but those of the noise floor, which others are held against."""
        return tuple(record for record in self.records if not record.cell.is_floor)


def to_json(value: Any) -> str:
    """A record or run as indented JSON, with the innermost lists and objects on one line."""
    text = json.dumps(asdict(value), indent=1) + "\n"
    return _INNERMOST.sub(lambda match: re.sub(r"\n\s*", " ", match[0]), text)


def run_from_json(text: str) -> Run:
    """Read a run, also one of an older schema.

    Raises:
        InputError: no JSON, no run, one that cannot have happened, or a newer schema.
    """
    try:
        data = border.parse(text)
        schema = data["schema"]
        if type(schema) is not int:
            raise ValueError(f"schema {short(repr(schema))}")
        if schema > SCHEMA:
            raise InputError(f"run has schema {schema}, this bench reads up to {SCHEMA}: upgrade")
        run = border.build(Run, migrate(data, SCHEMA))
        sound.run(run)
        return run
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"not a run.json of bench ({short(str(error), 240)})") from None


def record_from_json(text: str) -> Record:
    """Read one record, as cached; ValueError where it is none."""
    record = border.build(Record, border.parse(text))
    sound.record(record)
    return record


def fit_from_json(text: str) -> Fit:
    """Read the fit of a checkpoint, as cached; ValueError where it is none."""
    return border.build(Fit, border.parse(text))


def coverage_from_json(text: str) -> Coverage:
    """Read a coverage, as cached; ValueError where it is none."""
    coverage = border.build(Coverage, border.parse(text))
    sound.coverage(coverage)
    return coverage


def schema() -> str:
    """The JSON schema of run.json, kept in docs/run.schema.json."""
    return json.dumps(border.schema(Run), indent=1) + "\n"


if __name__ == "__main__":
    print(schema(), end="")

"""What is asked for: checkpoints, schemes, draws and cells, all frozen values without torch.

A `Cell` is one point of the benchmark: a checkpoint under a quantization scheme, executed by a
backend, sampled by a draw, scored by extractors and metrics. Its `key()` names its content
(weights, scheme, draw, versions), never a path, so equal keys mean equal results.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from bench import scheme_words
from bench.errors import InputError
from bench.printable import quoted

FLOAT_BITS = (16, 32)
# Characters of a scheme that figures and tables have room for.
LABEL = 40
_SCHEME = re.compile(r"w([0-9]{1,2})a([0-9]{1,2})")


@dataclass(frozen=True)
class Checkpoint:
    """A card of checkpoints.yaml: one set of weights and how it was trained.

    Attributes:
        name: unique name.
        family: checkpoints that differ only in `method` share a family and are compared.
        method: baseline, ema, swa, sam, ip, or a combination such as sam+ema.
        seed: of the training; cards of one family and method that differ in it are repetitions.
        source: name of the loader in `tables.SOURCES`.
        uri: where the weights are: a path relative to the card file, `zoo:NAME`, or
            `hf:OWNER/NAME` of the hub.
        sha256: hex digest of the weights file or of a folder's files.
        revision: commit of a hub repository.
        dataset: name of the data set it was trained on and is scored against.
        config: what the source needs to build the network.
        reported: published figures, kept beside the measured ones and never mixed.
        assumed: what the description says and neither the files nor the user did, in words.
        force: whether it is measured although it denoises worse than no network
            (`bench.plausibility`).
    """

    name: str
    family: str
    method: str
    source: str
    uri: str
    sha256: str
    dataset: str
    config: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    revision: str = ""
    license: str = ""
    reported: Mapping[str, float] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    force: bool = False

    def content(self) -> dict[str, Any]:
        """The fields that decide the arithmetic, for content keys."""
        return {"sha256": self.sha256, "source": self.source, "config": dict(self.config)}


@dataclass(frozen=True)
class Scheme:
    """Bit widths and how ranges are found. Weights: symmetric, per output channel; activations:
    affine, per tensor, static ranges from calibration.

    Attributes:
        weight_bits: 2..8, or 16/32 for untouched weights.
        act_bits: 2..8, or 16/32 for untouched activations.
        edge_bits: least bits of weights and activations of the first and the last convolution, as
            the literature keeps them at 8; 0 treats them like all others, 32 leaves them in float.
        observer: "histogram" (ranges of least squared error) or "minmax".
        calibration: sampling trajectories used for calibration, rounded up to whole batches.
        skip: globs of module names left in float.
    """

    weight_bits: int = 32
    act_bits: int = 32
    edge_bits: int = 8
    observer: str = "histogram"
    calibration: int = 50
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for bits, what in ((self.weight_bits, "weight"), (self.act_bits, "activation")):
            if bits not in FLOAT_BITS and not 2 <= bits <= 8:
                raise InputError(f"{what} bits must be 2..8, or 16 or 32 for float, not {bits}")
        if self.observer not in ("histogram", "minmax"):
            raise InputError(f"observer must be histogram or minmax, not {quoted(self.observer)}")
        if self.edge_bits not in (0, 8, 32):
            raise InputError(f"edge bits must be 0, 8, or 32 for float, not {self.edge_bits}")
        scheme_words.check_globs(self.skip)

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized."""
        return self.weight_bits in FLOAT_BITS and self.act_bits in FLOAT_BITS

    @classmethod
    def parse(cls, text: str) -> Scheme:
        """Read "fp32", "w8a8", "w4a8", "w4a8+all", "w4a8+minmax", "w4a8+skip=GLOB".

        "skip-io" leaves the first and the last convolution in float, "skip-io-time" also the
        layers of the time embedding.

        Raises:
            InputError: unknown words, bits out of range, or an option that does nothing here.
        """
        shown = quoted(text)
        if len(text) > (most := scheme_words.LONGEST):
            raise InputError(f"a scheme of {len(text)} characters, {shown}: at most {most}")
        head, *words = text.strip().split("+")
        if head.lower() == "fp32" and not words:
            return cls()
        match = _SCHEME.fullmatch(head.lower())
        if not match:
            raise InputError(f"unknown scheme {shown}: write for example w8a8, w4a8 or w4a8+all")
        scheme = cls(int(match[1]), int(match[2]))
        if scheme.is_float:
            raise InputError(f"scheme {shown} quantizes nothing: full precision is fp32")
        try:
            for word in words:
                scheme = replace(scheme, **scheme_words.option(scheme, word))
        except ValueError as error:
            raise InputError(f"option {error} in scheme {shown}") from None
        return scheme

    def __str__(self) -> str:
        if self.is_float:
            return "fp32"
        words = [f"w{self.weight_bits}a{self.act_bits}"]
        words += ["all"] * (self.edge_bits == 0) + ["skip-io"] * (self.edge_bits in FLOAT_BITS)
        words += ["minmax"] * (self.observer == "minmax")
        return "+".join([*words, *(f"skip={glob}" for glob in self.skip)])

    @property
    def label(self) -> str:
        """The name where there is little room: of a long skip list its length, "w4a8+4 skipped".

        Lists of equal length share it, as those that a probe suggests to each checkpoint do.
        """
        text = str(self)
        if len(text) <= LABEL:
            return text
        return f"{replace(self, skip=())}+{len(self.skip)} skipped"

    def layer_bits(self, edge: bool) -> tuple[int, int]:
        """Bits (weight, activation) of a layer; `edge` marks the first and last convolution."""
        least = self.edge_bits if edge else 0
        return max(self.weight_bits, least), max(self.act_bits, least)

    def explain(self) -> str:
        """The scheme in words, as echoed and recorded."""
        if self.is_float:
            return "full precision (float32)"
        rest = f"{_bits(self.weight_bits)} weights, {_bits(self.act_bits)} activations"
        edge_weight, edge_act = self.layer_bits(edge=True)
        if (edge_weight, edge_act) == (self.weight_bits, self.act_bits):
            edges = "every convolution and linear layer"
        elif edge_weight in FLOAT_BITS and edge_act in FLOAT_BITS:
            edges = "first and last convolution in float"
        else:
            edges = f"first and last convolution at W{edge_weight}A{edge_act}"
        skipped = f"; in float: {', '.join(self.skip)}" if self.skip else ""
        return (
            f"{rest}, {edges}{skipped}; weights symmetric per channel, activations affine per "
            f"tensor, static {self.observer} ranges from at least {self.calibration} trajectories"
        )


def _bits(bits: int) -> str:
    return "float" if bits in FLOAT_BITS else f"{bits}-bit"


@dataclass(frozen=True)
class Draw:
    """How images are sampled. Image i depends on (seed, i) alone, not on `batch` or `images`; in
    quantized cells `batch` also decides how many trajectories the ranges come from.

    Attributes:
        sampler: name in `tables.SAMPLERS`.
        steps: network evaluations per image.
        images: number N of images, indices 0..N-1.
        seed: stream of random numbers.
        eta: stochasticity of DDIM, 0..1.
        spacing: diffusers' `timestep_spacing`.
        batch: images per forward pass; the last batch is padded.
    """

    sampler: str = "ddim"
    steps: int = 20
    images: int = 500
    seed: int = 0
    eta: float = 0.0
    spacing: str = "trailing"
    dtype: str = "float32"
    batch: int = 50

    def __post_init__(self) -> None:
        for name in ("steps", "images", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.steps > 1000:
            raise InputError(f"steps must be at most 1000, not {self.steps}")
        if not 0 <= self.seed < 2**62:
            raise InputError(f"seed must be at least 0 and below 2^62, not {self.seed}")


def of_any_size(draw: Draw) -> Draw:
    """What draws that differ in N alone have in common."""
    return replace(draw, images=1)


@dataclass(frozen=True)
class Cell:
    """One point of the benchmark. `real` is the split of the data set whose images are real."""

    checkpoint: Checkpoint
    scheme: Scheme
    backend: str
    draw: Draw
    extractors: tuple[str, ...] = ("efficientnet",)
    metrics: tuple[str, ...] = ("frechet", "kernel", "psnr", "ssim", "frechet_twin")
    probes: tuple[str, ...] = ()
    real: str = "test"

    @property
    def reference(self) -> Cell:
        """The same checkpoint in full precision, drawn with the same numbers."""
        return replace(self, scheme=Scheme(), backend="float")

    def key(self, versions: Mapping[str, str]) -> str:
        """Content key; `versions` are those that change arithmetic (libraries, code, ISA)."""
        return content_key(
            checkpoint=self.checkpoint.content(),
            dataset=self.checkpoint.dataset,
            scheme=asdict(self.scheme),
            backend=self.backend,
            draw=asdict(self.draw),
            extractors=self.extractors,
            metrics=self.metrics,
            probes=self.probes,
            real=self.real,
            versions=dict(versions),
        )

    def __str__(self) -> str:
        return f"{self.checkpoint.name} {self.scheme} {self.backend}"


def content_key(**parts: Any) -> str:
    """SHA-256 (hex, 32 characters) of the parts as canonical JSON."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def expand(
    checkpoints: Iterable[Checkpoint],
    schemes: Iterable[Scheme],
    backends: Iterable[str],
    draw: Draw,
) -> list[Cell]:
    """All cells of a run: for each checkpoint its full-precision reference, then each scheme.

    Kernels that run beside the simulation are also compared with its images.
    """
    schemes, backends = list(schemes), list(backends)
    cells = []
    for checkpoint in checkpoints:
        cells.append(Cell(checkpoint, Scheme(), "float", draw))
        for scheme in schemes:
            if not scheme.is_float:
                for backend in backends:
                    cell = Cell(checkpoint, scheme, backend, draw)
                    if backend != "simulated" and "simulated" in backends:
                        cell = replace(cell, metrics=(*cell.metrics, "psnr_simulated"))
                    cells.append(cell)
    return cells

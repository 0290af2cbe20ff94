"""What is asked for: checkpoints, schemes, draws and cells, all frozen values without torch.

A `Cell` is one point of the benchmark: a checkpoint under a quantization scheme, executed by a
backend, sampled by a draw, scored by extractors and metrics. Its `key()` names its content
(weights, scheme, draw, versions), never a path, so equal keys mean equal results.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.core.elsewhere import FLOOR
from bench.core.errors import InputError
from bench.core.scheme import Scheme

# The source of prompted pipelines; the sampler and the spacing of their draws, which says that the
# pipeline's own scheduler samples.
PIPELINE = "pipeline"


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
            (`bench.models.plausibility`).
        network: of source python the function that builds it, FILE.py:FUNCTION with an absolute
            path, or MODULE:FUNCTION; "" for the others.
        code: SHA-256 (hex) of that code, by the name of the file or package.
        prompts: of source pipeline the file of its prompts, an absolute path; "" for the ones
            that come with bench.
        prompts_sha256: hex digest of that file, known once the card is verified.
    """

    name: str
    family: str
    method: str
    source: str
    uri: str
    sha256: str
    dataset: str
    config: Mapping[str, Any] = field(default_factory=dict, hash=False)
    seed: int = 0
    revision: str = ""
    license: str = ""
    reported: Mapping[str, float] = field(default_factory=dict, hash=False)
    assumed: tuple[str, ...] = ()
    force: bool = False
    network: str = ""
    code: Mapping[str, str] = field(default_factory=dict, hash=False)
    prompts: str = ""
    prompts_sha256: str = ""

    def content(self) -> dict[str, Any]:
        """The fields that decide the arithmetic, for content keys."""
        own = {"sha256": self.sha256, "source": self.source, "config": dict(self.config)}
        if self.prompts_sha256:
            own |= {"prompts": self.prompts_sha256}
        if not self.network:
            return own
        # The path decides nothing; what is called in the code does.
        return own | {"network": Path(self.network).name, "code": dict(self.code)}


@dataclass(frozen=True)
class Draw:
    """How images are sampled. Image i depends on (seed, i) alone, not on `batch` or `images`; in
    quantized cells `batch` also decides how many trajectories the ranges come from.

    Attributes:
        sampler: name in `tables.SAMPLERS`.
        steps: noise levels that the sampler walks through, with a network evaluation at each
            unless the sampler takes more.
        images: number N of images, indices 0..N-1.
        seed: stream of random numbers.
        eta: stochasticity of DDIM, 0..1.
        spacing: of `bench.core.spacings`.
        batch: images per forward pass; the last batch is padded.
        guidance: scale of classifier-free guidance, 1 for none.
        guided_from, guided_to: it is applied where noise / (signal + noise) is above the first and
            at most the second.
    """

    sampler: str = "ddim"
    steps: int = 20
    images: int = 500
    seed: int = 0
    eta: float = 0.0
    spacing: str = "trailing"
    dtype: str = "float32"
    batch: int = 50
    guidance: float = 1.0
    guided_from: float = 0.0
    guided_to: float = 1.0

    def __post_init__(self) -> None:
        for name in ("steps", "images", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.steps > 1000:
            raise InputError(f"steps must be at most 1000, not {self.steps}")
        if not 0 <= self.seed < 2**62:
            raise InputError(f"seed must be at least 0 and below 2^62, not {self.seed}")
        if not 0 <= self.guidance <= 1000:
            raise InputError(f"guidance must be 0 to 1000, not {self.guidance:g}")
        if not 0 <= self.guided_from <= self.guided_to <= 1:
            raise InputError(
                f"guidance is applied between two numbers of 0 to 1, not from "
                f"{self.guided_from:g} to {self.guided_to:g}"
            )

    @property
    def is_guided(self) -> bool:
        """Whether the network is evaluated with the labels of images and without at once."""
        return self.guidance != 1

    @property
    def evaluated(self) -> int:
        """Images of each evaluation of the network."""
        return 2 * self.batch if self.is_guided else self.batch

    @property
    def guidance_words(self) -> str:
        """The guidance, with its interval in terms of noise / signal; "none" for none."""
        if not self.is_guided:
            return "none"
        shares = self.guided_from, self.guided_to
        low, high = (s / (1 - s) if s < 1 else math.inf for s in shares)
        ends = [f"above {low:.4g}"] * (low > 0) + [f"at most {high:.4g}"] * (high < math.inf)
        where = f", where noise / signal is {' and '.join(ends)}" if ends else ""
        return f"classifier-free, scale {self.guidance:g}{where}"

    def scale(self, signal: float, noise: float) -> float:
        """Scale of the guidance at a level."""
        applied = self.guided_from < noise / (signal + noise) <= self.guided_to
        return self.guidance if applied else 1.0


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

    @property
    def simulation(self) -> Cell:
        """The same scheme, computed in float."""
        return replace(self, backend="simulated")

    @property
    def is_reference(self) -> bool:
        """Whether others are held against this cell: full precision as `reference` executes it.

        Not the same as `scheme.is_float`, that nothing is quantized: full precision in another
        execution is held against the reference like any other cell.
        """
        return self == self.reference

    @property
    def is_floor(self) -> bool:
        """Whether it measures the noise floor: full precision in another execution than the
        reference's, or images that the user named as such."""
        return self.backend == FLOOR or (self.scheme.is_float and not self.is_reference)

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
                    # The simulation quantizes no text encoders, so there is none to compare.
                    is_simulated = "simulated" in backends and not scheme.also
                    if backend != "simulated" and is_simulated:
                        cell = replace(cell, metrics=(*cell.metrics, "psnr_simulated"))
                    cells.append(cell)
    return cells

"""The paper's claims about methods, tested on the measurements of a run and its probes.

A claim about two methods compares their numbers, paired (`bench.verdicts.paired_difference`): both
were measured on the same images, noise and directions. Where both were trained several times, on
the same seeds, the difference is the mean over the trainings, and its interval covers how they
vary: only then does it speak of the methods. Where several checkpoints share method and seed, the
first one is taken.

supported: the interval lies wholly on the claim's side of 0; contradicted: wholly on the other;
undecided: it holds 0, or too little was measured.

Whether flatness explains the losses is the subject of `bench.verdicts.correlations`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from bench.core.probe_record import ProbeRun, ProbeValue
from bench.core.record import Record, Run
from bench.system.influences import Influences
from bench.verdicts import decisions
from bench.verdicts.methods import METRICS, measured, measurement, shared
from bench.verdicts.paired_difference import (
    PairedDifference,
    difference_of_magnitudes,
    paired_difference,
    turned,
)

# Each flatness number that is correlated: its name and the coordinates that single it out.
FLATNESS: Mapping[str, tuple[str, dict[str, float | str]]] = {
    "LPF rise": ("lpf_rise", {}),
    "LPF, relative": ("lpf_relative", {}),
    "epsilon-sharpness": ("epsilon_sharpness", {}),
    "rise, global": ("loss_rise", {"direction": "global"}),
    "rise, layers": ("loss_rise", {"direction": "layers"}),
    "rise, worst": ("loss_rise", {"direction": "worst"}),
    "top eigenvalue": ("hessian_eigenvalue", {"rank": 1}),
    "trace": ("hessian_trace", {}),
}
OTHERS = ("baseline", "ema", "swa")
AVERAGED = (("sam+ema", "ema"), ("sam+swa", "swa"))
FLATTER, LESS_BIAS = "sam is flatter", "sam has less exposure bias"
SIMULATED = "simulated"


@dataclass(frozen=True)
class Difference:
    """The difference of a number between two methods, and its verdict on a claim.

    Attributes:
        trainings: number of pairs of trainings; a single pair cannot tell a method from chance.
    """

    family: str
    claim: str
    number: str
    method: str
    against: str
    trainings: int
    value: float
    low: float
    high: float
    verdict: str


def claim_verdict(low: float, high: float, positive: bool) -> str:
    """The verdict of an interval on the claim that its number is positive (or negative)."""
    if math.isnan(low) or math.isnan(high) or low <= 0 <= high:
        return "undecided"
    return "supported" if (low > 0) == positive else "contradicted"


def families(probed: ProbeRun) -> dict[str, list[str]]:
    """Names of the checkpoints by family."""
    names: dict[str, list[str]] = {}
    for part in probed.parts:
        if part.checkpoint not in names.setdefault(part.family, []):
            names[part.family].append(part.checkpoint)
    return names


def flatness(probed: ProbeRun, checkpoint: str, title: str) -> ProbeValue | None:
    """A flatness number of a checkpoint; for a curve, its point at the largest radius."""
    name, where = FLATNESS[title]
    rows = probed.rows(checkpoint, name, **where)
    return max(rows, key=lambda row: float(row.where.get("radius", 0)), default=None)


def counted(run: Run) -> list[Record]:
    """The measured quantized cells with one backend for each scheme: the simulation if possible.

    Kernels agree with the simulation, so that both together would count each comparison twice.
    """
    quantized = [r for r in run.records if r.status == "ok" and not r.cell.scheme.is_float]
    first: dict[str, str] = {}
    for record in sorted(quantized, key=lambda r: r.cell.backend != SIMULATED):
        first.setdefault(str(record.cell.scheme), record.cell.backend)
    return [r for r in quantized if r.cell.backend == first[str(r.cell.scheme)]]


def differences(probed: ProbeRun) -> list[Difference]:
    """SAM against the other methods of its family: is it flatter, is its exposure bias smaller?"""
    lines = []
    for family in families(probed):
        trained = _trained(probed, family)
        for other in OTHERS:
            pairs = shared(trained, "sam", other)
            for number in FLATNESS:
                # The intervals of these two cover the error of their computation on a few images,
                # not the draw of the images.
                if number not in ("top eigenvalue", "trace"):
                    rows = [
                        (flatness(probed, a, number), flatness(probed, b, number))
                        for a, b in pairs
                    ]
                    lines += _as_differences(
                        (family, FLATTER, number, "sam", other), paired_difference(rows)
                    )
            gaps, distances = (
                [(_full(probed, a, number), _full(probed, b, number)) for a, b in pairs]
                for number in ("exposure_gap", "exposure_distance")
            )
            # A gap of either sign is a bias, so the magnitudes are compared.
            if sized := difference_of_magnitudes(gaps):
                comparison = family, LESS_BIAS, "size of the gap", "sam", other
                lines += _as_differences(comparison, sized[0], sized[1:])
            comparison = family, LESS_BIAS, "energy distance", "sam", other
            lines += _as_differences(comparison, paired_difference(distances))
    return lines


def _trained(probed: ProbeRun, family: str) -> dict[tuple[str, int], str]:
    """Checkpoints by method and seed of the training, the first of each that was measured."""
    names: dict[tuple[str, int], str] = {}
    for part in probed.parts:
        if part.family == family and part.status == "ok":
            names.setdefault((part.method, part.seed), part.checkpoint)
    return names


def _full(probed: ProbeRun, checkpoint: str, name: str) -> ProbeValue | None:
    """A number in full precision."""
    return next((row for row in probed.rows(checkpoint, name) if not row.scheme), None)


def _as_differences(
    comparison: tuple[str, str, str, str, str],
    difference: PairedDifference | None,
    ends: tuple[float, float] | None = None,
    decided: bool = True,
) -> list[Difference]:
    if difference is None:
        return []
    low, high = ends or difference.estimate.interval()
    told = claim_verdict(low, high, positive=False) if decided else "undecided"
    return [
        Difference(*comparison, difference.trainings, difference.estimate.value, low, high, told)
    ]


def lost(run: Run, terms: Influences) -> list[Difference]:
    """Differences of losses: SAM less each other method, and averages with SAM less those without.

    They are paired by image. Verdicts are corrected by Holm over all lines, intervals are not.
    """
    pairs = (*(("sam", other) for other in OTHERS), *AVERAGED)
    groups: dict[tuple[str, str, str], dict[tuple[str, int], Record]] = {}
    for record in counted(run):
        cell = record.cell
        where = cell.checkpoint.family, str(cell.scheme), cell.backend
        training = cell.checkpoint.method, cell.checkpoint.seed
        groups.setdefault(where, {}).setdefault(training, record)
    lines = []
    for (family, scheme, backend), trained in groups.items():
        for metric, (method, other) in itertools.product(METRICS, pairs):
            rows = [
                (loss_of(a, metric, terms), loss_of(b, metric, terms))
                for a, b in shared(trained, method, other)
            ]
            if line := paired_difference(rows):
                number = f"{metric}, {scheme} {backend}"
                lines.append(((family, f"{method} loses less", number, method, other), line))
    chances = [decisions.two_sided(line.estimate) for _, line in lines]
    adjusted = decisions.holm([1.0 if math.isnan(p) else p for p in chances])
    return [
        difference
        for (where, line), p in zip(lines, adjusted, strict=True)
        for difference in _as_differences(where, line, decided=p < decisions.ALPHA)
    ]


def loss_of(record: Record, metric: str, terms: Influences) -> ProbeValue | None:
    """A loss of a record (higher is worse) with the influences of its images, if they are kept."""
    row, loss = measured(record, metric, terms), measurement(record, metric)
    return turned(row) if row and loss and loss.better == "higher" else row

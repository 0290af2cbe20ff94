"""The paper's claims about flat minima, held against what was measured.

A number of a checkpoint explains its loss if the two rank the checkpoints alike: Spearman's rank
correlation over the checkpoints of a family, with the interval of Fisher's z at the standard error
1.06 / sqrt(n - 3) (Fieller, Hartley and Pearson 1957). It exists from five checkpoints on.
Checkpoints of one training (raw, EMA, SWA) are not independent, so that the interval is narrower
than one over trainings would be.

A claim about two methods compares their numbers, paired: both were measured on the same images,
noise and directions, so that the error of the difference is that of the differences of their
influences. Where both were trained several times, on the same seeds, it is the mean over the
trainings, and how they vary is added: only then it speaks of the methods (`bench.pairing`).

supported: the interval lies wholly on the claim's side of 0; contradicted: wholly on the other;
undecided: it holds 0, or there is too little to say anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench import decisions, stats
from bench.contrasts import METRICS, shared
from bench.explanation import Explanation, Row
from bench.influences import Influences, key
from bench.names import kernel
from bench.pairing import between
from bench.record import Record, Run

LEAST = 5
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
BIAS: Mapping[str, str] = {"gap": "exposure_gap", "energy distance": "exposure_distance"}
SIMULATED = "simulated"


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho between two numbers over n checkpoints; ends are NaN below `LEAST`."""

    family: str
    flatness: str
    loss: str
    n: int
    rho: float
    low: float
    high: float
    verdict: str


@dataclass(frozen=True)
class Difference:
    """A number of one method less that of another, and what it says about the claim.

    Attributes:
        trainings: pairs of trainings behind it; one cannot tell a method from chance.
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


def verdict(low: float, high: float, positive: bool) -> str:
    """What the interval of a number says about the claim that it is positive, or negative."""
    if math.isnan(low) or math.isnan(high) or low <= 0 <= high:
        return "undecided"
    return "supported" if (low > 0) == positive else "contradicted"


def spearman(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """(rho, low, high) of the 95% interval; the ends are NaN below five pairs."""
    from scipy.stats import rankdata

    ranks = rankdata(x), rankdata(y)
    if len(x) < 3 or any(np.ptp(rank) == 0 for rank in ranks):
        return math.nan, math.nan, math.nan
    rho = float(np.corrcoef(*ranks)[0, 1])
    if len(x) < LEAST:
        return rho, math.nan, math.nan
    # Perfect agreement counts as one swap of neighbours, else its interval would have no width.
    most = 1 - 12 / (len(x) * (len(x) ** 2 - 1))
    z = math.atanh(max(-most, min(most, rho)))
    reach = 1.96 * 1.06 / math.sqrt(len(x) - 3)
    return rho, math.tanh(z - reach), math.tanh(z + reach)


def correlations(found: Explanation, run: Run | None) -> list[Correlation]:
    """Each flatness number against each loss, family by family; flatter should lose less."""
    lines = []
    for family, names in families(found).items():
        losses = _losses(found, names, run)
        for title in FLATNESS:
            values = {name: row.value for name in names if (row := flatness(found, name, title))}
            for loss, lost in losses.items():
                both = [name for name in names if name in values and name in lost]
                both = [n for n in both if math.isfinite(values[n]) and math.isfinite(lost[n])]
                if len(both) < 3:
                    continue
                numbers = spearman([values[n] for n in both], [lost[n] for n in both])
                told = verdict(*numbers[1:], positive=True)
                lines.append(Correlation(family, title, loss, len(both), *numbers, told))
    return lines


def families(found: Explanation) -> dict[str, list[str]]:
    """Names of the checkpoints by family."""
    names: dict[str, list[str]] = {}
    for part in found.parts:
        if part.checkpoint not in names.setdefault(part.family, []):
            names[part.family].append(part.checkpoint)
    return names


def flatness(found: Explanation, checkpoint: str, title: str) -> Row | None:
    """A flatness number of a checkpoint; of a curve the point of the largest radius."""
    name, where = FLATNESS[title]
    rows = found.rows(checkpoint, name, **where)
    return max(rows, key=lambda row: float(row.where.get("radius", 0)), default=None)


def _losses(
    found: Explanation, names: Sequence[str], run: Run | None
) -> dict[str, dict[str, float]]:
    """Quantization losses by title and checkpoint, higher is worse."""
    losses: dict[str, dict[str, float]] = {}
    for name in names:
        rises = found.rows(name, "loss_rise", direction="quantization", multiple=1.0)
        for row in rises:
            losses.setdefault(f"denoising loss, {row.scheme} weights", {})[name] = row.value
        for row in found.rows(name, "psnr"):
            losses.setdefault(f"-PSNR, {row.scheme}", {})[name] = -row.value
        for row in found.rows(name, "prior_shift"):
            losses.setdefault("prior shift", {})[name] = row.value
        for row in found.rows(name, "exposure_gap"):
            if not row.scheme:
                losses.setdefault("exposure gap, size", {})[name] = abs(row.value)
    for record in counted(run) if run else ():
        cell = record.cell
        if cell.checkpoint.name in names:
            for metric, value in _changes(record).items():
                title = f"{metric}, {cell.scheme} {cell.backend}, run"
                losses.setdefault(title, {})[cell.checkpoint.name] = value
    return losses


def counted(run: Run) -> list[Record]:
    """The measured quantized cells, each scheme in one execution: simulated where it was.

    Kernels that agree with the simulation would count every comparison twice.
    """
    found = [r for r in run.records if r.status == "ok" and not r.cell.scheme.is_float]
    first: dict[str, str] = {}
    for record in sorted(found, key=lambda r: r.cell.backend != SIMULATED):
        first.setdefault(str(record.cell.scheme), record.cell.backend)
    return [r for r in found if r.cell.backend == first[str(r.cell.scheme)]]


def _changes(record: Record) -> dict[str, float]:
    """What quantization did to a record, higher is worse."""
    extractors = record.cell.extractors
    names = {"delta KD": f"delta_{kernel(extractors[0])}" if extractors else "", "-PSNR": "psnr"}
    found = {title: record.measurement(name) for title, name in names.items()}
    signs = {"lower": 1, "higher": -1}
    return {title: signs[m.better] * m.value for title, m in found.items() if m}


def differences(found: Explanation) -> list[Difference]:
    """SAM against the other methods of its family: is it flatter, is its exposure bias smaller?"""
    # An eigenvalue has a bound of its computation, not an interval.
    flat = [title for title in FLATNESS if title != "top eigenvalue"]
    lines = []
    for family in families(found):
        trained = _trained(found, family)
        for other in OTHERS:
            pairs = shared(trained, "sam", other)
            for claim, numbers, read in (
                (FLATTER, flat, flatness),
                (LESS_BIAS, tuple(BIAS), _bias),
            ):
                for number in numbers:
                    rows = [(read(found, a, number), read(found, b, number)) for a, b in pairs]
                    known = [(a, b) for a, b in rows if a and b]
                    if estimate := between(known):
                        place = family, claim, number, "sam", other, len(known)
                        lines.append(_told(place, estimate))
    return lines


def _trained(found: Explanation, family: str) -> dict[tuple[str, int], str]:
    """Checkpoints by method and seed of the training, the first of each."""
    names: dict[tuple[str, int], str] = {}
    for part in found.parts:
        if part.family == family:
            names.setdefault((part.method, part.seed), part.checkpoint)
    return names


def _bias(found: Explanation, name: str, number: str) -> Row | None:
    """A number of the exposure bias in full precision, without its sign: either way is bias."""
    rows = found.rows(name, BIAS[number])
    row = next((row for row in rows if not row.scheme), None)
    if row is None or row.value >= 0 or row.low is None or row.high is None:
        return row
    terms = tuple(-term for term in row.terms)
    return replace(row, value=-row.value, low=-row.high, high=-row.low, terms=terms)


def _told(
    place: tuple[str, str, str, str, str, int], estimate: stats.Estimate, decided: bool = True
) -> Difference:
    low, high = estimate.interval()
    told = verdict(low, high, positive=False) if decided else "undecided"
    return Difference(*place, estimate.value, low, high, told)


def lost(run: Run, terms: Influences) -> list[Difference]:
    """Losses under each scheme of SAM less those of the other methods, and of averages with SAM
    less those without, paired by image; p by Holm over all."""
    pairs = (*(("sam", other) for other in OTHERS), *AVERAGED)
    groups: dict[tuple[str, str, str], dict[tuple[str, int], Record]] = {}
    for record in counted(run):
        cell = record.cell
        place = cell.checkpoint.family, str(cell.scheme), cell.backend
        training = cell.checkpoint.method, cell.checkpoint.seed
        groups.setdefault(place, {}).setdefault(training, record)
    found = []
    for (family, scheme, backend), trained in groups.items():
        for metric in METRICS:
            for method, other in pairs:
                rows = [
                    (_loss(a, metric, terms), _loss(b, metric, terms))
                    for a, b in shared(trained, method, other)
                ]
                known = [(a, b) for a, b in rows if a and b]
                if estimate := between(known):
                    number = f"{metric}, {scheme} {backend}"
                    claim = f"{method} loses less"
                    where = family, claim, number, method, other, len(known)
                    found.append((where, estimate))
    adjusted = decisions.holm([decisions.two_sided(estimate) for _, estimate in found])
    return [
        _told(where, estimate, p < decisions.ALPHA)
        for (where, estimate), p in zip(found, adjusted, strict=True)
    ]


def _loss(record: Record, metric: str, terms: Influences) -> Row | None:
    """A loss of a record, higher is worse, with the influences of its images; None without."""
    names = (metric, *(f"{metric}_{extractor}" for extractor in record.cell.extractors))
    measured = next((m for name in names if (m := record.measurement(name))), None)
    if measured is None or key(record.cell, measured.name) not in terms:
        return None
    sign = 1 if measured.better == "lower" else -1
    kept = tuple(sign * terms[key(record.cell, measured.name)])
    return Row(metric, sign * measured.value, n=len(kept), terms=kept)

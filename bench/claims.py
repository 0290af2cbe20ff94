"""The paper's claims about flat minima, held against what was measured.

A number of a checkpoint explains its loss if the two rank the checkpoints alike: Spearman's rank
correlation over the checkpoints of a family, with the interval of Fisher's z at the standard error
1.06 / sqrt(n - 3) (Fieller, Hartley and Pearson 1957). It exists from five checkpoints on.
Checkpoints of one training (raw, EMA, SWA) are not independent, so that the interval is narrower
than one over trainings would be.

A claim about two methods compares their numbers: the difference with Welch's interval. Both were
measured on the same images, so that the interval errs on the wide side.

supported: the interval lies wholly on the claim's side of 0; contradicted: wholly on the other;
undecided: it holds 0, or there is too little to say anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench import decisions, stats
from bench.contrasts import METRICS
from bench.explanation import Explanation, Row
from bench.influences import Influences, key
from bench.names import kernel
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
    """A number of one method less that of another, and what it says about the claim."""

    family: str
    claim: str
    number: str
    method: str
    against: str
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
    """SAM against the other methods of its family: is it flatter, is its exposure gap smaller?"""
    lines = []
    for family, names in families(found).items():
        first: dict[str, str] = {}
        for part in found.parts:
            if part.checkpoint in names:
                first.setdefault(part.method, part.checkpoint)
        for other in OTHERS:
            if "sam" not in first or other not in first:
                continue
            pair = first["sam"], first[other]
            # An eigenvalue has a bound of its computation, not an interval.
            for title in (title for title in FLATNESS if title != "top eigenvalue"):
                rows = [flatness(found, name, title) for name in pair]
                lines += _difference(family, "sam is flatter", title, other, rows)
            rows = [_gap(found, name) for name in pair]
            lines += _difference(family, "sam has less exposure bias", "gap", other, rows)
    return lines


def _gap(found: Explanation, name: str) -> Row | None:
    return next((row for row in found.rows(name, "exposure_gap") if not row.scheme), None)


def _difference(
    family: str, claim: str, number: str, other: str, rows: Sequence[Row | None]
) -> list[Difference]:
    a, b = rows
    if a is None or b is None:
        return []
    if number == "gap":
        a, b = _size(a), _size(b)
    pair = [stats.from_interval(row.value, row.low, row.high, row.n) for row in (a, b)]
    if pair[0] is None or pair[1] is None:
        return []
    estimate = stats.independent(pair[0], pair[1])
    low, high = estimate.interval()
    told = verdict(low, high, positive=False)
    return [Difference(family, claim, number, "sam", other, estimate.value, low, high, told)]


def _size(row: Row) -> Row:
    """A gap without its sign: bias in either direction is bias."""
    if row.value >= 0 or row.low is None or row.high is None:
        return row
    return Row(row.name, -row.value, -row.high, -row.low, row.n)


def lost(run: Run, terms: Influences) -> list[Difference]:
    """SAM's loss under each scheme less that of the other methods, paired by image (p by Holm)."""
    groups: dict[tuple[str, str, str], dict[str, Record]] = {}
    for record in counted(run):
        cell = record.cell
        place = cell.checkpoint.family, str(cell.scheme), cell.backend
        groups.setdefault(place, {}).setdefault(cell.checkpoint.method, record)
    found = [
        (place, metric, other, estimate)
        for place, methods in groups.items()
        for metric in METRICS
        for other in OTHERS
        if (estimate := _paired(methods.get("sam"), methods.get(other), metric, terms))
    ]
    adjusted = decisions.holm([decisions.two_sided(estimate) for *_, estimate in found])
    lines = []
    for (place, metric, other, estimate), p in zip(found, adjusted, strict=True):
        low, high = estimate.interval()
        told = verdict(low, high, positive=False) if p < decisions.ALPHA else "undecided"
        number = f"{metric}, {place[1]} {place[2]}"
        lines.append(
            Difference(
                *(place[0], "sam loses less", number, "sam", other),
                *(estimate.value, low, high, told),
            )
        )
    return lines


def _paired(
    a: Record | None, b: Record | None, metric: str, terms: Influences
) -> stats.Estimate | None:
    """The difference of two losses, higher is worse, from the influences of the images."""
    if a is None or b is None:
        return None
    names = (metric, *(f"{metric}_{extractor}" for extractor in a.cell.extractors))
    pair = [next((m for n in names if (m := r.measurement(n))), None) for r in (a, b)]
    if pair[0] is None or pair[1] is None:
        return None
    keys = key(a.cell, pair[0].name), key(b.cell, pair[1].name)
    if not set(keys) <= set(terms):
        return None
    sign = 1 if pair[0].better == "lower" else -1
    value = sign * (pair[0].value - pair[1].value)
    return stats.estimate(value, sign * (terms[keys[0]] - terms[keys[1]]))

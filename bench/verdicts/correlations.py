"""Do flat minima explain the losses? Rank correlations over the checkpoints of a family.

A number of a checkpoint explains its loss if the two rank the checkpoints alike: Spearman's rank
correlation over the checkpoints of a family, with the interval of Fisher's z at the standard error
1.06 / sqrt(n - 3) (Fieller, Hartley and Pearson 1957). The interval exists from five checkpoints
on. Several trainings of a method count once, by their mean. Checkpoints of one training (raw, EMA,
SWA) are not independent, so that the interval is narrower than one over independent methods would
be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.core.distances import kernel
from bench.core.probe_record import ProbeRun
from bench.core.record import Record, Run
from bench.verdicts.claims import FLATNESS, claim_verdict, counted, families, flatness

LEAST = 5


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


def spearman(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """(rho, low, high) of the 95% interval; the ends are NaN below five pairs."""
    from scipy.stats import rankdata

    ranks = rankdata(x), rankdata(y)
    if len(x) < 3 or any(np.ptp(rank) == 0 for rank in ranks):
        return math.nan, math.nan, math.nan
    rho = float(np.corrcoef(*ranks)[0, 1])
    if len(x) < LEAST:
        return rho, math.nan, math.nan
    # Perfect agreement counts as one swap of neighbours: its interval would have no width.
    most = 1 - 12 / (len(x) * (len(x) ** 2 - 1))
    z = math.atanh(max(-most, min(most, rho)))
    reach = 1.96 * 1.06 / math.sqrt(len(x) - 3)
    return rho, math.tanh(z - reach), math.tanh(z + reach)


def correlations(probed: ProbeRun, run: Run | None) -> list[Correlation]:
    """Each flatness number against each loss, family by family; flatter should lose less."""
    lines = []
    for family, names in families(probed).items():
        methods = _methods(probed, names)
        losses = _losses(probed, names, run)
        for title in FLATNESS:
            values = {name: row.value for name in names if (row := flatness(probed, name, title))}
            for loss, lost in losses.items():
                points = [
                    (values[name], lost[name], methods[name])
                    for name in names
                    if math.isfinite(values.get(name, math.nan) + lost.get(name, math.nan))
                ]
                means = _means(points)
                if len(means) < 3:
                    continue
                numbers = spearman(*zip(*means, strict=True))
                told = claim_verdict(*numbers[1:], positive=True)
                lines.append(Correlation(family, title, loss, len(means), *numbers, told))
    return lines


def _methods(probed: ProbeRun, names: Sequence[str]) -> dict[str, str]:
    """The group of each checkpoint: its method, or its own name where two share method and seed
    and so are no repeated trainings."""
    cards = {p.checkpoint: (p.method, p.seed) for p in probed.parts if p.checkpoint in names}
    if len(set(cards.values())) < len(cards):
        return {name: name for name in cards}
    return {name: method for name, (method, _) in cards.items()}


def _means(points: Sequence[tuple[float, float, str]]) -> list[tuple[float, float]]:
    """The mean of each method over its trainings, which are no independent methods."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for x, y, method in points:
        groups.setdefault(method, []).append((x, y))
    return [tuple(map(float, np.mean(group, axis=0))) for group in groups.values()]  # type: ignore[misc]


def _losses(
    probed: ProbeRun, names: Sequence[str], run: Run | None
) -> dict[str, dict[str, float]]:
    """Quantization losses by title and checkpoint, higher is worse."""
    losses: dict[str, dict[str, float]] = {}
    for name in names:
        rises = probed.rows(name, "loss_rise", direction="quantization", multiple=1.0)
        for row in rises:
            losses.setdefault(f"denoising loss, {row.scheme} weights", {})[name] = row.value
        for row in probed.rows(name, "psnr"):
            losses.setdefault(f"-PSNR, {row.scheme}", {})[name] = -row.value
        for row in probed.rows(name, "prior_shift"):
            losses.setdefault("prior shift", {})[name] = row.value
        for row in probed.rows(name, "exposure_gap"):
            if not row.scheme:
                losses.setdefault("exposure gap, size", {})[name] = abs(row.value)
    for record in counted(run) if run else ():
        cell = record.cell
        if cell.checkpoint.name in names:
            for metric, value in _changes(record).items():
                title = f"{metric}, {cell.scheme} {cell.backend}, run"
                losses.setdefault(title, {})[cell.checkpoint.name] = value
    return losses


def _changes(record: Record) -> dict[str, float]:
    """The changes by quantization of a record, by title; higher is worse."""
    extractors = record.cell.extractors
    names = {"delta KD": f"delta_{kernel(extractors[0])}" if extractors else "", "-PSNR": "psnr"}
    measured = {title: record.measurement(name) for title, name in names.items()}
    signs = {"lower": 1, "higher": -1}
    return {title: signs[m.better] * m.value for title, m in measured.items() if m}

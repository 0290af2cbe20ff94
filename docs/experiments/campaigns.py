"""Is the rule of docs/claims.md honest? Campaigns of a known truth, decided by its own code.

    python docs/experiments/campaigns.py RUN [RUN ...] [--campaigns 2000] [--backend int8-cuda]

Drawn are normal trainings with the spreads of RUN (`primary.py`), with the images' errors by its
influences, and true differences of 0, at the margin, and as in RUN. How often is a line decided,
and how often falsely?
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

import numpy as np
from methods_table import loaded
from primary import BACKEND, Line, decided, lines_of, losses

from bench.core.estimates import Estimate
from bench.verdicts.paired_difference import paired_difference


def simulate(lines: Sequence[Line], campaigns: int) -> None:
    """Print how often campaigns of a known truth are decided, rightly and falsely."""
    each = np.stack([line.differences() for line in lines])
    margins = np.array([line.margin() for line in lines])
    truths = {
        "no difference": np.zeros(len(lines)),
        "at the margin": margins,
        "as measured": each.mean(1),
    }
    print(
        "| truth | families with a false decision | lines decided | lines falsely equivalent |\n|"
        + "---|" * 4
    )
    for name, truth in truths.items():
        verdicts = _campaigns(lines, truth, campaigns)
        signs = (verdicts == "contradicted").astype(int) - (verdicts == "supported")
        equal = verdicts == "equivalent"
        wrong = ((signs != 0) & (signs != np.sign(truth))).any(1).mean()
        alike = (equal & (np.abs(truth) >= margins)).mean()
        decided_lines = (verdicts != "undecided").mean()
        print(f"| {name} | {wrong:.1%} | {decided_lines:.0%} | {alike:.1%} |")
        if name == "as measured":
            shares = (verdicts != "undecided").mean(0)
            print("\nLines decided then: " + ", ".join(f"{share:.0%}" for share in shares))


def _campaigns(lines: Sequence[Line], truth: np.ndarray, count: int) -> np.ndarray:
    """The verdicts of campaigns that are drawn, (campaigns, lines)."""
    draw = np.random.default_rng(0)
    each = np.stack([line.differences() for line in lines])
    margins = [line.margin() for line in lines]
    # Trainings and images are the same ones in all lines.
    influences = np.stack([line.influences() for line in lines])
    images = influences.shape[1]
    verdicts = []
    for _ in range(count):
        drawn = draw.multivariate_normal(truth, np.cov(each), each.shape[1], method="eigh").T
        drawn += (influences @ draw.standard_normal(images) / images)[:, None]
        found = [_drawn(*of_line) for of_line in zip(lines, drawn, strict=True)]
        verdicts.append([verdict for verdict, _ in decided(found, margins)])
    return np.array(verdicts)


def _drawn(line: Line, values: np.ndarray) -> Estimate:
    """What the code says of trainings that are drawn, with the images' error of the line's own."""
    pairs = []
    for value, (a, b) in zip(values, line.pairs.values(), strict=True):
        moved = dataclasses.replace(a, value=float(value))
        zero = dataclasses.replace(b, value=0.0)
        pairs.append((moved, zero))
    found = paired_difference(pairs)
    assert found is not None
    return found.estimate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--backend", default=BACKEND)
    parser.add_argument("--campaigns", type=int, default=2000)
    asked = parser.parse_args()
    simulate(lines_of(losses(*loaded(asked.runs, asked.backend)), None), asked.campaigns)


if __name__ == "__main__":
    main()

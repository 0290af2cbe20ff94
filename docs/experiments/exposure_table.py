"""The exposure bias of the methods over their trainings, of what exposure.py measured.

    python docs/experiments/exposure_table.py FOLDER [--steps 20] [--images 400]

The mean gap of each method; SAM less plain training and less EMA, paired by image and training
seed, with the interval over both; and how much of the gap goes with the scale of the prediction
on real images, which is the inverse of the slope there.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
from scipy import stats

from bench.core.probe_record import ProbeValue
from bench.verdicts import decisions
from bench.verdicts.paired_difference import difference_of_magnitudes, paired_difference

METHODS = ("baseline", "ema", "swa", "sam", "sam+ema")


def paths(asked: argparse.Namespace) -> list[Path]:
    """The files of all checkpoints that were measured in this way."""
    return sorted(asked.folder.glob(f"*_{asked.steps}_{asked.images}.json"))


def trained(asked: argparse.Namespace) -> dict[str, dict[int, ProbeValue]]:
    """The mean gap of each checkpoint that was measured, by method and training seed."""
    by: dict[str, dict[int, ProbeValue]] = {}
    for path in paths(asked):
        kept = json.loads(path.read_text())
        each = np.array(kept["images"])
        terms = tuple((each - each.mean()).tolist())
        value = ProbeValue("gap", float(each.mean()), n=len(each), terms=terms)
        by.setdefault(kept["method"], {})[kept["seed"]] = value
    return by


def pairs(asked: argparse.Namespace) -> None:
    """Print the gap of each method, and SAM less the others, over the trainings."""
    by = trained(asked)
    print("| weights | trainings | mean gap | deviation | by training |\n|" + "---|" * 5)
    for method in filter(by.__contains__, METHODS):
        values = [by[method][seed].value for seed in sorted(by[method])]
        spread = f"{np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
        each = ", ".join(f"{x:+.1f}" for x in values)
        print(f"| {method} | {len(values)} | {np.mean(values):+.1f} | {spread} | {each} |")
    print("\n| less | trainings | gap, 95% | p, Holm | size of the gap, 95% | by training |")
    print("|" + "---|" * 6)
    lines = []
    for one, other in (("sam", "baseline"), ("sam", "ema"), ("sam+ema", "ema")):
        seeds = sorted(set(by.get(one, {})) & set(by.get(other, {})))
        both = [(by[one][seed], by[other][seed]) for seed in seeds]
        if found := paired_difference(both):
            lines.append((f"{one} less {other}", both, found.estimate))
    adjusted = decisions.holm([decisions.two_sided(estimate) for *_, estimate in lines])
    for (name, both, estimate), p in zip(lines, adjusted, strict=True):
        low, high = estimate.interval()
        sized = difference_of_magnitudes(both)
        assert sized is not None
        size = f"{sized[0].estimate.value:+.1f} [{sized[1]:+.1f}, {sized[2]:+.1f}]"
        each = ", ".join(f"{a.value - b.value:+.1f}" for a, b in both)
        cells = f"{estimate.value:+.1f} [{low:+.1f}, {high:+.1f}] | {p:.2g} | {size} | {each}"
        print(f"| {name} | {len(both)} | {cells} |")
    if len(paths(asked)) > 2 * len(METHODS):
        scales(asked)


def scales(asked: argparse.Namespace) -> None:
    """Print how much of the gap goes with the scale of the prediction: least squares over all
    checkpoints, gap = c (scale in % too large) + a number for each method."""
    kept = [json.loads(path.read_text()) for path in paths(asked)]
    methods = [name for name in METHODS if name in {each["method"] for each in kept}]
    scale = np.array([100 * (1 / np.mean(each["slope"]) - 1) for each in kept])
    gap = np.array([np.mean(each["images"]) for each in kept])
    own = np.array([[each["method"] == name for name in methods] for each in kept], float)
    table = np.column_stack([scale, own])
    found, *_ = np.linalg.lstsq(table, gap, rcond=None)
    rest = gap - table @ found
    free = len(gap) - table.shape[1]
    error = math.sqrt(float(rest @ rest) / free * np.linalg.inv(table.T @ table)[0, 0])
    reach = error * float(stats.t.isf(0.025, free))
    print(
        f"\nThe gap changes by {found[0]:+.1f} [{found[0] - reach:+.1f}, {found[0] + reach:+.1f}] "
        f"where the prediction is 1% larger; of the spread within methods that explains "
        f"{1 - float(rest @ rest) / float(_spread(gap, own)):.0%}.\n"
    )
    print("| weights | scale, % too large, by training | gap at the right scale |\n|---|---|---|")
    for name, middle, chosen in zip(methods, found[1:], own.T > 0, strict=True):
        each = ", ".join(f"{x:+.2f}" for x in scale[chosen])
        print(f"| {name} | {each} | {middle:+.1f} |")


def _spread(gap: np.ndarray, own: np.ndarray) -> float:
    """The sum of squares about the means of the methods."""
    rest = gap - own @ np.linalg.lstsq(own, gap, rcond=None)[0]
    return float(rest @ rest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--images", type=int, default=400)
    pairs(parser.parse_args())


if __name__ == "__main__":
    main()

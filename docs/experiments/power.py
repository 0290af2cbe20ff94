"""How many trainings decide the primary comparisons of docs/claims.md.

    python docs/experiments/power.py RUN [--trainings 8] [--family 12]

For each primary comparison: the change of KD under a scheme, SAM less another method, training by
training, and the power that a number of trainings would have if the mean and the spread of the
trainings there are were the true ones. The test is the two-sided t test of the mean over the
trainings at 5% divided by the size of the family, as in the first step of Holm (so the power is a
lower bound); its power is that of the noncentral t distribution. Mean and spread of three
trainings are themselves rough: the line "spread doubled" says what is left if they are optimistic.

The error of the images is not in these numbers: at N = 500 it is a fifth to a twentieth of the
spread of the trainings (docs/zoo.md), and it does not fall with their number.
"""

import argparse

import numpy as np
import pandas
from scipy import stats

import bench

OTHERS, SCHEMES, METRIC = ("ema", "swa", "baseline"), ("w4a8", "w8a8"), "delta_kd"
LEVEL, MOST = 0.05, 200


def differences(frame: pandas.DataFrame, scheme: str, other: str, backend: str) -> np.ndarray:
    """Change of KD of SAM less that of another method, one value for each training seed."""
    rows = frame[(frame.scheme == scheme) & (frame.metric == METRIC) & (frame.backend == backend)]
    by_method = rows.pivot_table(index="training_seed", columns="method", values="value")
    return (by_method["sam"] - by_method[other]).dropna().to_numpy()


def power(mean: float, deviation: float, trainings: int, level: float) -> float:
    """Power of the two-sided t test of a mean of `trainings` values against 0."""
    free = trainings - 1
    shift = mean / deviation * np.sqrt(trainings)
    least = stats.t.isf(level / 2, free)
    return float(stats.nct.sf(least, free, shift) + stats.nct.cdf(-least, free, shift))


def needed(mean: float, deviation: float, level: float, wanted: float = 0.8) -> str:
    """The least number of trainings with that power."""
    for trainings in range(3, MOST + 1):
        if power(mean, deviation, trainings, level) >= wanted:
            return str(trainings)
    return f"over {MOST}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run")
    parser.add_argument("--trainings", type=int, default=8)
    parser.add_argument("--family", type=int, default=12)
    parser.add_argument("--backend", default="int8-x86")
    asked = parser.parse_args()
    loaded = bench.load(asked.run)
    frame = loaded.frame()
    cards = [record.cell.checkpoint for record in loaded.run.records]
    frame["training_seed"] = frame.sha256.map({card.sha256: card.seed for card in cards})
    level = LEVEL / asked.family
    print(
        "| scheme | SAM less | by training | mean | deviation | "
        f"power of {asked.trainings} | spread doubled | trainings for 80% |\n|" + "---|" * 8
    )
    for scheme in SCHEMES:
        for other in OTHERS:
            values = differences(frame, scheme, other, asked.backend)
            mean, deviation = float(values.mean()), float(values.std(ddof=1))
            chances = [
                f"{power(mean, spread, asked.trainings, level):.0%}"
                for spread in (deviation, 2 * deviation)
            ]
            cells = [scheme.upper(), other, ", ".join(f"{v:+.1f}" for v in values)]
            cells += [f"{mean:+.1f}", f"{deviation:.1f}", *chances]
            print("| " + " | ".join([*cells, needed(mean, deviation, level)]) + " |")


if __name__ == "__main__":
    main()

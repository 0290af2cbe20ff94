"""The tables of docs/zoo.md from runs of the shipped checkpoints.

    python docs/experiments/zoo_table.py RUN [RUN ...] [--backend simulated]

A table for each number of sampling steps, the scatter between training seeds where a method has
several, and how the methods differ over their trainings (`bench.verdicts.claims.lost`). RUN is an
id under `reports/` or a folder; several of one draw add up. Every number comes from a run's own
files.
"""

import argparse
import dataclasses
from collections import Counter

import pandas

import bench
from bench.system.runs import LoadedRun
from bench.verdicts.claims import lost

ORDER = ("baseline", "ema", "swa", "ip", "ip+ema", "ip+swa", "sam", "sam+ema", "sam+swa")
SCHEMES = ("w8a8", "w4a8")
FD, KD = "fd_efficientnet", "kd_efficientnet"


def text(row: pandas.Series, digits: int, signed: bool = False) -> str:
    """A value with its interval."""
    sign = "+" if signed else ""
    return (
        f"{row.value:{sign}.{digits}f} [{row.low:{sign}.{digits}f}, {row.high:{sign}.{digits}f}]"
    )


def stem(name: str) -> str:
    """A metric's name without its N."""
    return name.partition("@")[0]


def quality_table(frame: pandas.DataFrame) -> list[str]:
    """One row a checkpoint: FD and KD in full precision and their changes."""
    heads = ["weights", "FD", "KD"]
    heads += [f"change of {name}, {s.upper()}" for name in ("FD", "KD") for s in SCHEMES]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for method in ORDER:
        for seed, rows in frame[frame.method == method].groupby("training_seed"):
            name = method if not seed else f"{method}, seed {seed}"
            cells = [text(number(rows, "fp32", FD), 2), text(number(rows, "fp32", KD), 0)]
            for metric, digits in ((FD, 2), (KD, 0)):
                cells += [text(number(rows, s, f"delta_{metric}"), digits, True) for s in SCHEMES]
            lines.append("| " + " | ".join([name, *cells]) + " |")
    return lines


def number(rows: pandas.DataFrame, scheme: str, metric: str) -> pandas.Series:
    """The one measurement of a checkpoint."""
    (found,) = (row for _, row in rows[(rows.scheme == scheme) & (rows.stem == metric)].iterrows())
    return found


def seed_table(frame: pandas.DataFrame) -> list[str]:
    """Each training, mean and standard deviation, of methods that were trained several times."""
    wanted = frame[(frame.stem == FD) | (frame.stem == f"delta_{FD}")]
    # The full precision of a scheme is in the rows before.
    wanted = wanted[(wanted.stem != FD) | (wanted.scheme == "fp32")]
    lines = ["| method | number | by seed | mean | standard deviation |", "|---|---|---|---|---|"]
    for (method, metric, scheme), rows in wanted.groupby(["method", "stem", "scheme"], sort=False):
        if rows.training_seed.nunique() > 1:
            signed = "" if metric == FD else "+"
            what = "FD, full precision" if metric == FD else f"change of FD, {scheme.upper()}"
            values = rows.sort_values("training_seed").value
            each = ", ".join(f"{value:{signed}.2f}" for value in values)
            spread = f"{values.mean():{signed}.2f} | {values.std(ddof=1):.2f}"
            lines.append(f"| {method} | {what} | {each} | {spread} |")
    return lines if len(lines) > 2 else []


def method_table(runs: list[LoadedRun], backend: str, steps: int) -> list[str]:
    """Losses of the methods with SAM less those of the methods without, over their trainings.

    Runs of one draw are one run: image i is from the same noise in all. Methods of a single
    training are left out, and do not count in Holm's adjustment.
    """
    records = {
        str((record.cell.checkpoint.sha256, record.cell.scheme)): record
        for run in runs
        for record in run.run.records
        if record.cell.backend == backend and record.cell.draw.steps == steps
    }
    cards = [record.cell.checkpoint for record in records.values()]
    trained = {(card.method, card.seed) for card in cards}
    several = Counter(method for method, _ in trained)
    kept = [r for r in records.values() if several[r.cell.checkpoint.method] > 1]
    chosen = dataclasses.replace(runs[0].run, records=tuple(kept))
    influences = {key: terms for run in runs for key, terms in run.influences.items()}
    lines = [
        "| number | scheme | methods | trainings | difference, 95% | loses |",
        "|---|---|---|---|---|---|",
    ]
    for line in lost(chosen, influences):
        metric, scheme = line.number.split()[0].rstrip(","), line.number.split()[1]
        what = {"delta_kd": "change of KD", "psnr": "-PSNR, dB"}[metric]
        ends = f"{line.value:+.3g} [{line.low:+.3g}, {line.high:+.3g}]"
        told = "undecided" if line.verdict == "undecided" else "less" if line.high < 0 else "more"
        pair = f"{line.method} less {line.against}"
        lines.append(
            f"| {what} | {scheme.upper()} | {pair} | {line.trainings} | {ends} | {told} |"
        )
    return lines if len(lines) > 2 else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--backend", default="simulated")
    given = parser.parse_args()
    runs = [bench.load(run) for run in given.runs]
    frame = pandas.concat([run.frame() for run in runs], ignore_index=True)
    frame["stem"] = frame.measurement.map(stem)
    cards = [record.cell.checkpoint for run in runs for record in run.run.records]
    frame["training_seed"] = frame.sha256.map({card.sha256: card.seed for card in cards})
    frame = frame[frame.backend.isin([given.backend, "float"])]
    frame = frame.drop_duplicates(["sha256", "scheme", "steps", "images", "measurement"])
    for (steps, images), rows in frame.groupby(["steps", "images"]):
        print(f"\n{steps} steps, N = {images}:\n")
        print("\n".join(quality_table(rows)))
        for lines in (seed_table(rows), method_table(runs, given.backend, steps)):
            if lines:
                print("\n" + "\n".join(lines))


if __name__ == "__main__":
    main()

"""Does another machine find the same numbers? Two runs of the same cells, held together.

    python docs/experiments/repetition.py COMMITTED REPEATED

For each cell that both have (the same weights, scheme and draw, in full precision or in integer
kernels, whichever) and each of its numbers: both values with their 95% intervals, whether these
overlap, and the difference, paired by image where the influences of both are kept, with whether
its interval holds 0. Image i is made from the same noise on both machines.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

import bench
from bench.core import estimates
from bench.core.record import Measurement, Record
from bench.system import influences
from bench.system.runs import LoadedRun

# Named without the number of images.
METRICS = ("fd_efficientnet", "kd_efficientnet", "delta_fd_efficientnet", "delta_kd_efficientnet")
PAIRED = ("psnr", "ssim")


def cells(run: LoadedRun) -> dict[tuple[object, ...], Record]:
    """The measured cells by what was to be measured; kernels before simulation."""
    found: dict[tuple[object, ...], Record] = {}
    for record in run.run.records:
        cell = record.cell
        if record.status == "ok" and (cell.scheme.is_float or cell.backend.startswith("int8")):
            where = cell.checkpoint.sha256, str(cell.scheme), cell.draw.images, cell.draw.steps
            found.setdefault((*where, cell.draw.seed, cell.backend == "float"), record)
    return found


def numbers(record: Record) -> Iterator[Measurement]:
    """The numbers of a cell that are compared."""
    wanted = METRICS[:2] if record.cell.scheme.is_float else METRICS[2:] + PAIRED
    for row in record.measurements:
        if row.name.partition("@")[0] in wanted:
            yield row


def text(row: Measurement) -> str:
    return f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("committed")
    parser.add_argument("repeated")
    asked = parser.parse_args()
    first, second = bench.load(asked.committed), bench.load(asked.repeated)
    known, count, overlapping, equal, paired = cells(first), 0, 0, 0, 0
    print("| cell | number | committed | repeated | overlap | difference, paired |")
    print("|" + "---|" * 6)
    for where, record in cells(second).items():
        for row in numbers(record) if where in known else ():
            other = known[where].measurement(row.name.partition("@")[0])
            if other is None:
                continue
            overlap = bool(row.low <= other.high and other.low <= row.high)
            terms = [
                run.influences.get(influences.key(each.cell, row.name))
                for run, each in ((second, record), (first, known[where]))
            ]
            difference = "no influences"
            if all(each is not None for each in terms):
                moved = np.subtract(*terms)
                change = row.value - other.value
                # None of images that are the same to the last digit.
                low, high = (change if x is None else x for x in estimates.interval(change, moved))
                difference = f"{change:+.2f} [{low:+.2f}, {high:+.2f}]"
                paired, equal = paired + 1, equal + bool(low <= 0 <= high)
            count, overlapping = count + 1, overlapping + overlap
            name = f"{record.cell.checkpoint.name} {record.cell.scheme}"
            cells_ = [name, row.name, text(other), text(row), "yes" if overlap else "no"]
            print("| " + " | ".join([*cells_, difference]) + " |")
    print(
        f"\n{overlapping} of {count} pairs of intervals overlap; {equal} of {paired} paired "
        "differences hold 0."
    )


if __name__ == "__main__":
    main()

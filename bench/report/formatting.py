"""Numbers and tables as Markdown text: digits that fit the interval, padded columns, escapes.

Digits are decided for a whole column: two significant digits of the typical half width of its
intervals, or four of the typical value where there are no intervals.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from bench.core import printable
from bench.core.estimates import Estimate
from bench.core.record import Measurement
from bench.report.rows import interval, unmoved
from bench.verdicts.findings import EXACT

NONE = "–"
MOST_PLACES = 9
# With fewer images no number has an interval.
LEAST = 3


def decimal_places(measurements: Iterable[Measurement | None]) -> int:
    """Decimals that a column of measurements is printed with."""
    present = [m for m in measurements if m is not None and math.isfinite(m.value)]
    widths = [(ends[1] - ends[0]) / 2 for m in present if (ends := interval(m))]
    widths = [width for width in widths if width > 0]
    values = [abs(m.value) for m in present if m.value]
    if widths:
        significant, typical = 2, statistics.median(widths)
    elif values:
        significant, typical = 4, statistics.median(values)
    else:
        return 2
    return min(max(significant - 1 - math.floor(math.log10(typical)), 0), MOST_PLACES)


def number(value: float, decimals: int, signed: bool = False) -> str:
    """A number with a fixed count of decimals; undefined and infinite ones in words."""
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    if round(value, decimals) == 0:
        return f"{0:.{decimals}f}"
    return f"{value:{'+' if signed else ''}.{decimals}f}"


def measured(
    measurement: Measurement | None, decimals: int, signed: bool = False, unit: str = ""
) -> str:
    """A value and its unit, with the 95% interval in brackets where there is one."""
    if measurement is None:
        return NONE
    ends = interval(measurement)
    while ends and decimals < MOST_PLACES and len({number(end, decimals) for end in ends}) < 2:
        # Ends that are printed alike would look like certainty.
        decimals += 1
    text = f"{number(measurement.value, decimals, signed)} {escape(unit)}".rstrip()
    if ends:
        text += f" [{number(ends[0], decimals, signed)}, {number(ends[1], decimals, signed)}]"
    return text + without_interval(measurement)


def without_interval(measurement: Measurement) -> str:
    """A note on a number whose images are all alike, "" for other numbers."""
    if unmoved(measurement) and measurement.n >= LEAST:
        return f", no change seen in {measurement.n} images"
    if _equal(measurement):
        return f", equal in all {measurement.n} images"
    if measurement.low is not None and measurement.low == measurement.high:
        return f", all {measurement.n} images alike"
    return ""


def _equal(measurement: Measurement) -> bool:
    """Whether a number of pairs says that all of them are equal, so that there is no interval:
    a difference of 0, a likeness of 1, a score or PSNR of 100.
    """
    if not measurement.paired or measurement.name.startswith("delta_") or interval(measurement):
        return False
    if measurement.better == "lower":
        return measurement.value == 0
    return measurement.value == 1 or EXACT <= measurement.value < math.inf


def estimated(estimate: Estimate, decimals: int) -> str:
    """A difference with its 95% interval; without one where nothing varied."""
    low, high = estimate.interval()
    values = [number(value, decimals, signed=True) for value in (estimate.value, low, high)]
    if estimate.error == 0:
        return f"{values[0]}, no scatter"
    while decimals < MOST_PLACES and values[1] == values[2]:
        decimals += 1
        values = [number(value, decimals, signed=True) for value in (estimate.value, low, high)]
    return f"{values[0]} [{values[1]}, {values[2]}]"


def significant(value: float, signed: bool = False) -> str:
    """A number in three significant digits, whose 0 has no sign."""
    # Adding 0 takes the sign from -0.
    return f"{value + 0.0:{'+' if signed and value else ''}.3g}"


def percent(share: float | None) -> str:
    """A share of 0..1 as percent, rounded down so that only the whole reads 100.0%."""
    # A damaged share may be NaN or overflow.
    if share is None or not abs(share) < 1e9:
        return NONE
    # The small addend keeps 0.29 * 1000 = 290.00000000000006 and 0.57 * 1000 = 569.99... whole.
    return f"{math.floor(share * 1000 + 1e-6) / 10:.1f}%"


def size(count: int) -> str:
    """Bytes in MB (10^6 bytes), or kB below one."""
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def escape(text: str) -> str:
    """Text of unknown content on one line, with the marks of Markdown and HTML escaped."""
    return printable.markdown(text)


def table(header: Sequence[str], lines: Iterable[Sequence[str]], left: int) -> list[str]:
    """A Markdown table of padded columns; those from index `left` on are right-aligned.

    The cells are Markdown already: text of unknown content must have gone through `escape`.
    """
    body = [list(header), *(list(line) for line in lines)]
    widths = [max(3, *(len(line[k]) for line in body)) for k in range(len(header))]

    def join(line: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if k < left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return f"| {' | '.join(cells)} |"

    rule = ["-" * width if k < left else "-" * (width - 1) + ":" for k, width in enumerate(widths)]
    return [join(body[0]), join(rule), *(join(line) for line in body[1:])]

"""What bits of their own for each layer bring over equal bits: a table of the page of probes."""

from __future__ import annotations

from bench.core.probe_record import ProbeRun, ProbeValue
from bench.report.formatting import NONE, escape, significant, table

LEGEND = (
    "Mean squared change of the network's prediction on inputs of its own sampling, with all "
    "weights rounded at once and activations in float. Layer by layer: of the allocation of least "
    "predicted error whose mean of bits is at most as large (`bench run --scheme 'w~4a8'` runs "
    "it). Same error with: the smallest budget that was tried whose allocation has no more error. "
    "Images are what counts: a smaller change of the prediction need not mean better images."
)
HEADER = (
    "Checkpoint",
    "Scheme",
    "Bits of all layers",
    "Mean bits",
    "Error",
    "Layer by layer, mean bits",
    "Error",
    "Same error with",
)


def lines(probed: ProbeRun) -> list[str]:
    """The table, nothing where nothing was allocated."""
    body = []
    for name in dict.fromkeys(part.checkpoint for part in probed.parts):
        front = sorted(probed.rows(name, "front_measured"), key=lambda row: _bits(row))
        for row in probed.rows(name, "uniform_measured"):
            within = [other for other in front if _bits(other) <= _bits(row)]
            best = within[-1] if within else None
            less = [other for other in front if other.value <= row.value]
            body.append(
                [
                    escape(name),
                    escape(row.scheme),
                    escape(f"{row.where['uniform']}"),
                    f"{_bits(row):.2f}",
                    _cell(row),
                    f"{_bits(best):.2f}" if best else NONE,
                    _cell(best),
                    f"{_bits(less[0]):.2f} bits" if less else NONE,
                ]
            )
    return [*table(list(HEADER), body, left=2), "", LEGEND] if body else []


def _bits(row: ProbeValue) -> float:
    return float(row.where["bits"])


def _cell(row: ProbeValue | None) -> str:
    """An error with its interval."""
    if row is None:
        return NONE
    text = significant(row.value)
    if row.low is not None and row.high is not None and row.low < row.high:
        text += f" [{significant(row.low)}, {significant(row.high)}]"
    return text

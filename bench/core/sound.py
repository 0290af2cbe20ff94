"""Checks that records, runs and probes that are read back make sense beyond their types.

A damaged or edited run.json may hold values of the right types that mean nothing: a cell twice, a
negative N, an interval whose ends are swapped. A record of another setup (a unit or a kernel that
is not known here) passes: the comparison of runs judges that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.core.printable import quoted, short
from bench.core.rounds import VERDICTS

if TYPE_CHECKING:
    from bench.core.probe_record import ProbePart, ProbeRun, ProbeValue
    from bench.core.record import Coverage, Measurement, Record, Run
    from bench.core.rounds import Decided

STATUSES = ("ok", "refused", "failed")
DIRECTIONS = ("lower", "higher")
# Coordinates of a probe's number (`where`) that are numbers, and those each number must have.
NUMBERS = ("radius", "eigenvalue", "t", "band", "rank", "multiple", "from", "to", "budget", "bits")
COORDINATES = {
    "loss_rise": ("direction", "radius"),
    "hessian_density": ("eigenvalue",),
    "gap": ("t",),
    "energy_distance": ("t",),
    "layer_sqnr": ("layer", "band"),
    "layer_psnr": ("layer",),
    "band_psnr": ("from", "to"),
    "skip_macs": ("scheme",),
    "front_predicted": ("budget", "bits"),
    "front_measured": ("budget", "bits"),
    "uniform_predicted": ("uniform", "bits"),
    "uniform_measured": ("uniform", "bits"),
    "layer_bits": ("layer", "budget"),
}


def run(whole: Run) -> None:
    """Check that a run makes sense.

    Raises:
        ValueError: an id that is no name of a folder, or a cell that is there twice.
    """
    name("id", whole.id)
    seen = set()
    for number, each in enumerate(whole.records):
        try:
            record(each)
        except ValueError as error:
            raise ValueError(f"records.{number}: {error}") from None
        if (cell := (str(each.cell), each.cell.draw)) in seen:
            raise ValueError(f"records.{number}: the cell {short(str(each.cell))} is there twice")
        seen.add(cell)


def name(field: str, text: str) -> None:
    """Make sure that a text names a folder within another one.

    Raises:
        ValueError: it is empty, a path, or longer than file systems take.
    """
    parts = {"/", "\\", "\0"} & set(text)
    if parts or text in ("", ".", "..") or len(text.encode()) > 255:
        raise ValueError(f"{field} {short(repr(text))} is no name of a folder")


def record(outcome: Record) -> None:
    """Check that a record makes sense.

    Raises:
        ValueError: an unknown status, a measured cell without coverage, or impossible numbers.
    """
    if outcome.status not in STATUSES:
        raise ValueError(f"status {short(repr(outcome.status))}: {', '.join(STATUSES)} are known")
    if not 0 <= outcome.cell.draw.eta <= 1:
        raise ValueError(f"eta {outcome.cell.draw.eta} is outside of 0 to 1")
    if outcome.cell.scheme.calibration < 1:
        raise ValueError(f"calibration by {outcome.cell.scheme.calibration} trajectories")
    if outcome.coverage:
        coverage(outcome.coverage)
    names = [each.name for each in outcome.measurements]
    for each in outcome.measurements:
        measurement(each)
        if names.count(each.name) > 1:
            raise ValueError(f"{short(each.name)} is measured twice")
    for stage, seconds in outcome.seconds.items():
        if not 0 <= seconds < math.inf:
            raise ValueError(f"{short(stage)} took {seconds} seconds")
    if outcome.rounds and (least := min(outcome.rounds.counts, default=1)) < 1:
        raise ValueError(f"a round of {least} images")
    if outcome.decided:
        decided(outcome.decided)


def decided(outcome: Decided) -> None:
    """Hold what was decided in rounds against itself.

    Raises:
        ValueError: an unknown verdict, a margin or level that is none, or swapped ends.
    """
    if outcome.verdict not in VERDICTS:
        raise ValueError(f"verdict {quoted(outcome.verdict)}: {', '.join(VERDICTS)} are known")
    if min(outcome.counts, default=0) < 1 or outcome.tuned < 1:
        raise ValueError(f"{short(outcome.metric)} was decided at no number of images")
    if not (0 < outcome.level < 1 and 0 <= outcome.margin < math.inf):
        raise ValueError(f"a margin of {outcome.margin} at level {outcome.level}")
    if outcome.low is not None and outcome.high is not None and outcome.low > outcome.high:
        raise ValueError(f"{short(outcome.metric)}: the sequence ends before it begins")


def measurement(number: Measurement) -> None:
    """Check that a measurement makes sense.

    Raises:
        ValueError: a direction that is none, a negative N or version, or swapped ends.
    """
    label = short(number.name) or "a measurement without a name"
    if number.better not in DIRECTIONS:
        raise ValueError(f"{label}: better must be lower or higher, not {quoted(number.better)}")
    if number.n < 0 or number.version < 0:
        raise ValueError(f"{label}: N = {number.n}, version {number.version}")
    if number.low is not None and number.high is not None and number.low > number.high:
        raise ValueError(f"{label}: the interval ends before it begins")


def coverage(covered: Coverage) -> None:
    """Check that a coverage makes sense.

    Raises:
        ValueError: negative counts, more quantized than there is, or an agreement that is none.
    """
    counts: Mapping[str, int] = {
        **{f"macs of {bits}": count for bits, count in covered.macs_by_bits.items()},
        **{f"macs of {kernel}": count for kernel, count in covered.macs_by_kernel.items()},
        **{f"macs of layer {layer.name}": layer.macs for layer in covered.layers},
        **{f"weights of layer {layer.name}": layer.weights for layer in covered.layers},
        **{
            f: getattr(covered, f)
            for f in ("macs", "macs_quantized", "params", "params_quantized")
        },
        **{f: getattr(covered, f) for f in ("bytes", "bytes_stored", "bytes_memory")},
    }
    for label, count in counts.items():
        if count < 0:
            raise ValueError(f"coverage: {short(label)} is {count}")
    if covered.macs_quantized > covered.macs or covered.params_quantized > covered.params:
        raise ValueError("coverage: more is quantized than there is")
    if covered.agreement and not 0 <= covered.agreement.codes <= 1:
        raise ValueError(f"coverage: {covered.agreement.codes} as a share of codes")


def probe_run(probed: ProbeRun) -> None:
    """Check that the outcome of an invocation of probes makes sense.

    Raises:
        ValueError: as for `part`.
    """
    for number, each in enumerate(probed.parts):
        try:
            part(each)
        except ValueError as error:
            raise ValueError(f"parts.{number}: {error}") from None


def part(outcome: ProbePart) -> None:
    """Check that a part of a probe makes sense.

    Raises:
        ValueError: an unknown status, or a row that lacks what it must say.
    """
    if outcome.status not in STATUSES:
        raise ValueError(f"status {short(repr(outcome.status))}: {', '.join(STATUSES)} are known")
    if not 0 <= outcome.seconds < math.inf:
        raise ValueError(f"it took {outcome.seconds} seconds")
    for each in outcome.rows:
        _row(each)


def _row(row: ProbeValue) -> None:
    label = short(row.name) or "a row without a name"
    for coordinate in COORDINATES.get(row.name, ()):
        if coordinate not in row.where:
            raise ValueError(f"{label}: where lacks {coordinate}")
    for coordinate in NUMBERS:
        value = row.where.get(coordinate, 0)
        if isinstance(value, str) or not math.isfinite(value):
            raise ValueError(f"{label}: {coordinate} must be a number, not {short(repr(value))}")
    if not float(row.where.get("band", 0)).is_integer():
        raise ValueError(f"{label}: band {row.where['band']}")
    if row.n < 0:
        raise ValueError(f"{label}: N = {row.n}")
    if row.low is not None and row.high is not None and row.low > row.high:
        raise ValueError(f"{label}: the interval ends before it begins")

"""What a record must hold beyond the types of its fields: that it can have happened.

A damaged or edited run.json may hold values of the right types that mean nothing: a cell twice, a
negative N, an interval whose ends are swapped. What is merely another setup (a unit, a direction,
a kernel that is not known here) is sound: comparing is where that is judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.core.printable import quoted, short
from bench.core.rounds import VERDICTS

if TYPE_CHECKING:
    from bench.core.probe_record import Explanation, Part, Row
    from bench.core.record import Coverage, Measurement, Record, Run
    from bench.core.rounds import Decided

STATUSES = ("ok", "refused", "failed")
DIRECTIONS = ("lower", "higher")
# Where a probe's number was measured: which coordinates are numbers, and which it must have.
NUMBERS = ("radius", "eigenvalue", "t", "band", "rank", "multiple", "from", "to")
COORDINATES = {
    "loss_rise": ("direction", "radius"),
    "hessian_density": ("eigenvalue",),
    "gap": ("t",),
    "energy_distance": ("t",),
    "layer_sqnr": ("layer", "band"),
    "layer_psnr": ("layer",),
    "band_psnr": ("from", "to"),
    "skip_macs": ("scheme",),
}


def run(found: Run) -> None:
    """Hold a run against itself.

    Raises:
        ValueError: an id that is no name of a folder, or a cell that is there twice.
    """
    name("id", found.id)
    seen = set()
    for number, each in enumerate(found.records):
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


def record(found: Record) -> None:
    """Hold a record against itself.

    Raises:
        ValueError: an unknown status, a measured cell without coverage, or impossible numbers.
    """
    if found.status not in STATUSES:
        raise ValueError(f"status {short(repr(found.status))}: {', '.join(STATUSES)} are known")
    if not 0 <= found.cell.draw.eta <= 1:
        raise ValueError(f"eta {found.cell.draw.eta} is outside of 0 to 1")
    if found.cell.scheme.calibration < 1:
        raise ValueError(f"calibration by {found.cell.scheme.calibration} trajectories")
    if found.coverage:
        coverage(found.coverage)
    names = [each.name for each in found.measurements]
    for each in found.measurements:
        measurement(each)
        if names.count(each.name) > 1:
            raise ValueError(f"{short(each.name)} is measured twice")
    for stage, seconds in found.seconds.items():
        if not 0 <= seconds < math.inf:
            raise ValueError(f"{short(stage)} took {seconds} seconds")
    if found.rounds and (least := min(found.rounds.counts, default=1)) < 1:
        raise ValueError(f"a round of {least} images")
    if found.decided:
        decided(found.decided)


def decided(found: Decided) -> None:
    """Hold what was decided in rounds against itself.

    Raises:
        ValueError: an unknown verdict, a margin or level that is none, or swapped ends.
    """
    if found.verdict not in VERDICTS:
        raise ValueError(f"verdict {quoted(found.verdict)}: {', '.join(VERDICTS)} are known")
    if min(found.counts, default=0) < 1 or found.tuned < 1:
        raise ValueError(f"{short(found.metric)} was decided at no number of images")
    if not (0 < found.level < 1 and 0 <= found.margin < math.inf):
        raise ValueError(f"a margin of {found.margin} at level {found.level}")
    if found.low is not None and found.high is not None and found.low > found.high:
        raise ValueError(f"{short(found.metric)}: the sequence ends before it begins")


def measurement(found: Measurement) -> None:
    """Hold a measurement against itself.

    Raises:
        ValueError: a direction that is none, a negative N or version, or swapped ends.
    """
    label = short(found.name) or "a measurement without a name"
    if found.better not in DIRECTIONS:
        raise ValueError(f"{label}: better must be lower or higher, not {quoted(found.better)}")
    if found.n < 0 or found.version < 0:
        raise ValueError(f"{label}: N = {found.n}, version {found.version}")
    if found.low is not None and found.high is not None and found.low > found.high:
        raise ValueError(f"{label}: the interval ends before it begins")


def coverage(found: Coverage) -> None:
    """Hold a coverage against itself.

    Raises:
        ValueError: negative counts, more quantized than there is, or an agreement that is none.
    """
    counts: Mapping[str, int] = {
        **{f"macs of {bits}": count for bits, count in found.macs_by_bits.items()},
        **{f"macs of {kernel}": count for kernel, count in found.macs_by_kernel.items()},
        **{f"macs of layer {layer.name}": layer.macs for layer in found.layers},
        **{f"weights of layer {layer.name}": layer.weights for layer in found.layers},
        **{f: getattr(found, f) for f in ("macs", "macs_quantized", "params", "params_quantized")},
        **{f: getattr(found, f) for f in ("bytes", "bytes_stored", "bytes_memory")},
    }
    for label, count in counts.items():
        if count < 0:
            raise ValueError(f"coverage: {short(label)} is {count}")
    if found.macs_quantized > found.macs or found.params_quantized > found.params:
        raise ValueError("coverage: more is quantized than there is")
    if found.agreement and not 0 <= found.agreement.codes <= 1:
        raise ValueError(f"coverage: {found.agreement.codes} as a share of codes")


def explanation(found: Explanation) -> None:
    """Hold what the probes found against itself.

    Raises:
        ValueError: as for `part`.
    """
    for number, each in enumerate(found.parts):
        try:
            part(each)
        except ValueError as error:
            raise ValueError(f"parts.{number}: {error}") from None


def part(found: Part) -> None:
    """Hold a part of a probe against itself.

    Raises:
        ValueError: an unknown status, or a row that lacks what it must say.
    """
    if found.status not in STATUSES:
        raise ValueError(f"status {short(repr(found.status))}: {', '.join(STATUSES)} are known")
    if not 0 <= found.seconds < math.inf:
        raise ValueError(f"it took {found.seconds} seconds")
    for each in found.rows:
        _row(each)


def _row(found: Row) -> None:
    label = short(found.name) or "a row without a name"
    for coordinate in COORDINATES.get(found.name, ()):
        if coordinate not in found.where:
            raise ValueError(f"{label}: where lacks {coordinate}")
    for coordinate in NUMBERS:
        value = found.where.get(coordinate, 0)
        if isinstance(value, str) or not math.isfinite(value):
            raise ValueError(f"{label}: {coordinate} must be a number, not {short(repr(value))}")
    if not float(found.where.get("band", 0)).is_integer():
        raise ValueError(f"{label}: band {found.where['band']}")
    if found.n < 0:
        raise ValueError(f"{label}: N = {found.n}")
    if found.low is not None and found.high is not None and found.low > found.high:
        raise ValueError(f"{label}: the interval ends before it begins")

"""The quantized cells of many runs as lines of one table, and what is suspicious about each.

Numbers of one protocol compare. The protocol of most lines on a data set is the one that is read;
lines of another one stay, flagged, because leaving them out would hide them. Of a cell that
several runs measured in the same way the newest line is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.core.record import Run
from bench.report.rows import CellRow, interval, rows, unmoved
from bench.report.verdict import UNKNOWN, verdicts
from bench.system.influences import Influences
from bench.verdicts import unchanged

# Less of the multiply-accumulates than this is flagged; so is a worse agreement, in dB.
LEAST_SHARE = 0.9
LEAST_AGREEMENT = 20.0
OTHER, LOW, UNCOVERED, APART, INERT, OPEN_ENDED, UNMEASURED = FLAGS = (
    "other protocol",
    "low coverage",
    "coverage unknown",
    "kernels disagree",
    "not quantized",
    "no interval",
    "not measured",
)
Protocol = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Line:
    """A quantized cell of a run.

    Attributes:
        run: id of the run.
        created: when that was made, ISO 8601.
        word: the verdict of the run's report, "harmed" and so on.
        protocol: (name, value) of all that must be equal for numbers to compare.
        flags: some of FLAGS, in their order.
        times: how many runs measured the cell by this protocol.
    """

    run: str
    created: str
    row: CellRow
    word: str
    protocol: Protocol
    flags: tuple[str, ...] = ()
    times: int = 1

    @property
    def is_main(self) -> bool:
        """Whether it compares with most lines of its data set, and was measured."""
        return OTHER not in self.flags and UNMEASURED not in self.flags

    @property
    def dataset(self) -> str:
        """The data set that it is scored against."""
        return self.row.cell.checkpoint.dataset


def lines(runs: Sequence[tuple[Run, Influences]]) -> list[Line]:
    """All lines: by data set, those of its main protocol first, then by scheme and harm."""
    newest: dict[tuple[object, ...], Line] = {}
    for run, terms in sorted(runs, key=lambda pair: pair[0].created):
        for line in _of_run(run, terms):
            former = newest.get(_key(line))
            times = former.times + 1 if former else 1
            newest[_key(line)] = replace(line, times=times)
    main = _main_protocols(list(newest.values()))
    found = [_flagged(line, main[line.dataset]) for line in newest.values()]
    return sorted(found, key=_order)


def protocols(found: Sequence[Line]) -> dict[str, dict[Protocol, str]]:
    """A letter for each protocol that was measured on a data set: A is the main one."""
    named: dict[str, dict[Protocol, str]] = {}
    for dataset, main in _main_protocols(found).items():
        measured = [line for line in found if line.row.ok and line.dataset == dataset]
        others = {line.protocol: None for line in measured}
        ordered = sorted(others, key=lambda protocol: protocol != main)
        named[dataset] = {protocol: _letter(k) for k, protocol in enumerate(ordered)}
    return named


def differences(protocol: Protocol, main: Protocol) -> str:
    """What of a protocol is not as in the main one, in words."""
    wanted = dict(main)
    return ", ".join(f"{name} {value}" for name, value in protocol if wanted.get(name) != value)


def changes(found: Sequence[Line]) -> dict[tuple[str, str, str], dict[str, list[float]]]:
    """The changes of KD of all unflagged lines, by (family, scheme, backend) and method of
    training: what else differs between them is the seed."""
    table: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for line in found:
        if line.flags or line.row.kd_change is None:
            continue
        methods = table.setdefault((line.row.family, line.row.scheme.label, line.row.backend), {})
        methods.setdefault(line.row.method, []).append(line.row.kd_change.value)
    return table


def _of_run(run: Run, terms: Influences) -> list[Line]:
    all_rows = rows(run)
    words = {
        id(judged.row.record): judged.word
        for verdict in verdicts(all_rows, terms)
        for judged in verdict.judged
    }
    return [
        Line(run.id, run.created, row, words.get(id(row.record), UNKNOWN), _protocol(row))
        for row in all_rows
        if not row.scheme.is_float
    ]


def _protocol(row: CellRow) -> Protocol:
    draw, record = row.cell.draw, row.record
    versions = {m.name.split("@")[0]: m.version for m in record.measurements}
    told: dict[str, object] = {"images": draw.images}
    if record.elsewhere is None:
        told |= {"sampler": draw.sampler, "steps": draw.steps, "spacing": draw.spacing}
        told |= {"seed": draw.seed, "eta": draw.eta, "guidance": draw.guidance}
        told |= {"guided": f"{draw.guided_from:g} to {draw.guided_to:g}", "dtype": draw.dtype}
    told |= {"extractor": row.extractor, "real images": row.cell.real}
    told |= {f"version of {n}": v for n, v in sorted(versions.items()) if n.startswith("delta_")}
    return tuple((name, str(value)) for name, value in told.items())


def _key(line: Line) -> tuple[object, ...]:
    card = line.row.cell.checkpoint
    content = card.sha256 or line.row.checkpoint
    protocol = line.protocol if line.row.ok else ()
    return card.name, content, str(line.row.cell.scheme), line.row.backend, protocol


def _main_protocols(found: Sequence[Line]) -> Mapping[str, Protocol]:
    """The protocol of most measured lines by data set; of equally many the newest."""
    main = {}
    for dataset in dict.fromkeys(line.dataset for line in found):
        there = [line for line in found if line.dataset == dataset]
        counts = Counter(line.protocol for line in there if line.row.ok)
        counts = counts or Counter(line.protocol for line in there)
        latest = {line.protocol: line.created for line in sorted(there, key=lambda x: x.created)}
        main[dataset] = max(counts, key=lambda p: (counts[p], latest[p]))
    return main


def _flagged(line: Line, main: Protocol) -> Line:
    row = line.row
    if not row.ok:
        return replace(line, flags=(UNMEASURED,))
    agreement = row.record.coverage.agreement if row.record.coverage else None
    changes = [change for change in (row.kd_change, row.fd_change) if change]
    raised = {
        OTHER: line.protocol != main,
        LOW: row.share is not None and row.share < LEAST_SHARE,
        UNCOVERED: row.share is None,
        APART: agreement is not None and not agreement.sqnr >= LEAST_AGREEMENT,
        INERT: bool(unchanged.told(row.record)),
        OPEN_ENDED: any(interval(m) is None and not unmoved(m) for m in changes),
    }
    return replace(line, flags=tuple(flag for flag in FLAGS if raised.get(flag)))


def _letter(k: int) -> str:
    return chr(65 + k) if k < 26 else f"{chr(64 + k // 26)}{chr(65 + k % 26)}"


def _order(line: Line) -> tuple[object, ...]:
    row = line.row
    harm = row.kd_change or row.fd_change
    # A damaged number may be NaN, which has no order.
    size = harm.value if harm and harm.value == harm.value else float("inf")
    bits = -row.scheme.mean_bits, -row.scheme.act_bits
    return line.dataset, not line.is_main, not row.ok, bits, str(row.scheme), size, row.checkpoint

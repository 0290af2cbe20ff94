"""Which methods changed the calibrated graph of a scheme, as lines of a report's protocol.

These are methods of quantization, `w4a8+bias`; what a checkpoint was trained by is another thing.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.extensions import plain
from bench.core.record import Record
from bench.report.rows import CellRow


def lines(all_rows: Sequence[CellRow]) -> list[list[str]]:
    """(setting, value) of each scheme with methods, which the value has in their order, each with
    its version and the package that it is of or the hash of its file, as the run recorded them."""
    told: dict[str, str] = {}
    said: dict[str, dict[str, None]] = {}
    for row in all_rows:
        if row.ok and not row.scheme.methods and row.record.coverage:
            for name, text in row.record.coverage.told.items():
                told[f"How {row.checkpoint} {row.scheme} was rounded, {name}"] = text
        if row.ok and row.scheme.methods:
            setting = f"Quantization methods, {row.scheme}"
            told[setting] = ", then ".join(_words(row.record))
            covered = row.record.coverage
            for name, text in (covered.told if covered else {}).items():
                said.setdefault(setting, {})[f"{row.checkpoint}, {name}: {text}"] = None
    return [[setting, ". ".join([told[setting], *said.get(setting, ())])] for setting in told]


def _words(record: Record) -> list[str]:
    scheme, versions = record.cell.scheme, record.host.versions
    told = []
    for name, written in zip(scheme.methods, scheme.method_names, strict=True):
        version = versions.get(f"methods {plain(name)} version", "")
        package = versions.get(f"methods {plain(name)} package", "bench" if version else "")
        content = versions.get(f"methods {plain(name)} sha256", "")
        words = [written, f"v{version}" if version else "", f"of {package}" if package else ""]
        words.append(f"SHA-256 {content[:8]}" if content else "")
        told.append(" ".join(filter(None, words)))
    return told

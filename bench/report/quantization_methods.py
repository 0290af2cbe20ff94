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
    its version and the package that it is of, as the run recorded them."""
    told = {}
    for row in all_rows:
        if row.ok and row.scheme.methods:
            told[f"Quantization methods, {row.scheme}"] = ", then ".join(_words(row.record))
    return [[setting, value] for setting, value in told.items()]


def _words(record: Record) -> list[str]:
    scheme, versions = record.cell.scheme, record.host.versions
    told = []
    for name, written in zip(scheme.methods, scheme.method_names, strict=True):
        version = versions.get(f"methods {plain(name)} version", "")
        package = versions.get(f"methods {plain(name)} package", "bench" if version else "")
        words = [written, f"v{version}" if version else "", f"of {package}" if package else ""]
        told.append(" ".join(filter(None, words)))
    return told

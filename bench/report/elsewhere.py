"""The parts of a report that differ where bench did not make the images: what was scored, which
sets they are, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.elsewhere import ROW
from bench.core.elsewhere import UNKNOWN as NO_DATA
from bench.report.formatting import escape, percent, table
from bench.report.rows import UNKNOWN, CellRow
from bench.verdicts import unchanged


def is_elsewhere(all_rows: Sequence[CellRow]) -> bool:
    """Whether the images of a run were made elsewhere."""
    return any(row.record.elsewhere for row in all_rows)


def summary(all_rows: Sequence[CellRow]) -> str:
    """What was scored, in a paragraph."""
    tests = [row.checkpoint for row in all_rows if row.reference]
    names = ", ".join(row.checkpoint for row in all_rows if not row.reference)
    return (
        f"{ROW.capitalize()}: {escape(', '.join(tests))} against {escape(names)}, "
        f"{all_rows[0].images:,} pairs by name. Which share of a network is quantized (coverage) "
        f"and which kernels executed is not known here: it is what the user says."
    )


def protocol(all_rows: Sequence[CellRow]) -> list[list[str]]:
    """(setting, value) of the sets of images."""
    first = next(row.record.elsewhere for row in all_rows if row.record.elsewhere)
    sizes = ", ".join(f"{count:,} of {size}" for size, count in first.sizes.items())
    lines = [["Images", f"{ROW}, {all_rows[0].images:,} pairs by name: {sizes}"]]
    for reason, count in first.left_out.items():
        names = ", ".join(first.examples.get(reason, ()))
        more = ", ..." if count > len(first.examples.get(reason, ())) else ""
        lines.append([f"Left out, {reason}", f"{count:,}: {names}{more}"])
    for row in all_rows:
        if (own := row.record.elsewhere) and own.kernel:
            lines.append([f"Kernel of {row.checkpoint}, as stated", own.kernel])
    lines += [["Note", first.note]] if first.note else []
    real = all_rows[0].cell.checkpoint.dataset
    lines.append(["Real images of", "none were named" if real == NO_DATA else real])
    return lines


def sets(all_rows: Sequence[CellRow]) -> list[str]:
    """A table of the sets of images."""
    lines = []
    for row in all_rows:
        if own := row.record.elsewhere:
            what = "test" if row.reference else "reference"
            what = "noise floor" if row.cell.is_floor else what
            lines.append([escape(row.checkpoint), what, f"{row.images:,}", own.sha256[:12]])
    return table(["Images", "Taken as", "N", "Names and pixels (SHA-256)"], lines, left=2)


def coverage(all_rows: Sequence[CellRow]) -> list[str]:
    """That it is not known."""
    said = [
        f"{escape(row.checkpoint)} is said to have run by {escape(own.kernel)}."
        for row in all_rows
        if (own := row.record.elsewhere) and own.kernel
    ]
    return [" ".join(["Unknown: bench did not execute the network.", *said])]


def base(all_rows: Sequence[CellRow], otherwise: str) -> str:
    """What images are held against; `otherwise` where bench made them."""
    return worded(all_rows, otherwise, "the reference, pair by pair")


def worded(all_rows: Sequence[CellRow], here: str, there: str) -> str:
    """The words for images that bench made, or those for images from elsewhere."""
    return there if is_elsewhere(all_rows) else here


def pairs(all_rows: Sequence[CellRow]) -> str:
    """What paired numbers compare with what."""
    return worded(
        all_rows,
        "quantized images with the full-precision images of the same checkpoint and noise",
        "the images of a test with those of the reference, pair by pair",
    )


def share(row: CellRow) -> str:
    """The quantized share of the network, as a table has it."""
    return UNKNOWN if row.record.elsewhere else percent(row.share)


def scheme(row: CellRow) -> str:
    """The scheme, as a table has it."""
    return "reference" if row.record.elsewhere and not row.reference else row.scheme.label


def unchanged_images(all_rows: Sequence[CellRow]) -> list[str]:
    """Which rows have images that equal those of full precision, of a run of any kind."""
    return [
        f"- **{escape(f'{row.checkpoint} {row.scheme} {row.backend}')}**: {text}."
        for row in all_rows
        if (text := unchanged.told(row.record))
    ]

"""Images that equal those of full precision bit for bit: what was quantized did not act on them.

A quantizer that does nothing loses nothing. No number tells it from a perfect one, so it is said.
Quantization moves every image by a level somewhere; below SHARE equal images are taken for chance,
as small pictures with a black ground may round to the same ones.
"""

from __future__ import annotations

from bench.core.record import Record

SHARE = 0.1


def told(record: Record) -> str:
    """What there is to say of a record, "" for nothing or where it was not counted."""
    count, images = record.equal, record.cell.draw.images
    # That the floor moves nothing is what it is there to say.
    if record.cell.is_floor:
        return ""
    if count is None or record.status != "ok" or count < SHARE * images or not count:
        return ""
    if count == images:
        return (
            f"all {images:,} images equal those in full precision bit for bit: what should be "
            f"quantized was not, or the same images were taken twice"
        )
    return (
        f"{count:,} of {images:,} images ({count / images:.0%}) equal those in full precision bit "
        f"for bit: quantization did not act on them"
    )

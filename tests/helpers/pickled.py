"""Pickles of others: batches as Python 2 wrote them, and one that calls what it likes."""

from __future__ import annotations

import struct


def python2_batch(pixels, kind=b"u1"):
    """A batch as Python 2 and its cPickle wrote it: protocol 2, all text as byte strings."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    rows, columns = pixels.shape
    raw = pixels.tobytes()
    return b"".join(
        [
            b"\x80\x02}q\x01(",
            text(b"batch_label"), b"q\x02", text(b"training batch 1 of 5"), b"q\x03",
            text(b"labels"), b"q\x04]q\x05(", b"K\x06" * rows, b"e",
            text(b"data"), b"q\x06",
            b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08",
            b"K\x00\x85", text(b"b"), b"\x87Rq\x09(K\x01",
            b"M" + struct.pack("<H", rows) + b"M" + struct.pack("<H", columns) + b"\x86",
            b"cnumpy\ndtype\nq\x0a", text(kind), b"K\x00K\x01\x87Rq\x0b(K\x03", text(b"|"),
            b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89",
            b"T" + struct.pack("<I", len(raw)) + raw + b"tb",
            text(b"filenames"), b"q\x0c]q\x0d(", (text(b"a.png") + b"q\x0e") * rows, b"eu.",
        ]
    )  # fmt: skip


class Bomb:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call

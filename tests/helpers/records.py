"""A cell, a record and a run, as small as they can be."""

from __future__ import annotations

from bench.core.cell import Cell, Checkpoint, Draw
from bench.core.record import Coverage, Host, Measurement, Record, Run
from bench.core.scheme import Scheme

CHECKPOINT = Checkpoint(
    "a", "f", "baseline", "safetensors", "a.safetensors", "00", "fashion-mnist"
)
CELL = Cell(CHECKPOINT, Scheme.parse("w4a8"), "simulated", Draw())
COVERAGE = Coverage(100, 90, 10, 9, 40, "simulated", {"w4a8": 90}, (("attention", "no weights"),))
MEASUREMENT = Measurement("psnr@5", 30.0, 29.0, 31.0, 5, "dB", "higher", 1, paired=True)
HOST = Host("box", "cpu", "avx2", 2, {"torch": "2"})
RECORD = Record(CELL, HOST, "ok", COVERAGE, (MEASUREMENT,), {"sample": 1.0}, "abc")
RUN = Run("id", "2026-01-01", "abc", False, "bench run", (RECORD,))

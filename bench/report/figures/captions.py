"""The captions of a run's figures, by their file names."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report import elsewhere
from bench.report.rows import CellRow

FIGURES = {
    "loss_by_training.png": "Quality loss of each training method: mean and spread",
    "loss_by_bits.png": "Quality loss against bit widths",
    "loss_by_scheme.png": "What methods of quantization leave of the loss",
    "loss_by_method.png": "Quality loss of each checkpoint under each scheme",
    "grid.png": "The same images in full precision and quantized",
}


def captions(all_rows: Sequence[CellRow]) -> dict[str, str]:
    """What stands below each figure of a run."""
    same = elsewhere.worded(all_rows, FIGURES["grid.png"], "The same images of all sets")
    return {**FIGURES, "grid.png": same}

"""The captions of a run's figures, by their file names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.report import elsewhere
from bench.report.figures import grid, pages
from bench.report.rows import CellRow

FIGURES = {
    "loss_by_training": "Quality loss of each training method: mean and spread",
    "loss_by_bits": "Quality loss against bit widths",
    "loss_by_scheme": "What methods of quantization leave of the loss",
    "loss_by_method": "Quality loss of each checkpoint under each scheme",
    "grid": "The same images in full precision and quantized",
}


def captions(all_rows: Sequence[CellRow], folder: Path) -> dict[str, str]:
    """What stands below each figure of a run that is in `folder`/figures."""
    same = elsewhere.worded(all_rows, FIGURES["grid"], "The same images of all sets")
    told = {**FIGURES, "grid": f"{same}{grid.selection(all_rows, folder / 'samples')}"}
    found = {}
    for stem, caption in told.items():
        there = pages.written(folder / "figures", stem)
        for page, path in enumerate(there, 1):
            found[path.name] = f"{caption} ({page} of {len(there)})" if there[1:] else caption
    return found

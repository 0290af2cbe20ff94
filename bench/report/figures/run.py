"""The figures of a run: loss against bits, loss against method, and sample images side by side.

The figures use matplotlib's objects with the Agg canvas: no window, no global state. Colours are
of the Okabe-Ito palette, told apart with any colour vision; marks repeat what colours say. Methods
keep their colour in every run (`drawing`). A figure that would be too high is cut into pages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.record import Run
from bench.report.figures import grid, pages
from bench.report.figures.bits import loss_by_bits
from bench.report.figures.checkpoints import loss_by_method
from bench.report.figures.drawing import save
from bench.report.figures.schemes import loss_by_scheme
from bench.report.figures.trainings import loss_by_training
from bench.report.rows import CellRow, rows
from bench.system import store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAKERS: Mapping[str, Callable[[Sequence[CellRow]], list[Figure] | Figure | None]] = {
    "loss_by_training": loss_by_training,
    "loss_by_bits": loss_by_bits,
    "loss_by_scheme": loss_by_scheme,
    "loss_by_method": loss_by_method,
}


def draw(run: Run, folder: Path) -> list[Path]:
    """Write the figures that the run has data for to `folder`/figures; remove all others."""
    all_rows = rows(run)
    target = folder / "figures"
    drawn = []
    for stem, make in MAKERS.items():
        made = make(all_rows)
        for page, figure in enumerate(made if isinstance(made, list) else [made] if made else []):
            drawn.append(save(figure, target / pages.name(stem, page)))
    if picture := grid.draw(all_rows, folder / "samples"):
        with store.atomic(target / "grid.png") as temporary:
            temporary.write_bytes(picture)
        drawn.append(target / "grid.png")
    for old in (path for stem in (*MAKERS, "grid") for path in pages.written(target, stem)):
        if old not in drawn:
            old.unlink(missing_ok=True)
    return drawn

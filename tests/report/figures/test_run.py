"""Figures exist, show something, stay small, and cope with gaps."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import canned_run
from PIL import Image

from bench import report
from bench.report.figures import grid, history
from bench.report.figures.bits import loss_by_bits
from bench.report.figures.checkpoints import loss_by_method
from bench.report.figures.drawing import STYLES, styles
from bench.report.rows import rows
from bench.system.runs import sample_name, save_strip

ALL = {"loss_by_bits.png", "loss_by_method.png", "grid.png"}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"), dtype=float)


@pytest.mark.parametrize("texts", [("w8a8", "w4a8"), ("w4a8",)])
@pytest.mark.parametrize("channels", [1, 3])
def test_all_are_drawn_not_blank_and_small(tmp_path, texts, channels):
    run = canned_run.run(*texts)
    canned_run.write_samples(run, tmp_path, channels)
    drawn = report.draw(run, tmp_path)
    assert {path.name for path in drawn} == ALL
    for path in drawn:
        assert pixels(path).var() > 50
        assert path.stat().st_size < 150_000


def test_no_temporary_file_is_left(run, folder):
    report.draw(run, folder)
    assert {path.name for path in (folder / "figures").iterdir()} == ALL


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite(run, folder, value):
    def broken(m):
        return replace(m, value=value, low=None, high=None)

    assert len(report.draw(canned_run.with_measurements(run, broken), folder)) == 3


def test_missing_or_damaged_strips_leave_their_row_out(run, folder):
    full = report.draw(run, folder)[-1]
    height = pixels(full).shape[0]
    cells = [r.cell for r in run.records if r.status == "ok"]
    (folder / "samples" / sample_name(cells[0])).unlink()
    (folder / "samples" / sample_name(cells[1])).write_bytes(b"no image")
    assert pixels(report.draw(run, folder)[-1]).shape[0] < height


def test_figures_that_cannot_be_drawn_any_more_are_removed(run, folder):
    report.draw(run, folder)
    for path in (folder / "samples").iterdir():
        path.unlink()
    bad = replace(run, records=tuple(r for r in run.records if r.status != "ok"))
    assert report.draw(bad, folder) == []
    assert list((folder / "figures").iterdir()) == []


def test_grid_holds_the_very_pixels(run, folder):
    picture = np.asarray(Image.open(io.BytesIO(grid.draw(rows(run), folder / "samples"))))
    cell = next(r.cell for r in run.records if str(r.cell) == "fmnist-baseline fp32 float")
    strip = pixels(folder / "samples" / sample_name(cell))[:, :28]
    doubled = np.kron(strip, np.ones((2, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(picture[:100, :300], doubled.shape)
    assert (windows == doubled).all(axis=(2, 3)).any()


@pytest.mark.slow
def test_grid_stays_small_for_large_noisy_images(run, tmp_path):
    noise = np.random.default_rng(0)
    for record in run.records:
        strip = noise.integers(0, 256, (32, 16 * 32, 3), dtype=np.uint8)
        save_strip(tmp_path / "samples" / sample_name(record.cell), strip)
    picture = grid.draw(rows(run), tmp_path / "samples")
    assert Image.open(io.BytesIO(picture)).mode == "RGB"
    assert len(picture) < grid.MOST_BYTES


def test_a_wide_range_of_changes_gets_a_logarithmic_scale(run):
    def wide(m):
        return replace(m, value=m.value * 1000) if m.value == 6.84 else m

    figure = loss_by_bits(rows(canned_run.with_measurements(run, wide)))
    assert figure.axes[1].get_yscale() == "symlog"
    assert figure.axes[1].get_ylim()[1] > 6840
    assert loss_by_bits(rows(run)).axes[1].get_yscale() == "linear"


def test_one_series_for_each_checkpoint_and_one_panel_for_each_scheme(run):
    bits, (methods,) = loss_by_bits(rows(run)), loss_by_method(rows(run))
    _, names = bits.axes[1].get_legend_handles_labels()
    assert names == ["baseline", "ema", "swa", "sam"]
    assert [text.get_text() for text in bits.legends[0].get_texts()] == names
    assert [axes.get_title(loc="left") for axes in methods.axes[::2]] == ["w8a8", "w4a8"]


def test_where_there_is_no_frechet_distance_the_kernel_distance_is_drawn(run):
    """The first extractor may give embeddings, of which no Fréchet distance is taken."""

    def embedded(record):
        kept = [
            replace(m, name=m.name.replace("kd_efficientnet", "cmmd"))
            for m in record.measurements
            if "fd_" not in m.name
        ]
        cell = replace(record.cell, extractors=("clip",))
        return replace(record, cell=cell, measurements=tuple(kept))

    found = rows(replace(run, records=tuple(map(embedded, run.records))))
    bits, (methods,) = loss_by_bits(found), loss_by_method(found)
    assert bits.axes[1].get_title() == "Change of CMMD against full precision"
    assert methods.axes[-1].get_xlabel().startswith("Change of CMMD against full precision")
    drawn = {line.get_label(): line.get_ydata() for line in bits.axes[1].lines}
    # From 0 in full precision to the changes of w8a8 and w4a8.
    assert drawn["baseline"] == pytest.approx([0, 0.31 / 900, 6.84 / 900])
    assert not any(text.get_text() == "no finite values" for text in bits.axes[1].texts)
    assert loss_by_bits(rows(run)).axes[1].get_title() == "Change of FD against full precision"


def test_no_line_joins_points_of_different_n(run):
    def sized(record):
        method, bits = record.cell.checkpoint.method, record.cell.scheme.weight_bits
        images = 1000 if (method, bits) == ("ema", 4) else 500
        cell = replace(record.cell, draw=replace(record.cell.draw, images=images))
        return replace(record, cell=cell)

    uneven = replace(run, records=tuple(map(sized, run.records)))
    plain, broken = loss_by_bits(rows(run)), loss_by_bits(rows(uneven))
    assert plain.get_supxlabel() == ""
    assert "equal N" in broken.get_supxlabel()
    for axes, start in zip(broken.axes, ([], [0.0]), strict=True):
        marked = [line for line in axes.lines if line.get_marker() == "s"]
        values = [list(line.get_ydata()) for line in marked]
        field = "psnr" if not start else "fd_change"
        ema = [getattr(r, field).value for r in rows(run) if r.method == "ema" and r.psnr]
        assert values == [[*start, ema[0]], [ema[1]]]
        assert [line.get_markerfacecolor() for line in marked] == [marked[0].get_color(), "white"]
    _, names = broken.axes[1].get_legend_handles_labels()
    assert names == ["baseline", "ema", "swa", "sam"]


def test_no_two_entries_of_a_legend_look_alike():
    colours, marks = zip(*STYLES.values(), strict=True)
    assert len(set(colours)) == len(colours)
    assert len(set(marks)) == len(marks)
    # Two averages of one training, as two lengths of EMA.
    trained = {"short": ("ema", 0), "long": ("ema", 0), "swa": ("swa", 0)}
    drawn = styles(trained)
    assert drawn["short"] == STYLES["ema"]
    assert len(set(drawn.values())) == 3
    # Trainings of one method share an entry, and so their look.
    assert len(set(styles({"a": ("sam", 0), "b": ("sam", 1)}).values())) == 1


def test_many_trainings_are_drawn_as_means_from_the_least_to_the_largest(run):
    def seeded(record, seed):
        card = record.cell.checkpoint
        card = replace(card, name=f"{card.name}-{seed}", seed=seed, sha256=f"{seed}" * 64)
        shifted = tuple(replace(m, value=m.value + seed) for m in record.measurements)
        return replace(record, cell=replace(record.cell, checkpoint=card), measurements=shifted)

    many = [seeded(record, seed) for record in run.records for seed in range(3)]
    figure = loss_by_bits(rows(replace(run, records=tuple(many))))
    lines, names = figure.axes[1].get_legend_handles_labels()
    assert len(names) == 4
    # The change of FD is 0.31 at W8A8 and 6.84 at W4A8, and one more for each seed.
    assert list(lines[0].get_ydata()) == pytest.approx([0, 1.31, 7.84])
    bars = [list(line.get_ydata()) for line in figure.axes[1].lines]
    assert any(bar == pytest.approx([6.84, 8.84]) for bar in bars if len(bar) == 2)
    assert figure.get_supxlabel().startswith("Means over the trainings")


def test_panels_of_one_column_share_their_range(run):
    left = loss_by_method(rows(run))[0].axes[::2]
    assert left[0].get_xlim() == left[1].get_xlim()


def test_a_label_of_a_run_has_its_day_time_and_commit():
    assert history._named("20261120T081530Z-nogit") == ["2026-11-20", "08:15"]
    assert history._named("20261120T081530Z-5fa5af2a")[2] == "5fa5af2a"
    assert history._named("mine") == ["mine"]

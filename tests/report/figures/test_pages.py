"""Figures stay bounded: pages of lines, means in place of many trainings, a part of many cells."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from helpers import canned_run
from PIL import Image

from bench import report
from bench.report.figures import grid, pages
from bench.report.figures.captions import captions
from bench.report.figures.checkpoints import loss_by_method
from bench.report.figures.schemes import loss_by_scheme
from bench.report.rows import rows
from bench.system.runs import sample_name, save_strip


def repeated(run, count, seeded=False):
    """The run with `count` copies of each checkpoint: trainings of its method, or others."""
    records = []
    for record in run.records:
        for k in range(count):
            card = record.cell.checkpoint
            card = replace(
                card,
                name=f"{card.name}-{k}",
                sha256=f"{k:x}{card.method}".encode().hex().ljust(64, "0"),
                seed=k if seeded else 0,
                method=card.method if seeded else f"{card.method}-{k}",
            )
            moved = [replace(m, value=m.value + 0.001 * k) for m in record.measurements]
            cell = replace(record.cell, checkpoint=card)
            records.append(replace(record, cell=cell, measurements=tuple(moved)))
    return replace(run, records=tuple(records))


def inches(figure):
    return figure.get_figheight()


@pytest.mark.parametrize("sizes", [[3], [42], [43], [20, 20], [30, 30, 5], [100, 1], [1] * 60])
def test_each_line_stands_on_one_page_and_no_page_holds_too_many(sizes):
    blocks = [(k, [(k, line) for line in range(size)]) for k, size in enumerate(sizes)]
    split = pages.split(blocks)
    told = [line for page in split for _, lines in page for line in lines]
    assert told == [line for _, lines in blocks for line in lines]
    for page in split:
        assert all(lines for _, lines in page)
        assert sum(pages.TITLE + len(lines) for _, lines in page) <= pages.MOST
    # A block that fits on a page is on one.
    for head, lines in blocks:
        count = sum(head == other for page in split for other, _ in page)
        assert count == 1 or len(lines) + pages.TITLE > pages.MOST


def test_many_checkpoints_come_on_pages_of_one_range():
    drawn = loss_by_method(rows(repeated(canned_run.run("w8a8", "w4a8"), 25)))
    assert len(drawn) > 2
    assert max(map(inches, drawn)) < 15
    names = [t.get_text() for f in drawn for a in f.axes[::2] for t in a.get_yticklabels()]
    assert len(names) == len(set(names)) * 2 == 200
    assert len({axes.get_xlim() for figure in drawn for axes in figure.axes[1::2]}) == 1


def test_many_trainings_are_means_with_their_range():
    found = rows(repeated(canned_run.run("w8a8", "w4a8"), 11, seeded=True))
    (figure,) = loss_by_method(found)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["baseline (11)", "ema (11)", "swa (11)", "sam (11)"]
    bar, mean = figure.axes[0].lines[:2]
    psnr = [r.psnr.value for r in found if r.psnr and r.method == "baseline"]
    psnr = [value for value in psnr if value > np.mean(psnr)]
    assert list(bar.get_xdata()) == pytest.approx([min(psnr), max(psnr)])
    assert mean.get_xdata()[0] == pytest.approx(np.mean(psnr))


def test_the_figure_of_schemes_has_means_of_many_and_a_highest_height():
    plain = canned_run.run("w4a8")
    more = [plain.records]
    for block in (8, 16, 32):
        scheme = {"methods": (f"g{block}",)}
        changed = [
            replace(r, cell=replace(r.cell, scheme=replace(r.cell.scheme, **scheme)))
            for r in plain.records
            if str(r.cell.scheme) == "w4a8"
        ]
        more.append(tuple(changed))
    run = replace(plain, records=tuple(r for records in more for r in records))
    figure = loss_by_scheme(rows(repeated(run, 11, seeded=True)))
    marks = [line for line in figure.axes[0].lines if line.get_marker() not in ("", "None")]
    assert len(marks) == 4 * 4
    assert inches(loss_by_scheme(rows(repeated(run, 25)))) <= 20


def test_pages_that_are_not_drawn_any_more_are_removed_and_captions_count_them(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(pages, "MOST", 6.0)
    run = canned_run.run("w4a8")
    report.draw(repeated(run, 3), tmp_path)
    names = [name for name in captions(rows(run), tmp_path) if "method" in name]
    assert names == ["loss_by_method.png", "loss_by_method-2.png", "loss_by_method-3.png"]
    told = captions(rows(run), tmp_path)[names[1]]
    assert told == "Quality loss of each checkpoint under each scheme (2 of 3)"
    report.draw(run, tmp_path)
    assert [n for n in captions(rows(run), tmp_path) if "method" in n] == names[:1]


def test_of_very_many_cells_one_training_of_each_method_is_shown(tmp_path):
    run = repeated(canned_run.run("w8a8", "w4a8"), 8, seeded=True)
    strip = np.zeros((4, 16 * 4, 1), np.uint8)
    for record in run.records:
        save_strip(tmp_path / "samples" / sample_name(record.cell), strip)
    with Image.open(io.BytesIO(grid.draw(rows(run), tmp_path / "samples"))) as picture:
        assert picture.height < 1000
    told = grid.selection(rows(run), tmp_path / "samples")
    assert told == ": 14 of 112 cells, one training of each method"
    assert grid.selection(rows(run)[:60], tmp_path / "samples") == ""

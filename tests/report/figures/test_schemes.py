"""All schemes of a run on the same two axes, where there are methods of quantization."""

from dataclasses import replace

import pytest
from helpers import canned_run

from bench import report
from bench.core.scheme import Scheme
from bench.report.figures.bits import loss_by_bits
from bench.report.figures.schemes import loss_by_scheme
from bench.report.rows import rows


@pytest.fixture
def mixed():
    """A run of w8a8 and w4a8 whose w4a8 stands once more, with a method."""
    plain = canned_run.run("w8a8", "w4a8")
    more = []
    for record in plain.records:
        if str(record.cell.scheme) == "w4a8":
            scheme = replace(record.cell.scheme, methods=("gptq", "bias"))
            more.append(replace(record, cell=replace(record.cell, scheme=scheme)))
    return replace(plain, records=(*plain.records, *more))


def test_plain_rounding_comes_first_of_its_bits_and_all_share_their_axes(mixed):
    figure = loss_by_scheme(rows(mixed))
    left, right = figure.axes
    assert [text.get_text() for text in left.get_yticklabels()] == [
        "w8a8",
        "w4a8",
        "w4a8+gptq+bias",
    ]
    assert "PSNR" in left.get_xlabel() and right.get_xlabel().startswith("Change of KD")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["baseline", "ema", "swa", "sam"]
    # A mark for each measured checkpoint and scheme, at its value.
    marks = [line for line in right.lines if line.get_marker() not in ("", "None")]
    measured = [row for row in rows(mixed) if row.ok and not row.scheme.is_float]
    values = sorted(line.get_xdata()[0] for line in marks)
    assert values == pytest.approx(sorted(row.kd_change.value for row in measured))


def test_bits_alone_have_no_such_figure_and_methods_no_line_among_bits(mixed):
    assert loss_by_scheme(rows(canned_run.run("w8a8", "w4a8"))) is None
    ticks = [text.get_text() for text in loss_by_bits(rows(mixed)).axes[0].get_xticklabels()]
    assert ticks == ["w8a8", "w4a8"]


def test_a_budget_of_bits_stands_by_its_mean(mixed):
    records = [
        replace(r, cell=replace(r.cell, scheme=Scheme.parse("w~6a8")))
        if r.cell.scheme.methods
        else r
        for r in mixed.records
    ]
    left, _ = loss_by_scheme(rows(replace(mixed, records=tuple(records)))).axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["w8a8", "w~6a8", "w4a8"]


def test_it_is_written_beside_the_others_and_removed_with_the_methods(mixed, tmp_path):
    names = {path.name for path in report.draw(mixed, tmp_path)}
    assert names == {"loss_by_bits.png", "loss_by_scheme.png", "loss_by_method.png"}
    report.draw(canned_run.run("w8a8", "w4a8"), tmp_path)
    assert not (tmp_path / "figures" / "loss_by_scheme.png").exists()

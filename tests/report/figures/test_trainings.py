"""Mean and spread of methods that were trained several times."""

from dataclasses import replace

import pytest
from helpers import canned_run

from bench.report.figures.trainings import loss_by_training
from bench.report.rows import rows


def retrained(run, method, seed, add):
    """The run with one more training of a method, whose changes of FD are larger by `add`."""
    more = []
    for record in run.records:
        card = record.cell.checkpoint
        if card.method != method or card.seed or record.status != "ok":
            continue
        card = replace(card, seed=seed, name=f"{card.name}-{seed}", sha256=f"{seed}" * 64)
        moved = [
            replace(m, value=m.value + add) if m.name.startswith("delta_fd") else m
            for m in record.measurements
        ]
        cell = replace(record.cell, checkpoint=card)
        more.append(replace(record, cell=cell, measurements=tuple(moved)))
    return replace(run, records=(*run.records, *more))


def test_means_and_ends_are_those_of_the_trainings():
    run = retrained(canned_run.run("w4a8"), "sam", 1, 2.0)
    (figure,) = loss_by_training(rows(retrained(run, "sam", 2, 0.4)))
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "w4a8"
    assert [text.get_text() for text in axes.get_yticklabels()] == ["sam (3)"]
    _, bar, trainings, mean = axes.lines
    # SAM loses 1.10 in the canned run.
    assert list(bar.get_xdata()) == pytest.approx([1.10, 3.10])
    assert sorted(trainings.get_xdata()) == pytest.approx([1.10, 1.50, 3.10])
    assert list(mean.get_xdata()) == pytest.approx([1.90])


def test_a_method_that_was_trained_once_has_no_line_and_a_run_of_such_no_figure():
    run = canned_run.run("w8a8", "w4a8")
    assert loss_by_training(rows(run)) == []
    # Two checkpoints of one method and seed are no two trainings.
    assert loss_by_training(rows(retrained(run, "ema", 0, 1.0))) == []
    (figure,) = loss_by_training(rows(retrained(run, "ema", 1, 1.0)))
    assert [len(axes.get_yticks()) for axes in figure.axes] == [1, 1]
    # One range for all schemes.
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()


def test_a_training_whose_change_is_not_known_leaves_its_method_out():
    run = retrained(canned_run.run("w4a8"), "sam", 1, float("nan"))
    assert loss_by_training(rows(run)) == []

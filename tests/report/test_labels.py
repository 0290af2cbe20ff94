import dataclasses

from helpers.canned_run import run

from bench.report.figures.bits import loss_by_bits
from bench.report.figures.checkpoints import loss_by_method
from bench.report.labels import legend, short
from bench.report.rows import rows

SEEDS = {"a": ("sam", 0), "b": ("sam", 1), "c": ("ema", 0)}


def test_methods_where_they_are_unique():
    trained = {"a": ("sam", 0), "c": ("ema", 0)}
    assert short(trained) == legend(trained) == {"a": "sam", "c": "ema"}


def test_seeds_where_a_method_has_several():
    assert short(SEEDS) == {"a": "sam (seed 0)", "b": "sam (seed 1)", "c": "ema"}
    assert legend(SEEDS) == {"a": "sam (2 trainings)", "b": "sam (2 trainings)", "c": "ema"}


def test_names_where_two_have_the_same_method_and_seed():
    trained = SEEDS | {"d": ("ema", 0)}
    assert short(trained) == legend(trained) == {name: name for name in trained}


def test_trainings_share_an_entry_of_the_legend():
    first, seconds = run(), []
    for record in first.records:
        card = record.cell.checkpoint
        card = dataclasses.replace(card, name=f"a-second-{card.method}", seed=1)
        cell = dataclasses.replace(record.cell, checkpoint=card)
        if card.method == "sam":
            seconds.append(dataclasses.replace(record, cell=cell))
    found = rows(dataclasses.replace(first, records=(*first.records, *seconds)))
    figure = loss_by_bits(found)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "sam (2 trainings)" in texts
    assert len(texts) == 4
    ticks = [text.get_text() for text in loss_by_method(found)[0].axes[0].get_yticklabels()]
    # By seed, whatever the names.
    assert ticks == ["baseline", "ema", "swa", "sam (seed 0)", "sam (seed 1)"]

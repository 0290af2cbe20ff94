"""The rule of `--until-decided`: planned looks, verdicts, and what it is held against."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.gates import altered, made, side

from bench.core.errors import InputError
from bench.system.influences import key
from bench.verdicts import until_decided
from bench.verdicts.confidence_sequences import Sequence
from bench.verdicts.thresholds import Threshold
from bench.verdicts.until_decided import UntilDecided

METRIC = "delta_kd_efficientnet"


def look(of, images=500):
    """The look of the quantized cell of a side at its first images, and their influences.

    Its numbers are those of a draw in which the mean of these images' influences is 0.
    """
    record = of.run.records[1]
    cell = replace(record.cell, draw=replace(record.cell.draw, images=images))
    measured = [m for m in record.measurements if "kd" in m.name]
    found, terms = [], {}
    for each in measured:
        name = each.name.split("@")[0]
        found.append(replace(each, name=f"{name}@{images}", n=images))
        terms[key(cell, found[-1].name)] = of.influences[key(record.cell, each.name)][:images]
    return replace(record, cell=cell, measurements=tuple(found)), terms


def rule(margin=None, base=None, budget=500, **given):
    entry = None if margin is None else Threshold(absolute=margin)
    return UntilDecided(budget, 50, entry, base, **given)


def decided(made, of, images=500):
    return made.decided(*look(of, images), (images,))


def test_planned_looks_grow_by_a_quarter_in_whole_batches():
    assert rule(budget=600).counts() == [100, 150, 200, 250, 350, 450, 600]
    assert UntilDecided(120, 50).counts() == [100, 120]
    assert UntilDecided(2000, 500).counts() == [500, 1000, 1500, 2000]
    # And where another run ends.
    assert 333 in rule(base=side(images=333), budget=600).counts()
    with pytest.raises(InputError, match="--until-decided starts with 100 images: raise"):
        rule(budget=99)


@pytest.mark.parametrize(
    ("margin", "verdict"), [(10.0, "worse"), (25.0, "equivalent"), (16.0, "undecided")]
)
def test_against_full_precision(margin, verdict):
    """The change is 16 +- 2.7 at every look."""
    found = decided(rule(margin), side())
    assert (found.verdict, found.margin, found.worsening) == (verdict, margin, 16.0)
    assert (found.low, found.high) == Sequence().interval(
        16.0, look(side())[1][key(side().run.records[1].cell, f"{METRIC}@500")]
    )
    assert (found.metric, found.counts, found.tuned, found.base) == (METRIC, (500,), 500, "")
    assert rule(margin).is_met(*look(side())) == (verdict != "undecided")


def test_the_shipped_threshold_is_a_share_of_full_precision():
    """3% of 114."""
    found = decided(rule(), side())
    assert found.margin == pytest.approx(3.42)
    assert found.verdict == "worse"
    assert decided(rule(), side(delta=-32.0)).verdict == "better"


def test_before_the_first_look_nothing_is_known():
    found = decided(rule(10.0, budget=600, sequence=Sequence(first=501)), side())
    assert (found.verdict, found.low, found.high) == ("undecided", None, None)


def test_undefined_numbers_decide_nothing():
    of = made(side(), lambda m: replace(m, value=float("nan")))
    assert decided(rule(10.0), of).verdict == "undecided"
    record, _ = look(side())
    assert rule(10.0).decided(record, {}, (500,)).verdict == "undecided"


def test_against_another_run_image_by_image():
    """A change by 1.5 in numbers that are known to +- 2.7 by themselves."""
    base = side()
    found = decided(rule(1.5, base), side(delta=1.5))
    assert found.worsening == pytest.approx(1.5)
    assert found.high - found.low < 0.9
    assert (found.verdict, found.paired, found.base) == ("undecided", True, base.run.id)
    assert decided(rule(0.5, base), side(delta=1.5)).verdict == "worse"
    assert decided(rule(3.0, base), side(delta=1.5)).verdict == "equivalent"
    # The shipped threshold is a share of what full precision was there.
    assert decided(rule(None, base), side(delta=1.5)).margin == pytest.approx(0.03 * 114)


def test_equal_images_are_equivalent_at_the_first_look():
    of = side()
    found = decided(rule(1e-6, of), of)
    assert (found.verdict, found.worsening, found.low) == ("equivalent", 0.0, None)


def test_it_ends_where_no_image_is_left_to_pair_with():
    base = side(images=200)
    assert rule(1.0, base).is_met(*look(side(delta=1.0), 200))
    assert not rule(1.0, base).is_met(*look(side(delta=1.0), 150))


def test_of_other_noise_half_of_the_error_goes_to_each_side():
    base = side(seed=1)
    found = decided(rule(1.0, base), side(delta=1.5))
    assert (found.worsening, found.paired) == (1.5, False)
    own = Sequence(0.975).interval(
        0.0, look(side(delta=1.5))[1][key(side().run.records[1].cell, f"{METRIC}@500")]
    )
    assert found.high - found.low > own[1] - own[0] + 3.5


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"kernel": "int8"}, "simulated"),
        ({"dataset": "cifar10"}, "cifar10"),
        ({"steps": 50}, "steps 50"),
        ({"version": 2}, "version 2"),
        ({"real": {"efficientnet": "e" * 64}}, "real images"),
    ],
)
def test_a_run_that_does_not_compare_is_refused(change, word):
    with pytest.raises(InputError, match="does not compare with BASE") as raised:
        decided(rule(1.0, altered(side(), **change)), side())
    assert word in str(raised.value)


def test_a_cell_that_the_other_run_lacks():
    base = side()
    base = replace(base, run=replace(base.run, records=base.run.records[:1]))
    with pytest.raises(InputError, match="run has not measured fashion-sam w8a8 simulated"):
        decided(rule(1.0, base), side())


def test_the_rule_of_a_run_is_told(capsys):
    cells = [record.cell for record in side().run.records]
    found = until_decided.rule(cells, "3%")
    assert found.margin == Threshold(relative=0.03)
    told = capsys.readouterr().err
    assert told.startswith("N = 100, 150, 200, 250, 350, 450, 500: until it is known at 95%")
    with pytest.raises(InputError, match="name another --scheme"):
        until_decided.rule(cells[:1])
    with pytest.raises(InputError, match="has 99 images in BASE"):
        until_decided.rule(cells, None, side(images=99))
    with pytest.raises(InputError, match="does not compare with BASE: steps 50 → 20"):
        until_decided.rule(cells, None, altered(side(), steps=50))


def test_what_a_look_says():
    text = rule(10.0).text(*look(side()))
    assert text.startswith(f"N = 500: {METRIC} worse by +16, +13.")
    assert text.endswith("at every look, margin 10: worse")
    assert "no interval yet" in rule(10.0, budget=600, sequence=Sequence(first=501)).text(
        *look(side())
    )


def test_a_record_keeps_what_was_decided():
    found = rule(10.0).noted(side().run.records[1], *look(side()), [100, 500])
    assert (found.decided.verdict, found.decided.counts) == ("worse", (100, 500))
    assert np.isfinite(found.decided.low)

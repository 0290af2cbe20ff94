"""The worsening of a cell beyond a margin: values, influences, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.gates import side

from bench.core.errors import InputError
from bench.system.influences import key
from bench.verdicts import margins
from bench.verdicts.thresholds import Threshold

METRIC = "delta_kd_efficientnet"


def quantized(of):
    return of.run.records[1]


def terms(of, name):
    return of.influences[key(quantized(of).cell, f"{name}@500")]


def test_a_given_margin_has_no_influences():
    of = side()
    found = margins.of_cell(quantized(of), of.influences, METRIC, Threshold(absolute=4.0))
    assert (found.value, found.margin, found.above[0], found.below[0]) == (16.0, 4.0, 12.0, 20.0)
    assert (found.above[1] == terms(of, METRIC)).all()
    assert not found.margin_terms.any()


def test_a_share_moves_with_the_number_that_it_is_of():
    """Full precision is 130 - 16 = 114, and its influences are those of the number less the
    change's."""
    of = side()
    found = margins.of_cell(quantized(of), of.influences, METRIC, Threshold(relative=0.05))
    assert found.margin == pytest.approx(5.7)
    full = terms(of, "kd_efficientnet") - terms(of, METRIC)
    assert found.above[1] == pytest.approx(terms(of, METRIC) - 0.05 * full)
    assert found.below[1] == pytest.approx(terms(of, METRIC) + 0.05 * full)
    # Of both the larger one counts.
    both = Threshold(absolute=7.0, relative=0.05)
    assert margins.of_cell(quantized(of), of.influences, METRIC, both).margin == 7.0


def test_of_a_number_that_is_better_higher_the_sign_turns():
    of = side()
    record = quantized(of)
    higher = [replace(m, better="higher") for m in record.measurements]
    record = replace(record, measurements=tuple(higher))
    found = margins.of_cell(record, of.influences, METRIC, Threshold(absolute=4.0))
    assert found.value == -16.0
    assert (found.terms == -terms(of, METRIC)).all()


def test_against_the_first_images_of_another_run():
    """Of n of N images the other number is that of all plus the mean of the n influences."""
    head, base = side(delta=3.0), side()
    own = margins.of_cell(quantized(head), head.influences, METRIC, Threshold(absolute=1.0))
    found = margins.against(own, (quantized(base), base.influences))
    assert found.value == pytest.approx(3.0)
    assert found.terms == pytest.approx(terms(head, METRIC) - terms(base, METRIC))
    few = replace(own, terms=own.terms[:200], margin_terms=own.margin_terms[:200])
    found = margins.against(few, (quantized(base), base.influences))
    assert found.value == pytest.approx(3.0 - terms(base, METRIC)[:200].mean())
    more = replace(own, terms=np.zeros(501))
    with pytest.raises(InputError, match="has 500 images in BASE, not 501"):
        margins.against(more, (quantized(base), base.influences))


def test_equal_images_are_nothing():
    of = side()
    own = margins.of_cell(quantized(of), of.influences, METRIC, Threshold(absolute=1.0))
    assert margins.against(own, (quantized(of), of.influences)).is_nothing
    assert not own.is_nothing


def test_words():
    assert margins.named("kd_efficientnet:3%") == (METRIC, Threshold(relative=0.03))
    assert margins.named("delta_kd_efficientnet:0.5") == (METRIC, Threshold(absolute=0.5))


@pytest.mark.parametrize(
    "word", ["", "kd", "kd:", ":3", "kd:0", "kd:-1", "kd:nan", "kd:inf", "kd:3%%", "k d:3", "kd:e"]
)
def test_bad_words(word):
    with pytest.raises(InputError, match="--margin takes"):
        margins.named(word)


def test_what_is_not_there():
    of = side()
    record, entry = quantized(of), Threshold(absolute=1.0)
    with pytest.raises(InputError, match="has no delta_fd; its changes are delta_kd_efficientnet"):
        margins.of_cell(record, of.influences, "delta_fd", entry)
    with pytest.raises(InputError, match=r"influences of delta_kd_efficientnet@500 .* not kept"):
        margins.of_cell(record, {}, METRIC, entry)
    bare = replace(record, measurements=record.measurements[1:])
    with pytest.raises(InputError, match="has no kd_efficientnet"):
        margins.of_cell(bare, of.influences, METRIC, Threshold(relative=0.03))
    with pytest.raises(InputError, match="a share of kd_efficientnet"):
        margins.given(bare, METRIC, Threshold(relative=0.03))
    assert margins.given(record, METRIC, Threshold(relative=0.05)) == pytest.approx(5.7)
    broken = [replace(m, value=float("nan")) for m in record.measurements]
    with pytest.raises(InputError, match="undefined"):
        margins.of_cell(replace(record, measurements=tuple(broken)), of.influences, METRIC, entry)

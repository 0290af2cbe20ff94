"""Methods beside the schemes of a run, from the words of flags to cells."""

from dataclasses import replace

import pytest

from bench.core.cell import Cell, Draw
from bench.core.errors import InputError
from bench.core.scheme import Scheme
from bench.evaluation.added_methods import beside, by_default
from bench.models.cards import load_cards


@pytest.fixture
def cells(cards):
    (card,) = load_cards(cards)
    schemes = {
        "float": Scheme(),
        "simulated": Scheme.parse("w4a8"),
        "int8-x86": Scheme.parse("w4a8"),
    }
    return [Cell(card, scheme, backend, Draw()) for backend, scheme in schemes.items()]


def named(cells):
    return [f"{cell.scheme} {cell.backend}" for cell in cells]


def test_each_is_a_cell_of_its_own_behind_those_without(cells, capsys):
    found = beside(cells, ["bias", "mse+gptq=damp:0.1", "python:a/b.py:f"], None)
    texts = ("w4a8", "w4a8+bias", "w4a8+mse+gptq=damp:0.1", "w4a8+python=a/b.py:f")
    assert named(found) == [
        "fp32 float",
        *(f"{t} simulated" for t in texts),
        *(f"{t} int8-x86" for t in texts),
    ]
    assert found[4].scheme.methods == ("python:a/b.py:f",)
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in told] == [
        "w4a8+bias",
        "w4a8+mse+gptq=damp",
        "w4a8+python=a/b.py",
    ]
    assert beside(cells, [], None) == cells


def test_the_default_method_is_for_integer_kernels_where_there_are_some(cells):
    expected = ["fp32 float", "w4a8 simulated", "w4a8 int8-x86", "w4a8+gptq int8-x86"]
    found = by_default(cells)
    assert named(found) == expected and by_default(found[:3]) == found
    assert named(by_default(found)) == expected
    assert named(by_default(cells[:2])) == ["fp32 float", "w4a8 simulated", "w4a8+gptq simulated"]
    other = replace(cells[1], backend="bnb-nf4")
    assert by_default([cells[0], other]) == [cells[0], other]


def test_the_default_method_is_not_compared_with_a_simulation_that_is_not_there(cells):
    kernels = replace(cells[2], metrics=(*cells[2].metrics, "psnr_simulated"))
    (_, plain, better) = by_default([cells[0], kernels])
    assert plain == kernels and better.metrics == cells[2].metrics


def test_plain_rounding_alone_is_asked_for_by_its_name(cells):
    assert beside(cells, ["rtn"], None) == cells


def test_the_default_method_comes_with_bits_alone(bench, cards):
    """Not with a scheme, where another method is named, or with weights rounded elsewhere."""
    words = ("run", "--dry-run", "--images", "4", "--steps", "2", "--cards", cards)
    words += ("--backend", "simulated")
    assert "w4a8+gptq" in bench(*words, "--bits", "4")[1]
    for others in (("--scheme", "w4a8"), ("--bits", "4", "--method", "rtn")):
        code, out, _ = bench(*words, *others)
        assert code == 0 and "w4a8" in out and "gptq" not in out
    code, out, _ = bench(*words, "--bits", "4", "--method", "bias")
    assert code == 0 and "w4a8+bias" in out and "gptq" not in out


def test_behind_the_scheme_s_own_and_before_its_skip_list(cells):
    scheme = Scheme.parse("w4a8+mse+skip=conv_in")
    (_, found) = beside([replace(cells[1], scheme=scheme)], ["gptq+bias"], None)
    assert str(found.scheme) == "w4a8+mse+gptq+bias+skip=conv_in"


def test_what_is_there_already_is_not_added(cells):
    more = [*cells[:2], replace(cells[1], scheme=Scheme.parse("w4a8+bias"))]
    assert beside(more, ["bias"], None) == more
    assert named(beside(more, ["mse", "mse"], None)) == [
        "fp32 float",
        "w4a8 simulated",
        "w4a8+mse simulated",
        "w4a8+bias simulated",
        "w4a8+bias+mse simulated",
    ]


def test_weights_are_in_front_of_every_scheme(cells):
    found = beside(cells[:2], ["bias"], "w/x.pt")
    texts = ["w4a8", "w4a8+bias", "w4a8+weights=w/x.pt", "w4a8+weights=w/x.pt+bias"]
    assert named(found) == ["fp32 float", *(f"{text} simulated" for text in texts)]
    own = [replace(cells[1], scheme=Scheme.parse("w4a8+weights=y.pt"))]
    assert beside(own, [], "x.pt") == own


def test_bad_words_are_one_line(cells):
    other = replace(cells[1], checkpoint=replace(cells[1].checkpoint, name="other"))
    for methods, weights, says in (
        (["bais"], None, "--method 'bais': 'bais' is unknown .did you mean 'bias'"),
        (["skip=a"], None, "'skip=a' is a word of a scheme and no method"),
        (["minmax"], None, "'minmax' is a word of a scheme and no method"),
        (["bias+bias"], None, "method bias is there twice: name it once"),
        (["python:a.py:f+python:b.py:g"], None, "method python is there twice"),
        ([""], None, "--method '': '' is unknown"),
        ([], "a b.pt", "weights needs a path of letters"),
        ([], "x.pt", "--weights-from is for one checkpoint, and there are tiny, other"),
    ):
        with pytest.raises(InputError, match=says):
            beside([*cells, other] if weights == "x.pt" else cells, methods, weights)
    with pytest.raises(InputError, match=r"beside w4a8\+bias: method bias is there twice"):
        beside([replace(cells[1], scheme=Scheme.parse("w4a8+bias"))], ["mse+bias"], None)

import dataclasses

import pytest

from bench.core.cell import Draw, expand
from bench.core.record import Host
from bench.core.scheme import Scheme
from bench.evaluation import fastest
from bench.evaluation.cost import outputs
from bench.evaluation.fastest import (
    COMPILED,
    FLOAT32,
    OPENVINO,
    PLAIN,
    PROCESSES,
    SPEEDS,
    STREAMS,
    chosen,
)
from bench.models.cards import load_cards, verify
from bench.quant.backends import int8_openvino

VNNI, OLD = (Host("here", "cpu", isa, 1, {}) for isa in ("avx512_vnni", "avx2"))
ALL = [OPENVINO, STREAMS, COMPILED]


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """OpenVINO is there, whether it is or not."""
    monkeypatch.setattr(int8_openvino, "find_spec", lambda name: name)


@pytest.fixture
def card(cards):
    return verify(load_cards(cards)[0])


def cells(card, images, words="w4a8"):
    draw = Draw(steps=100, images=images, batch=50)
    return expand([card], [Scheme.parse(words)], ["simulated", PLAIN], draw)


def backends(found):
    return [cell.backend for cell in found]


def enough(card, name, cells=1):
    """Images of 100 steps from which kernels of a name are done before the plain ones."""
    own, plain = SPEEDS[name], SPEEDS[PLAIN]
    building = own.structure * PROCESSES + (own.cell - plain.cell) * cells
    each = 100 * outputs(card) * FLOAT32 * (1 / plain.vnni - 1 / own.vnni)
    return int(building / each / cells) + 1


def test_the_fastest_for_the_size_of_the_run_is_taken_and_told(card):
    least = enough(card, OPENVINO)
    few, choice = chosen(cells(card, least - 1), VNNI, ALL)
    assert backends(few) == ["float", "simulated", PLAIN]
    assert choice.is_usual and "take longer to build than so few images save" in choice.line
    many, choice = chosen(cells(card, least), VNNI, ALL)
    assert backends(many) == ["float", "simulated", OPENVINO]
    assert not choice.is_usual
    assert choice.line == (
        "integer kernels: int8-openvino, measured 1.7 times as fast as int8-x86 on CPUs with VNNI "
        "(--backend chooses)"
    )
    # It is a matter of sizes, not of a clock.
    assert chosen(cells(card, least), VNNI, ALL) == (many, choice)


def test_what_the_user_leaves_open(card):
    assert fastest.allowed([], None) == ALL
    assert fastest.allowed([], False) == [OPENVINO, STREAMS]
    assert fastest.allowed([PLAIN], None) == [COMPILED]
    assert fastest.allowed([PLAIN], False) == []
    many = cells(card, 10**9)
    assert chosen(many, VNNI, []) == (many, fastest.Choice())
    assert backends(chosen(many, VNNI, [COMPILED])[0])[2] == COMPILED
    # Without VNNI compiling was measured to save nothing.
    assert backends(chosen(many, OLD, [COMPILED])[0])[2] == PLAIN


def test_a_cap_that_takes_vnni_away_counts(card):
    under = dataclasses.replace(VNNI, isa="avx512_vnni, ONEDNN_MAX_CPU_ISA=AVX512_CORE")
    line = chosen(cells(card, 10**9), under, ALL)[1].line
    assert "on CPUs without VNNI" in line and OPENVINO in line


def test_several_threads_compute_parts_of_a_batch_where_they_can(card):
    several = dataclasses.replace(VNNI, threads=2)
    many = cells(card, 10**9)
    found, choice = chosen(many, several, ALL)
    assert backends(found)[2] == STREAMS and STREAMS not in backends(chosen(many, VNNI, ALL)[0])
    assert "1.6 times as fast as int8-x86 on CPUs with VNNI and two threads" in choice.line
    # 50 images are not cut into four equal parts; without VNNI nothing was measured.
    assert backends(chosen(many, dataclasses.replace(VNNI, threads=4), ALL)[0])[2] == OPENVINO
    assert backends(chosen(many, dataclasses.replace(OLD, threads=2), ALL)[0])[2] == OPENVINO
    assert backends(chosen(cells(card, 1), several, ALL)[0])[2] == PLAIN


@pytest.mark.parametrize("words, halved", [("w8a8", True), ("w7a8", False), ("w8a7", False)])
def test_what_takes_two_passes_is_told_with_what_takes_one(card, words, halved):
    """Also where the kernels are the usual ones."""
    for count in (1, 10**9):
        choice = chosen(cells(card, count, words), OLD, ALL)[1]
        assert choice.line.endswith("two halves, and W7A8 1.4 times as fast") == halved
        assert choice.is_usual == (count == 1 and not halved)
    speed = SPEEDS[OPENVINO]
    assert speed.halves < speed.one_pass
    assert "halves" not in chosen(cells(card, 10**9, words), VNNI, ALL)[1].line


def test_what_is_missing_or_refused_is_told(card, monkeypatch):
    many = cells(card, 10**9, "w4a8+tgroups=2")
    found, choice = chosen(many, VNNI, [OPENVINO])
    assert backends(found)[2] == PLAIN and not choice.is_usual
    assert choice.line.startswith("integer kernels: int8-x86; int8-openvino would be 1.7 times")
    assert "takes no ranges that switch" in choice.line
    monkeypatch.setattr(int8_openvino, "find_spec", lambda name: None)
    line = chosen(cells(card, 10**9), VNNI, [OPENVINO])[1].line
    assert "but int8-openvino needs openvino: pip install openvino" in line
    few = chosen(cells(card, 1), VNNI, [OPENVINO])[1]
    assert few.is_usual and "pip" not in few.line


def test_nothing_is_chosen_where_nothing_runs(card):
    many = cells(card, 10**9)
    arm = dataclasses.replace(VNNI, isa="aarch64")
    assert chosen(many, arm, ALL) == (many, fastest.Choice())
    assert chosen(many[:2], VNNI, ALL) == (many[:2], fastest.Choice())


def test_a_checkpoint_that_cannot_be_loaded_decides_nothing(card):
    """The run says why it cannot."""
    broken = cells(dataclasses.replace(card, source="pt"), 10**9)
    assert backends(chosen(broken, VNNI, ALL)[0])[2] == PLAIN

import dataclasses
import math

import pytest
from helpers.explanations import explanation
from helpers.gates import family

from bench.core.cell import Cell, Checkpoint, Draw
from bench.core.probe_record import ProbePart, ProbeRun, ProbeValue
from bench.core.record import Host, Record, Run
from bench.core.scheme import Scheme
from bench.report.claims import claims, lines, overall
from bench.verdicts.claims import claim_verdict, counted, differences, lost
from bench.verdicts.correlations import correlations


def test_verdict():
    assert claim_verdict(0.1, 0.5, positive=True) == "supported"
    assert claim_verdict(0.1, 0.5, positive=False) == "contradicted"
    assert claim_verdict(-0.1, 0.5, positive=True) == "undecided"
    assert claim_verdict(math.nan, math.nan, positive=True) == "undecided"


def test_sam_against_the_others():
    found = differences(explanation([0.5, 0.4, 0.3, 0.1, 0.1, 0.1], [0.0] * 6))
    flatter = {d.against: d for d in found if d.claim == "sam is flatter"}
    assert flatter["baseline"].value == pytest.approx(-0.4)
    assert {d.verdict for d in flatter.values()} == {"supported"}
    # Gaps of -0.5 and -0.1: less bias, whatever the sign.
    gaps = {d.against: d for d in found if d.number == "size of the gap"}
    assert gaps["baseline"].value == pytest.approx(-0.4)
    assert gaps["baseline"].verdict == "supported"
    close = differences(explanation([0.11, 0.4, 0.3, 0.1, 0.1, 0.1], [0.0] * 6, width=0.05))
    assert close[0].verdict == "undecided"


def test_trainings_on_the_same_seeds_speak_of_the_method():
    def trained(method, seed, value):
        row = ProbeValue("lpf_rise", value, value - 0.001, value + 0.001, 50)
        name = f"c{seed}-{method}"
        return ProbePart(name, "f", method, seed, "", "flatness", 1, "lpf", "ok", rows=(row,))

    # The third training of SAM has no partner and says nothing.
    parts = [
        *(trained("sam", seed, value) for seed, value in enumerate((0.1, 0.3, 9.0))),
        *(trained("baseline", seed, value) for seed, value in enumerate((0.4, 0.5))),
    ]
    found = ProbeRun("id", "2026", "", "bench probe", {}, tuple(parts))
    (line,) = differences(found)
    assert (line.against, line.trainings) == ("baseline", 2)
    assert line.value == pytest.approx(-0.25)
    # t of one degree of freedom: two trainings that differ by 0.1 tell nothing apart.
    assert (line.low, line.high) == pytest.approx((-0.25 - 12.7 * 0.05, -0.25 + 12.7 * 0.05), 0.01)
    assert line.verdict == "undecided"
    assert "mean over the trainings" in "\n".join(lines(found, None, {}))


def test_exposure_bias_is_compared_without_its_sign_and_by_distance():
    def exposed(method, gap, distance):
        rows = (
            ProbeValue(
                "exposure_gap", gap, gap - 1, gap + 1, 5, terms=(-2.0, -1.0, 0.0, 1.0, 2.0)
            ),
            ProbeValue("exposure_distance", distance, 0, 1, 5, terms=(0.0, 1.0, 0.0, -1.0, 0.0)),
            ProbeValue("exposure_gap", 99.0, 98.0, 100.0, 5, scheme="w8a8"),
        )
        return ProbePart(f"c-{method}", "f", method, 0, "", "exposure", 2, "x", "ok", rows=rows)

    parts = (exposed("baseline", -9.0, 0.5), exposed("sam", -3.0, 0.75))
    gap, distance = differences(ProbeRun("id", "2026", "", "", {}, parts))
    # The influences are equal and so are the signs: all noise cancels.
    assert (gap.value, gap.low, gap.high) == (-6.0, -6.0, -6.0)
    assert gap.verdict == "supported"
    assert (distance.number, distance.value) == ("energy distance", 0.25)
    assert distance.verdict == "contradicted"


def test_averages_with_sam_are_held_against_those_without():
    losses = {"baseline": 0.0, "ema": -3.0, "swa": 1.0, "sam": 0.0, "sam+ema": 2.0}
    run, terms = family(**losses, **{"ema_1": -3.0, "sam+ema_1": 3.0})
    found = {(d.method, d.against): d for d in lost(run, terms) if d.number.startswith("psnr")}
    assert ("sam+swa", "swa") not in found
    line = found["sam+ema", "ema"]
    # PSNR, higher is better: 5 and 6 dB less lost, by two trainings.
    assert (line.value, line.trainings) == (pytest.approx(-5.5), 2)
    assert found["sam", "ema"].trainings == 1
    told = dict(claims([], [], lost(run, terms)))
    averaged = next(members for claim, members in told.items() if "Averaged" in claim)
    assert {(d.method, d.against) for d in averaged} == {("sam+ema", "ema")}


def test_overall_verdict_needs_a_majority_and_no_contradiction():
    assert overall(["supported", "supported", "undecided"]) == "supported"
    assert overall(["supported", "supported", "contradicted"]) == "undecided"
    assert overall(["supported", "undecided"]) == "undecided"
    assert overall(["contradicted"]) == "contradicted"
    assert overall([]) == "not examined"


def test_page_states_every_claim_with_a_verdict():
    found = explanation([0.5, 0.4, 0.3, 0.1, 0.1, 0.1], [0.0] * 6)
    text = "\n".join(lines(found, None, {}))
    first, *_ = claims(correlations(found, None), differences(found), [])
    assert len(first[1]) == 3
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 10
    assert rows[1].rstrip(" |").endswith("supported")
    assert "not examined" in rows[-1]


def test_each_scheme_counts_once():
    card = Checkpoint("c", "f", "sam", "safetensors", "c.safetensors", "", "fashion-mnist")
    cell = Cell(card, Scheme.parse("w8a8"), "simulated", Draw())
    host = Host("h", "cpu", "avx2", 1, {})
    cells = [
        cell,
        dataclasses.replace(cell, backend="int8-x86"),
        dataclasses.replace(cell, backend="int8-x86", scheme=Scheme.parse("w4a8")),
        dataclasses.replace(cell, backend="bnb-int8", scheme=Scheme.parse("w4a8")),
    ]
    records = tuple(Record(cell, host, "ok", None, (), {}) for cell in cells)
    found = counted(Run("id", "2026", "", False, "", records))
    assert [str(record.cell) for record in found] == ["c w8a8 simulated", "c w4a8 int8-x86"]

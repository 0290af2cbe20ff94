"""The two axes in words and as a table: how far images moved, and whether the set is worse."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.records import CELL, RECORD

from bench.core.record import Measurement, Run
from bench.core.scheme import Scheme
from bench.report import floors
from bench.report.markdown import markdown
from bench.report.ranking import groups
from bench.report.rows import rows, with_floors
from bench.system.influences import key, save

N = 40
NOISE = np.random.default_rng(0).normal(0, 1, N)


def record(scheme, backend, psnr, change, card=RECORD.cell.checkpoint):
    """A record with PSNR in dB and a change of KD +- 1, and the influences of PSNR."""
    cell = replace(CELL, scheme=scheme, backend=backend, checkpoint=card)
    cell = replace(cell, draw=replace(cell.draw, images=N))
    numbers, terms = [], {}
    if psnr is not None:
        numbers.append(
            Measurement(f"psnr@{N}", psnr, psnr - 1, psnr + 1, N, "dB", "higher", 1, True)
        )
        ends = change - 1, change + 1
        name = f"delta_kd_efficientnet@{N}"
        numbers.append(Measurement(name, change, *ends, N, "", "lower", 1, True))
        terms[key(cell, numbers[0].name)] = NOISE - NOISE.mean()
    coverage = replace(RECORD.coverage, kernel=backend)
    return replace(RECORD, cell=cell, measurements=tuple(numbers), coverage=coverage), terms


def run(*records):
    """A run of records, and their influences."""
    made = [record(*each) for each in records]
    known = tuple(each for each, _ in made)
    terms = {name: values for _, own in made for name, values in own.items()}
    return Run("r", "2026", "", False, "bench run", known), terms


FULL, W4A8 = Scheme(), Scheme.parse("w4a8")
REFERENCE = (FULL, "float", None, 0)
FLOOR = (FULL, "float:bf16", 40.0, 0.5)


def sentence(*records):
    made, terms = run(REFERENCE, *records)
    (group,) = groups(rows(made), terms)
    return floors.sentence(group, terms)


@pytest.mark.parametrize(
    ("psnr", "change", "moved", "harm"),
    [
        (40 - 20 * np.log10(3), 10.0, "3.0", ", and makes the set worse beyond the noise"),
        (40 - 20 * np.log10(3), 2.4, "3.0", ", and does not make the set worse beyond"),
        (40 - 20 * np.log10(3), -9.0, "3.0", ", and does not make the set worse beyond"),
    ],
)
def test_the_sentence_that_is_read_first(psnr, change, moved, harm):
    text = sentence(FLOOR, (W4A8, "simulated", psnr, change))
    assert text.startswith(
        f"**w4a8 moves images {moved} [3.0, 3.0] times as far as bfloat16 does{harm}"
    )
    assert f"change of KD {change:+.1f}" in text and "bfloat16 +0.5 [-0.5, +1.5]" in text


def test_several_checkpoints_are_counted():
    other = replace(RECORD.cell.checkpoint, name="b", method="sam", sha256="11")
    text = sentence(
        FLOOR,
        (W4A8, "simulated", 33.0, 10.0),
        (FULL, "float", None, 0, other),
        (FULL, "float:bf16", 40.0, 0.0, other),
        (W4A8, "simulated", 20.0, 0.1, other),
    )
    assert "2.2 to 10 times as far" in text and "makes 1 of 2 sets worse" in text
    assert "(change of KD +0.1 to +10.0; bfloat16 0.0 to +0.5)" in text


def test_without_a_floor_nothing_is_said(tmp_path):
    assert sentence((W4A8, "simulated", 30.0, 10.0)) == ""
    made, terms = run(REFERENCE, (W4A8, "simulated", 30.0, 10.0))
    assert floors.section(rows(made), terms) == []
    assert "floor" not in markdown(made, tmp_path)


def test_a_floor_is_no_row_of_its_own_but_in_exports():
    made, _ = run(REFERENCE, FLOOR, (W4A8, "simulated", 30.0, 10.0))
    assert [row.backend for row in rows(made)] == ["float", "simulated"]
    assert [row.backend for row in with_floors(made)] == ["float", "simulated", "float:bf16"]
    (row,) = rows(made)[1:]
    assert [floor.kernel for floor in row.floors] == ["float:bf16"]


def test_images_nearer_than_the_floor_are_a_finding(tmp_path):
    made, terms = run(REFERENCE, FLOOR, (W4A8, "simulated", 52.0, 0.1))
    # Every image by another amount, or there would be no interval.
    terms = {name: v * (2 if "w4a8" in name else 1) for name, v in terms.items()}
    save(tmp_path / "influences.npz", terms)
    page = markdown(made, tmp_path)
    assert "## Images that quantization did not change" in page
    assert "less than accepted noise: look at the coverage" in page
    assert "## The noise floor" in page and "| bfloat16 " in page


def test_a_lower_clip_score_is_harm(tmp_path):
    made, terms = run(REFERENCE, FLOOR, (W4A8, "simulated", 30.0, 0.1))
    score = Measurement(f"delta_clip_score@{N}", -2.0, -3.0, -1.0, N, "", "higher", 1, True)
    worse = replace(made.records[-1], measurements=(*made.records[-1].measurements, score))
    table = floors.section(rows(made), terms)
    assert table[-3].rstrip(" |").endswith("within") and "CLIP" not in table[0]
    made = replace(made, records=(*made.records[:-1], worse))
    table = floors.section(rows(made), terms)
    assert "Change of CLIP score" in table[0]
    assert table[-3].rstrip(" |").endswith("beyond") and "-2.0 [-3.0, -1.0]" in table[-3]


def test_a_floor_that_failed_is_told(tmp_path):
    made, _ = run(REFERENCE, FLOOR, (W4A8, "simulated", 30.0, 10.0))
    failed = replace(made.records[1], status="failed", measurements=(), error="out of memory")
    made = replace(made, records=(made.records[0], failed, made.records[2]))
    page = markdown(made, tmp_path)
    told = page.partition("## Refused and failed")[2].partition("\n## ")[0]
    assert "float:bf16" in told and "out of memory" in told
    assert "## The noise floor" not in page


def test_a_floor_of_fewer_images_says_how_many():
    made, terms = run(REFERENCE, FLOOR, (W4A8, "simulated", 30.0, 10.0))
    fewer = replace(made.records[1].cell, draw=replace(CELL.draw, images=N // 2))
    made = replace(
        made, records=(made.records[0], replace(made.records[1], cell=fewer), made.records[2])
    )
    (group,) = groups(rows(made), terms)
    assert f"bfloat16 +0.5 [-0.5, +1.5] over {N // 2} images)" in floors.sentence(group, terms)

"""Which cells a floor adds to a run."""

from dataclasses import replace

import pytest
from helpers.records import CHECKPOINT

from bench.core.cell import Draw, expand
from bench.core.errors import InputError
from bench.core.scheme import Scheme
from bench.evaluation import floors
from bench.system.host import fingerprint

HOST = fingerprint()
CELLS = expand([CHECKPOINT], [Scheme.parse("w4a8")], ["simulated", "int8-x86"], Draw())


def sized(cells, **draw):
    return [replace(cell, draw=Draw(**draw)) for cell in cells]


def added(cells, word):
    return [cell for cell in floors.beside(cells, word, HOST) if cell.is_floor]


def test_floors_stand_beside_their_reference():
    cells = sized(CELLS, images=40, batch=20)
    extended = floors.beside(cells, "bf16,batch", HOST)
    assert [cell for cell in extended if not cell.is_floor] == cells
    first, second = extended[1:3]
    assert (first.backend, second.backend) == ("float:bf16", "float:batch")
    assert first.reference == cells[0] and first.draw == cells[0].draw
    assert "psnr_simulated" not in first.metrics and "psnr" in first.metrics
    assert floors.beside(cells, "none", HOST) == cells


def test_by_default_a_floor_costs_a_tenth_of_the_run():
    # Full precision, simulation and kernels: 3.7 batches of cost for each batch, of which a
    # tenth is 0.37; bfloat16 costs 2. Eleven batches pay for two, of 20 images each.
    (floor,) = added(sized(CELLS, images=220, batch=20), "auto")
    assert (floor.backend, floor.draw.images) == ("float:bf16", 40)
    # With fewer images than its reference it has no number that depends on how many there are.
    assert set(floor.metrics) == {"kernel", "psnr", "ssim"}
    assert added(sized(CELLS, images=100, batch=20), "auto") == []


def test_a_run_of_full_precision_alone_has_no_floor():
    assert floors.beside(CELLS[:1], "bf16", HOST) == CELLS[:1]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("bf17", "unknown floor 'bf17': did you mean 'bf16'"),
        ("bf16,none", "--floor none stands alone"),
        ("", "unknown floor"),
    ],
)
def test_bad_words(word, says):
    with pytest.raises(InputError, match=says):
        floors.beside(CELLS, word, HOST)


def test_a_floor_that_this_machine_cannot_measure():
    with pytest.raises(InputError, match=r"--floor threads: .* decides nothing on cuda"):
        floors.beside(CELLS, "threads", replace(HOST, device="cuda"))

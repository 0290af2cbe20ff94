"""The probe allocation on a context whose allocations are known."""

import numpy as np
import pytest
from helpers.subjects import small

from bench.core.allocation import Allocation
from bench.core.scheme import Scheme
from bench.measurement.probes.allocation import BUDGETS, MAPPED, UNIFORM, BitAllocation


def front(scheme, budgets, uniform):
    """The two smallest budgets cannot be kept."""
    best = [
        Allocation(
            {"first": 8, "mix": int(b)}, b - 0.1, np.full(4, b), np.array([1.0, 3, 5, 7]) * b, b
        )
        for b in budgets[2:]
    ]
    equal = [
        Allocation({"first": 8, "mix": b}, b + 0.5, np.full(4, 9.0 * b), np.full(4, 8.0))
        for b in uniform
    ]
    return [*best, *equal]


def test_rows():
    schemes = tuple(map(Scheme.parse, ("w8a8", "w4a8")))
    context = small(schemes=schemes, allocations=front)
    (part,) = BitAllocation().parts(context.setting, ["w8a8", "w4a8"])
    assert part == "w4a8:front"
    rows = BitAllocation()(context, part, {})
    assert {row.scheme for row in rows} == {"w4a8"}
    by_name = {}
    for row in rows:
        by_name.setdefault(row.name, []).append(row)
    predicted, measured = by_name["front_predicted"], by_name["front_measured"]
    assert [row.where["budget"] for row in predicted] == list(BUDGETS[2:])
    first = measured[0]
    assert (first.value, first.n) == (4 * BUDGETS[2], 4)
    assert first.where == {"budget": BUDGETS[2], "bits": BUDGETS[2] - 0.1}
    assert first.low < first.value < first.high
    assert [(row.where, row.value) for row in by_name["uniform_predicted"]] == [
        ({"uniform": b, "bits": b + 0.5}, 9 * b) for b in UNIFORM
    ]
    bits = {(r.where["layer"], r.where["budget"]): r.value for r in by_name["layer_bits"]}
    assert bits == {("first", b): 8 for b in MAPPED if b >= BUDGETS[2]} | {
        ("mix", b): int(b) for b in MAPPED if b >= BUDGETS[2]
    }


@pytest.mark.parametrize(
    ("schemes", "part"),
    [
        (["w8a8", "w~4.5a8", "w5a8"], ["w~4.5a8:front"]),
        (["w4a8", "w~4.5a8"], ["w4a8:front"]),
        (["w16a8"], []),
        ([], []),
    ],
)
def test_it_is_about_the_scheme_of_the_fewest_bits(schemes, part):
    assert BitAllocation().parts(None, schemes) == part

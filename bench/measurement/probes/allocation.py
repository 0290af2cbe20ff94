"""Bits of weights for each layer under a budget, and what all of them could cost less.

For each budget of mean bits the bits of all layers that an integer programme finds (a scheme
`w~4.5a8` runs them), with the mean squared change of the network's prediction: as predicted, by
adding up the layers, each rounded alone, and as measured, with all of them rounded at once. How
far both are apart says what the prediction is worth. Layers of equal bits stand beside them.

Only weights are rounded, and the inputs are those of the network's own sampling: no image is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bench.core.probe_record import ProbeValue
from bench.core.scheme import FLOAT_BITS, Scheme
from bench.measurement.probes.context import ProbeContext, Setting, row
from bench.measurement.probes.sensitivity import lowest

BUDGETS = tuple(k / 4 for k in range(9, 32))
UNIFORM = (3, 4, 5, 6)
# Budgets whose bits are kept layer by layer.
MAPPED = (2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0)


class BitAllocation:
    """Rows `front_predicted`, `front_measured` (budget, bits), `uniform_predicted`,
    `uniform_measured` (uniform, bits) and `layer_bits` (layer, budget)."""

    version = 1

    def parts(self, setting: Setting, schemes: Sequence[str]) -> Sequence[str]:
        """One, for the scheme of the fewest bits, whose float layers and edges hold."""
        scheme = lowest(schemes)
        rounds = scheme and Scheme.parse(scheme).weight_bits not in FLOAT_BITS
        return [f"{scheme}:front"] if rounds else []

    def __call__(
        self, context: ProbeContext, part: str, earlier: Mapping[str, list[ProbeValue]]
    ) -> list[ProbeValue]:
        """Compute the part."""
        text, _, _ = part.rpartition(":")
        (scheme,) = (known for known in context.schemes if str(known) == text)
        made = context.allocations(scheme, BUDGETS, UNIFORM)
        rows = []
        # Those of equal bits come last.
        for each, bits in zip(made, [0] * (len(made) - len(UNIFORM)) + [*UNIFORM], strict=True):
            kind = "uniform" if bits else "front"
            name: dict[str, float | str] = {"uniform": bits} if bits else {"budget": each.budget}
            for how, values in (("predicted", each.predicted), ("measured", each.measured)):
                rows.append(_error(f"{kind}_{how}", values, text, name | {"bits": each.mean}))
        for each in made:
            if each.budget in MAPPED:
                rows += [
                    ProbeValue(
                        "layer_bits",
                        bits,
                        scheme=text,
                        where={"layer": layer, "budget": each.budget},
                    )
                    for layer, bits in each.bits.items()
                ]
        return rows


def _error(
    name: str, values: np.ndarray, scheme: str, where: Mapping[str, float | str]
) -> ProbeValue:
    """A mean over inputs with its interval."""
    return row(name, values.mean(), values - values.mean(), scheme=scheme, where=where)

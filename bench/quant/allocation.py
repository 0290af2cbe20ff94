"""Bits of weights for each layer under a budget: what each costs, and the integer programme.

With c_lb the mean squared change of the network's output when the weights of layer l alone have b
bits, and x_lb whether it gets them,

    minimize sum_lb c_lb x_lb,   sum_b x_lb = 1,   sum_lb n_l b x_lb <= budget sum_l n_l,

where n_l is the size of the layer (HAWQ-V3, Yao et al. 2021, arXiv 2011.10680, with sensitivities
from second derivatives). That costs of layers add up is an approximation: errors of layers partly
cancel, and grow on the way through others.

What was measured is kept layer by layer, so that a killed run goes on where it stopped, and the
bits beside it, so that a graph is built again with the same ones.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.fx import GraphModule

from bench.core.allocation import Allocation, Share
from bench.core.denoiser import Denoiser
from bench.core.protocols import Calibration
from bench.core.scheme import Scheme
from bench.quant import budget
from bench.quant.layers import exported, shares
from bench.quant.methods.applying import prepared, prepares
from bench.quant.rounded_alone import INPUTS, RoundedAlone
from bench.system import artifacts
from bench.system.quiet import quiet_solver
from bench.system.remaining import Remaining

FILE = "allocation.json"
# The sum of the costs is found to this share of itself: HiGHS stops at 1e-6 of an absolute gap.
UNIT = 1e4

# The change of each input by each layer at each of its widths, (widths, N).
Table = Mapping[str, np.ndarray]


def allocated(
    denoiser: Denoiser, scheme: Scheme, calibration: Calibration, full: GraphModule
) -> dict[str, int]:
    """The bits of each layer's weights under the budget of a scheme, kept or else found anew.

    Args:
        denoiser: in full precision; it is not changed.
        scheme: any; without a budget there is nothing to find.
        calibration: gives the inputs, and says where the result is kept.
        full: the network's graph in full precision, as methods prepared it.

    Raises:
        InputError: the budget cannot be kept.
        RuntimeError: a cost is not finite.
    """
    if not scheme.budget:
        return {}
    if known := kept(scheme, calibration.place):
        return known
    parts = shares(full, scheme)
    budget.check(parts, scheme)
    start = functools.cache(lambda: _start(denoiser, scheme, calibration, full))
    bits = least(parts, measured(parts, start, calibration.place), scheme.budget)
    if calibration.place is not None:
        path = calibration.place / FILE
        artifacts.save_text(path, artifacts.bound(path), json.dumps(bits))
    return bits


def _start(
    denoiser: Denoiser, scheme: Scheme, calibration: Calibration, full: GraphModule
) -> RoundedAlone:
    """What measures the costs, on few inputs where no method fixed the size of the batch."""
    graph = full
    if not prepares(scheme) and calibration.shape[0] > INPUTS:
        graph = exported(denoiser, INPUTS)
    return RoundedAlone(graph, denoiser, calibration)


def kept(scheme: Scheme, place: Path | None) -> dict[str, int]:
    """The bits that were kept in a folder, none where there is no budget or nothing was kept."""
    if not scheme.budget or place is None:
        return {}
    path = place / FILE
    text = artifacts.load_text(path, artifacts.bound(path))
    bits: dict[str, int] = json.loads(text) if text else {}
    return bits


def front(
    denoiser: Denoiser,
    scheme: Scheme,
    calibration: Calibration,
    budgets: Sequence[float],
    uniform: Sequence[int],
) -> list[Allocation]:
    """The best allocation for each budget that can be kept, then all layers with equal bits.

    Each is predicted from layers that were rounded alone, and measured with all rounded at once.

    Args:
        denoiser: in full precision; it is not changed.
        scheme: says which layers have their weights quantized, and the fewest bits of edges.
        calibration: gives the inputs.
        budgets: means of bits.
        uniform: bits that all layers have but the edges, which may have more.

    Raises:
        InputError: the scheme does not fit the network.
        RuntimeError: a cost is not finite.
    """
    full = prepared(denoiser, scheme, calibration)
    parts = shares(full, scheme)
    fewest = budget.spent(parts, {part.name: part.least for part in parts})
    start = functools.cache(lambda: _start(denoiser, scheme, calibration, full))
    table = measured(parts, start, calibration.place)
    found = [
        allocation(parts, table, least(parts, table, allowed), allowed)
        for allowed in budgets
        if fewest <= budget.most(parts, allowed)
    ]
    for width in uniform:
        bits = {part.name: max(width, part.least) for part in parts}
        found.append(allocation(parts, table, bits))
    with torch.inference_mode(False):
        return [replace(each, measured=start().together(each.bits)) for each in found]


def measured(
    parts: Sequence[Share], start: Callable[[], RoundedAlone], place: Path | None
) -> Table:
    """The costs of all layers at all bits that they may have.

    Args:
        parts: the layers, in order of execution.
        start: gives what measures them, where there is something to measure.
        place: folder where the costs of each layer are kept, None to keep nothing.

    Raises:
        RuntimeError: a cost is not finite.
    """
    told = Remaining("bits of layers", sum(len(part.widths) for part in parts))
    table = {}
    for k, part in enumerate(parts):
        path, size = place and place / f"layer-{k}.npy", len(part.widths)
        known = _kept_costs(path, size)
        if known is None:
            with torch.inference_mode(False):
                known = start().alone(part.name, part.widths)
            if path:
                artifacts.save_array(path, artifacts.bound(path), known)
            told.advance(size)
        else:
            told.skip(size)
        table[part.name] = known
    return table


def _kept_costs(path: Path | None, widths: int) -> np.ndarray | None:
    """The costs of a layer that an earlier run measured, or None."""
    if path is None:
        return None
    return artifacts.load_array(path, artifacts.bound(path), (widths, None), np.float64)


def least(parts: Sequence[Share], table: Table, allowed: float) -> dict[str, int]:
    """The bits of least cost within a budget.

    Args:
        parts: the layers.
        table: their costs.
        allowed: mean of bits, not below that of the fewest.
    """
    costs = [table[part.name].mean(1) for part in parts]
    limit = budget.most(parts, allowed)
    with quiet_solver():
        bits, total = _solved(parts, costs, limit, max(map(np.max, costs)))
        if total > 0:
            # Again in units of what was found, in which the gap at which HiGHS stops is small.
            # What costs more by itself is in no better solution.
            costs = [np.where(cost <= total * (1 + 1e-9), cost, np.inf) for cost in costs]
            bits, _ = _solved(parts, costs, limit, total / UNIT)
    return bits


def _solved(
    parts: Sequence[Share], costs: Sequence[np.ndarray], limit: int, unit: float
) -> tuple[dict[str, int], float]:
    """The bits by the integer programme, and what they cost."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    choices = [
        (k, bits, cost)
        for k, part in enumerate(parts)
        for bits, cost in zip(part.widths, costs[k], strict=True)
        if np.isfinite(cost)
    ]
    owners = np.array([k for k, _, _ in choices])
    one_each = (owners == np.arange(len(parts))[:, None]).astype(float)
    size = np.array([parts[k].size * bits for k, bits, _ in choices], dtype=float)
    cost = np.array([cost for *_, cost in choices])
    allowed = limit
    while True:
        found = milp(
            cost / (unit or 1.0),
            integrality=np.ones(len(choices)),
            bounds=Bounds(0, 1),
            constraints=[
                LinearConstraint(one_each, 1, 1),
                LinearConstraint(size[None] / size.max(), -np.inf, allowed / size.max()),
            ],
            options={"mip_rel_gap": 0.0},
        )
        if found.x is None:
            raise RuntimeError(f"no allocation of bits was found: {found.message}")
        chosen = [choice for choice, x in zip(choices, found.x, strict=True) if x > 0.5]
        bits = {parts[k].name: width for k, width, _ in chosen}
        # The solver keeps limits to a millionth; the budget is kept exactly.
        over = budget.spent(parts, bits) - limit
        if over <= 0:
            return bits, float(sum(c for *_, c in chosen))
        allowed -= over


def allocation(
    parts: Sequence[Share], table: Table, bits: Mapping[str, int], allowed: float = 0.0
) -> Allocation:
    """Bits of layers with what they are said to cost."""
    predicted = sum(table[part.name][part.widths.index(bits[part.name])] for part in parts)
    return Allocation(bits, budget.mean(parts, bits), np.asarray(predicted), budget=allowed)

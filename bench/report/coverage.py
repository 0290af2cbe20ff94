"""The section of a report on coverage: the share of a network that each scheme quantizes, which
operators ran, how large the weights are, and how well kernels agree with the simulation.

Checkpoints of one architecture share a line; each has a line of its own for the agreement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from bench.core.halves import IN_HALVES, ONE_PASS
from bench.core.record import Coverage
from bench.report.formatting import NONE, decimal_places, escape, measured, percent, size, table
from bench.report.rows import CellRow, labels


def coverage(all_rows: Sequence[CellRow]) -> list[str]:
    """One line for each distinct coverage."""
    shared: dict[tuple[str, str], list[tuple[CellRow, Coverage]]] = {}
    for row in all_rows:
        if row.record.coverage and not row.scheme.is_float:
            key = str(row.scheme), repr(replace(row.record.coverage, agreement=None))
            shared.setdefault(key, []).append((row, row.record.coverage))
    if not shared:
        return []
    lines, floats, short = [], [], labels(all_rows)
    operators: list[str] = []
    everyone = len({row.checkpoint for row in all_rows})
    for members in shared.values():
        row, covered = members[0]
        names = [short[member.checkpoint] for member, _ in members]
        who = "all" if len(names) == everyone else ", ".join(names)
        lines.append(
            [*map(escape, (row.scheme.label, covered.kernel, who)), *_shares(row, covered)]
        )
        title = escape(f"{row.scheme.label}, {covered.kernel}, {who}")
        floats.append(f"- {title}: {_skipped(covered)}")
        operators.append(f"- {title}: {_listed(covered.macs_by_kernel, covered.macs)}")
    header = ["Scheme", "Kernel", "Checkpoints", "MACs by bits", "MACs", "Weights"]
    header += ["Size", "At rest", "In memory", "Smaller"]
    legend = (
        "MACs and Weights: quantized share of the multiply-accumulates and of the weights. Size "
        "is theoretical: weights at their bit widths with scales. At rest: measured, of the file "
        "that keeps the network, two 4-bit weights in a byte. In memory: measured, of the weights "
        "as they execute. Smaller: Size against that of full precision."
    )
    said = [*table(header, lines, left=4), "", legend, *_budgets(shared.values(), short)]
    said += ["", "Operators that were called, by multiply-accumulates:", "", *operators]
    if any(IN_HALVES in line for line in operators):
        said += ["", ONE_PASS]
    return [*said, "", "Convolutions and linear layers left in float:", "", *floats]


def _budgets(
    groups: Collection[Sequence[tuple[CellRow, Coverage]]], short: Mapping[str, str]
) -> list[str]:
    """The bits that layers were given under a budget, nothing where no scheme has one."""
    said = []
    for members in groups:
        row, covered = members[0]
        if not row.scheme.budget:
            continue
        counted = _weights_by_bits(covered, row.scheme.by_macs)
        total = sum(counted.values()) or 1
        mean = sum(bits * count for bits, count in counted.items()) / total
        shares = ", ".join(f"{b}-bit {percent(counted[b] / total)}" for b in sorted(counted))
        what = "multiply-accumulates" if row.scheme.by_macs else "weights"
        names = ", ".join(short[member.checkpoint] for member, _ in members)
        title = escape(f"{row.scheme.label}, {covered.kernel}, {names}")
        said.append(f"- {title}: {mean:.3f} bits on average; of the {what} {shares}")
    plain = " The costs that chose them are plain rounding's, whatever method follows."
    methods = any(
        members[0][0].scheme.methods for members in groups if members[0][0].scheme.budget
    )
    text = "Bits of weights under a budget, by layers of their own (all in run.json)"
    head = ["", f"{text}.{plain}" if methods else f"{text}:", ""]
    return [*head, *said] if said else []


def _weights_by_bits(covered: Coverage, by_macs: bool) -> Counter[int]:
    """Quantized weights, or their multiply-accumulates, by their bits."""
    sizes: dict[tuple[str, int], int] = {}
    for layer in covered.layers:
        if layer.weights and layer.bits.startswith("w"):
            key = layer.name, int(layer.bits[1:].partition("a")[0])
            # A module that runs twice has its weights once.
            sizes[key] = sizes.get(key, 0) + layer.macs if by_macs else layer.weights
    counted: Counter[int] = Counter()
    for (_, bits), count in sizes.items():
        counted[bits] += count
    return counted


def agreement(all_rows: Sequence[CellRow]) -> list[str]:
    """One line for each row of integer kernels that was compared with the simulation."""
    counted = [(row, row.record.coverage) for row in all_rows if row.record.coverage]
    rows = [(row, covered.agreement) for row, covered in counted if covered.agreement]
    if not rows:
        return []
    images = [row.record.measurement("psnr_simulated") for row, _ in rows]
    decimals = decimal_places(images)
    lines, short = [], labels(all_rows)
    for (row, known), likeness in zip(rows, images, strict=True):
        line = [*map(escape, (short[row.checkpoint], row.scheme.label, row.kernel))]
        line += [f"{known.worst_sqnr:.1f}", escape(known.worst_layer), f"{known.sqnr:.1f}"]
        lines.append([*line, f"{100 * known.codes:.2f}%", measured(likeness, decimals)])
    header = ["Checkpoint", "Scheme", "Kernel", "Worst layer alone, dB", "Layer", "Network, dB"]
    header += ["Codes that differ", "Images, PSNR dB"]
    legend = (
        "Signal to quantization noise of the kernels against the simulation: of the layer that "
        "agrees least on equal input, and of one evaluation of the network, where last bits turn "
        "some codes and their steps add up. Images: to those of the simulation, same noise."
    )
    return [*table(header, lines, left=3), "", legend]


def _shares(row: CellRow, covered: Coverage) -> list[str]:
    bits = dict(covered.macs_by_bits)
    left = covered.macs - sum(bits.values())
    if left > 0:
        bits["float"] = bits.get("float", 0) + left
    full = row.reference.record.coverage if row.reference else None
    return [
        _listed(bits, covered.macs),
        percent(covered.share),
        percent(covered.params_quantized / covered.params if covered.params else None),
        size(covered.bytes),
        size(covered.bytes_stored) if covered.bytes_stored else NONE,
        size(covered.bytes_memory) if covered.bytes_memory else NONE,
        f"{full.bytes / covered.bytes:.2f}x" if full and covered.bytes else NONE,
    ]


def _listed(counts: Mapping[str, int], total: int) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{escape(n)} {percent(c / (total or 1))}" for n, c in ordered) or NONE


def _skipped(covered: Coverage, most: int = 4) -> str:
    reasons: dict[str, Counter[str]] = {}
    for module, reason in covered.skipped:
        reasons.setdefault(reason, Counter())[module] += 1
    parts = []
    for reason, modules in reasons.items():
        shown = list(modules)[:most]
        more = f" and {len(modules) - most} more (run.json)" if len(modules) > most else ""
        parts.append(f"{escape(', '.join(shown))}{more}: {escape(reason)}")
    return "; ".join(parts) or "none"

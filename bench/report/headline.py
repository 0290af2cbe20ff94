"""What a run says, in words: what was sampled, and what each scheme costs each checkpoint.

A change of a distance is called a loss or a gain only where its interval excludes 0; where there
is no interval the text says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.names import frechet_title, kernel_title
from bench.record import Measurement
from bench.report.numbers import escape, measured, number, percent, places
from bench.report.precision import draws, span
from bench.report.rows import Group, Row, groups, interval, labels, schemes, verdict
from bench.spec import Scheme

NAMES = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "fd_twin": "FD to the full-precision samples",
}
KERNELS = {
    "none": "float arithmetic",
    "simulated": "simulated (quantized values in float arithmetic)",
    "int8": "integer kernels (int8)",
}


def _kernel(kernel: str) -> str:
    """What executed, in a word or two."""
    return kernel if kernel in ("none", "simulated") else f"{kernel} kernels"


def summary(found: Sequence[Row]) -> list[str]:
    """One paragraph and the schemes in words."""
    if not found:
        return ["The run holds no cells."]
    names = list(dict.fromkeys(row.checkpoint for row in found))
    quantized = [scheme for scheme in schemes(found) if not scheme.is_float]
    noise = (
        "in full precision and under each scheme below, from the same noise, so that every "
        "quantized image has a full-precision twin"
        if quantized
        else "in full precision; nothing was quantized"
    )
    sampled = "; ".join(
        f"{span(counts)} images per cell with {escape(draw.sampler.upper())} in {draw.steps} "
        f"steps, seed {draw.seed}"
        for draw, counts in draws(found)
    )
    plural = "checkpoint" if len(names) == 1 else "checkpoints"
    text = (
        f"{len(names)} {plural} ({escape(', '.join(names))}) sampled {noise}: {sampled}. "
        f"{_outcome(found)}"
    )
    lines = [
        f"- **{escape(scheme.label)}**{_whose(found, scheme)}: {escape(scheme.explain())}"
        for scheme in quantized
    ]
    return [text, *(["", *lines] if lines else [])]


def _whose(found: Sequence[Row], scheme: Scheme) -> str:
    """The checkpoints of a scheme whose label stands for others too."""
    alike = {row.scheme for row in found if row.scheme.label == scheme.label}
    names = dict.fromkeys(row.checkpoint for row in found if row.scheme == scheme)
    return f" ({escape(', '.join(names))})" if len(alike) > 1 else ""


def headline(found: Sequence[Row]) -> list[str]:
    """A ranking of the checkpoints for each scheme, kernel and family."""
    ranked = groups(found)
    if not ranked:
        return ["No quantized cell was measured."]
    several = len({group.family for group in ranked}) > 1
    kernels = len({group.kernel for group in ranked}) > 1
    sizes = len({row.images for group in ranked for row in group.rows}) > 1
    lines: list[str] = []
    for group in ranked:
        words = [_kernel(group.kernel)] * kernels + [f"family {group.family}"] * several
        words += [f"N = {group.rows[0].images}"] * sizes
        lines += [*([""] if lines else []), *_group(group, labels(found), words)]
    return lines


def changes_in_words(row: Row, decimals: int, kd_decimals: int) -> list[str]:
    """The changes of FD and KD against full precision and what may be said of them.

    Quantization noise adds to the bias of FD at finite N on one side of the change alone, so
    whether there is a loss or a gain is said of KD, which has no bias, where KD was measured.
    """
    texts = []
    if row.fd_change:
        ends = ""
        if row.fd and row.reference and row.reference.fd:
            # Not of the reference's row, which may have another N.
            before, after = row.fd.value - row.fd_change.value, row.fd.value
            ends = f" (from {number(before, decimals)} to {number(after, decimals)})"
        name = frechet_title([row.extractor])
        texts.append(_change(name, row.fd_change, decimals, ends, decides=not row.kd_change))
    if row.kd_change:
        name = kernel_title([row.extractor])
        texts.append(_change(name, row.kd_change, kd_decimals, "", decides=True))
    return texts


def _change(name: str, change: Measurement, decimals: int, ends: str, decides: bool) -> str:
    kind = verdict(change)
    if kind == "undefined":
        return f"change of {name} undefined"
    text = f"{name} {measured(change, decimals, signed=True)}{ends}"
    if kind == "unclear":
        return f"{text}, not distinguishable from 0"
    if kind == "open":
        lower = change.value < 0 if change.better == "lower" else change.value > 0
        return f"{text}, no interval yet" + (", so not an improvement" if lower else "")
    if not decides:
        return text
    words = {"worse": "a loss beyond the noise", "better": "an improvement beyond the noise"}
    return f"{text}, {words[kind]}"


def _outcome(found: Sequence[Row]) -> str:
    statuses = [row.status for row in found]
    counts = {status: statuses.count(status) for status in ("refused", "failed")}
    missing = [f"{count} {status}" for status, count in counts.items() if count]
    done = len(found) - sum(counts.values())
    if not missing:
        return f"All {len(found)} cells were measured."
    return f"{done} of {len(found)} cells were measured, {' and '.join(missing)}."


def _group(group: Group, names: dict[str, str], words: Sequence[str]) -> list[str]:
    kernel = KERNELS.get(group.kernel, f"{group.kernel} kernels")
    shares = sorted({percent(row.share) for row in group.rows}, key=lambda text: float(text[:-1]))
    coverage = shares[0] if len(shares) == 1 else f"{shares[0]} to {shares[-1]}"
    lines = [
        f"### {escape(', '.join([group.scheme.label, *words]))}",
        "",
        f"Execution: {escape(kernel)}; {coverage} of the multiply-accumulates quantized. "
        f"{_lead(group, names)}",
        "",
    ]
    decimals = places([row.fd for row in group.rows])
    kd_decimals = places([row.kd_change for row in group.rows])
    loss_decimals = places([getattr(row, group.metric, None) for row in group.rows])
    for rank, row in enumerate(group.rows, start=1):
        parts = [_loss(row, group.metric, loss_decimals)]
        parts += changes_in_words(row, decimals, kd_decimals)
        text = "; ".join(part for part in parts if part) or "nothing measured"
        lines.append(f"{rank}. **{escape(names[row.checkpoint])}**: {text}.")
    return [*lines, *_doubts(group, names)]


def _lead(group: Group, names: dict[str, str]) -> str:
    if not group.metric:
        return "No paired metric was measured, so there is no ranking."
    if len(group.rows) == 1:
        return "One checkpoint, so there is no ranking."
    first, last = group.rows[0], group.rows[-1]
    return (
        f"Ranked by {NAMES[group.metric]} against each checkpoint's own full-precision images, "
        f"**{escape(names[first.checkpoint])} comes first and {escape(names[last.checkpoint])} "
        f"last**, from the smallest to the largest loss:"
    )


def _loss(row: Row, metric: str, decimals: int) -> str:
    measurement: Measurement | None = getattr(row, metric) if metric else None
    if measurement is None:
        return ""
    if math.isinf(measurement.value) and metric == "psnr":
        return "PSNR infinite: identical to full precision"
    text = f"{NAMES[metric]} {measured(measurement, decimals, unit=measurement.unit)}"
    return text if interval(measurement) else f"{text}, no interval yet"


def _doubts(group: Group, names: dict[str, str]) -> list[str]:
    """Which neighbours of the ranking this run does not tell apart."""
    if len(group.rows) < 2 or not group.metric:
        return []
    pairs = [
        f"{names[first.checkpoint]} and {names[second.checkpoint]}"
        for first, second in group.overlaps
    ]
    lines = []
    if pairs:
        lines.append(
            f"The intervals of {escape('; of '.join(pairs))} overlap: this run does not settle "
            f"their order."
        )
    if group.undecided:
        lines.append("Values with no interval are ranked as they are: noise may reorder them.")
    return ["", " ".join(lines)] if lines else []

"""A run as one Markdown page: the answer in words, the tables, then protocol and machine.

The page reads the run and looks for the figures of its folder, nothing else, so rendering it again
gives the same text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from bench.core import distances
from bench.core.record import Measurement, Run
from bench.report import (
    descriptions,
    elsewhere,
    floors,
    methods,
    one_look,
    probe_page,
    provenance,
    quantization_methods,
)
from bench.report.coverage import agreement, coverage
from bench.report.figures.captions import captions
from bench.report.formatting import (
    NONE,
    decimal_places,
    escape,
    measured,
    table,
    without_interval,
)
from bench.report.headline import headline, summary
from bench.report.rows import CellRow, interval, labels, rows, with_floors
from bench.report.sample_sizes import draws, few_real, precision, span, verdicts
from bench.report.verdict import verdicts as judged
from bench.system import influences
from bench.system.runs import sample_path
from bench.verdicts.methods import ignored, method_comparisons, unmatched

MEASURED = "the same checkpoint in full precision, measured in this run on the same noise"
COLUMNS = (
    ("{fd}", "fd"),
    ("Change of {fd}", "fd_change"),
    ("{kd}", "kd"),
    ("PSNR, dB", "psnr"),
    ("SSIM", "ssim"),
    ("FD to {full}", "fd_twin"),
)


def markdown(run: Run, folder: Path) -> str:
    """The report of a run whose figures and samples are in `folder`."""
    lines = [f"# {title(run)}"]
    for heading, body in sections(run, folder):
        lines += ["", *([f"## {heading}", ""] if heading else []), *body]
    return "\n".join(lines) + "\n"


def title(run: Run) -> str:
    """The page's title, as Markdown."""
    return f"Quantization robustness, run {escape(run.id)}"


def sections(run: Run, folder: Path) -> list[tuple[str, list[str]]]:
    """(heading, lines) of the page's parts that have something to say, the answer first."""
    all_rows = rows(run)
    everything = with_floors(run)
    bad = [row for row in everything if not row.ok]
    terms = influences.load(folder / influences.NAME)
    foreign = elsewhere.is_elsewhere(all_rows)
    cards = ("Checkpoints", _checkpoints(all_rows))
    parts = [
        ("In one look", one_look.lines(judged(all_rows, terms))),
        ("What was measured", summary(all_rows)),
        ("What quantization costs", headline(all_rows, terms)),
        ("The noise floor", floors.section(all_rows, terms)),
        (
            "Methods against each other",
            methods.lines(method_comparisons(run, terms), unmatched(run), ignored(run)),
        ),
        ("The paper's claims", probe_page.summary(folder)),
        ("Images that quantization did not change", floors.unchanged(all_rows, terms)),
        ("Results", _results(all_rows)),
        ("Verdicts of the sampling in rounds", verdicts(all_rows)),
        ("Further measurements", _further(all_rows)),
        ("Not measured", _bad([row for row in everything if row.ok and row.error])),
        ("Refused and failed", _bad(bad)),
        ("Figures", _figures(all_rows, folder)),
        ("Coverage", elsewhere.coverage(all_rows) if foreign else coverage(all_rows)),
        ("Agreement of kernels with the simulation", agreement(all_rows)),
        ("Protocol", _protocol(all_rows, run)),
        ("Sets of images", elsewhere.sets(everything)) if foreign else cards,
        ("Host and versions", provenance.hosts(all_rows)),
        ("Provenance", provenance.lines(run)),
        ("Notes", _notes(all_rows)),
    ]
    return [(heading, body) for heading, body in parts if body]


def _results(all_rows: Sequence[CellRow]) -> list[str]:
    header, names = ["Checkpoint", "Scheme", "Kernel", "Coverage", "N"], labels(all_rows)
    used = {row.extractor for row in all_rows}
    fd, kd = distances.frechet_title(used), distances.kernel_title(used)
    columns = _columns(used)
    full = elsewhere.worded(all_rows, "own full precision", "the reference")
    header += [title.format(fd=fd, kd=kd, full=full) for title, _ in columns]
    decimals = {
        field: decimal_places([getattr(row, field) for row in all_rows]) for _, field in COLUMNS
    }
    # FD and its change have the same decimals, so that they can be subtracted by eye.
    decimals["fd"] = decimals["fd_change"] = decimal_places([row.fd for row in all_rows])
    lines = []
    for row in all_rows:
        line = [names[row.checkpoint], elsewhere.scheme(row), row.kernel or row.status]
        line = [*map(escape, line), elsewhere.share(row), str(row.images)]
        for _, field in columns:
            value = getattr(row, field)
            line.append(measured(value, decimals[field], signed=field == "fd_change"))
        lines.append(line)
    extractor = ", ".join(sorted(used))
    what = f"{fd} and {kd}: Fréchet and kernel distance of {escape(extractor)} features"
    if len(columns) < len(COLUMNS):
        what = f"{kd}: kernel distance of {escape(extractor)} embeddings"
    pairs = elsewhere.pairs(all_rows)
    legend = (
        f"{what} to real images, lower is closer. PSNR, SSIM and the last column compare {pairs}. "
        "Brackets: 95% interval; a number without brackets has no interval yet."
    )
    paragraphs = [part for part in (precision(all_rows), few_real(all_rows)) if part]
    told = [line for part in paragraphs for line in ("", *part)]
    return [*table(header, lines, left=3), "", legend, *told]


def _columns(used: Collection[str]) -> tuple[tuple[str, str], ...]:
    """The columns of measurements; embeddings have no Fréchet distance."""
    if used and all(distances.kind(extractor) == "embeddings" for extractor in used):
        return tuple(column for column in COLUMNS if not column[1].startswith("fd"))
    return COLUMNS


def _further(all_rows: Sequence[CellRow]) -> list[str]:
    """Every measurement that the main table has no column for."""
    further = [
        (row, measurement)
        for row in all_rows
        for measurement in (*((row.kd_change,) if row.kd_change else ()), *row.rest)
    ]
    names, alike = labels(all_rows), dict[str, list[Measurement]]()
    for _, measurement in further:
        alike.setdefault(measurement.name, []).append(measurement)
    lines = []
    for row, measurement in further:
        decimals = decimal_places(alike[measurement.name])
        signed = measurement.name.startswith("delta_")
        text = measured(measurement, decimals, signed)
        line = [names[row.checkpoint], row.scheme.label, row.kernel, measurement.name]
        known = interval(measurement) or without_interval(measurement)
        line.append(text if known else f"{text}, no interval yet")
        lines.append([*map(escape, line[:4]), line[4], escape(measurement.unit)])
    header = ["Checkpoint", "Scheme", "Kernel", "Measurement", "Value", "Unit"]
    return table(header, lines, left=4) if lines else []


def _bad(all_rows: Sequence[CellRow]) -> list[str]:
    lines = [
        [row.checkpoint, str(row.scheme), row.backend, row.status, row.error or NONE]
        for row in all_rows
    ]
    header = ["Checkpoint", "Scheme", "Backend", "Status", "Reason"]
    return table(header, [list(map(escape, line)) for line in lines], left=5) if lines else []


def _figures(all_rows: Sequence[CellRow], folder: Path) -> list[str]:
    lines: list[str] = []
    for name, title in captions(all_rows, folder).items():
        lines += [f"![{title}](figures/{name})", ""]
    missing = [
        f"{row.checkpoint} {row.scheme} {row.backend}"
        for row in all_rows
        if row.ok and not sample_path(folder / "samples", row.cell).is_file()
    ]
    if missing:
        lines += [f"No sample images were kept of: {escape(', '.join(missing))}.", ""]
    return lines[:-1]


def _protocol(all_rows: Sequence[CellRow], run: Run) -> list[str]:
    foreign = elsewhere.is_elsewhere(all_rows)
    lines = elsewhere.protocol(all_rows) if foreign else _sampling(all_rows)
    known = {pair for row in all_rows for pair in row.record.real_images.items() if pair[1]}
    told = [f"{count:,} by {name}" for name, count in sorted(known)]
    lines.append(["Real images", ", ".join(told) or "number not recorded"])
    extractors = {name for row in all_rows for name in row.cell.extractors}
    lines.append(["Feature extractors", ", ".join(sorted(extractors)) or NONE])
    versions = {f"{m.name} v{m.version}" for row in all_rows for m in row.record.measurements}
    lines.append(["Metric versions", ", ".join(sorted(versions)) or NONE])
    lines += descriptions.lines(run)
    return table(["Setting", "Value"], [list(map(escape, line)) for line in lines], left=2)


def _sampling(all_rows: Sequence[CellRow]) -> list[list[str]]:
    """(setting, value) of what was sampled and calibrated."""
    lines = []
    for draw, counts in draws(all_rows):
        lines += [
            ["Sampler", f"{draw.sampler}, {draw.steps} steps, eta {draw.eta:g}"],
            ["Timestep spacing", draw.spacing],
            *([["Guidance", draw.guidance_words]] if draw.is_guided else []),
            ["Images", f"{span(counts)} per cell, indices 0 to {counts[-1] - 1}"],
            ["Seed", str(draw.seed)],
            ["Batch, type", f"{draw.batch}, {draw.dtype}"],
        ]
    for scheme in dict.fromkeys(row.scheme for row in all_rows if not row.scheme.is_float):
        batches = {row.cell.draw.batch for row in all_rows if row.scheme == scheme}
        counts = sorted({-(-scheme.calibration // size) * size for size in batches})
        text = (
            f"{scheme.observer} ranges, {', '.join(map(str, counts))} full-precision trajectories"
        )
        lines.append([f"Calibration, {scheme}", text])
    lines += quantization_methods.lines(all_rows)
    sealed = [row for row in all_rows if row.record.calibration]
    hashes = {f"{row.checkpoint} {row.record.calibration[:12]}" for row in sealed}
    return [*lines, ["Calibration batches (SHA-256)", ", ".join(sorted(hashes)) or NONE]]


def _checkpoints(all_rows: Sequence[CellRow]) -> list[str]:
    cards = {row.checkpoint: row.cell.checkpoint for row in all_rows}
    lines, names = [], labels(all_rows)
    for card in cards.values():
        reported = ", ".join(f"{name} {value:g}" for name, value in card.reported.items())
        line = (names[card.name], card.name, card.family, card.method, card.dataset)
        lines.append(list(map(escape, (*line, card.sha256[:12], reported or NONE))))
    header = ["Here", "Checkpoint", "Family", "Method", "Data set", "Weights (SHA-256)"]
    return table([*header, "Published"], lines, left=7) if lines else []


def _named(all_rows: Sequence[CellRow]) -> str:
    """Whether the FD of the rows is FID, and what it may be compared with."""
    cells = [row.cell for row in all_rows]
    if not any(extractor in distances.FRECHET for c in cells for extractor in c.extractors[:1]):
        return "is not FID: it is not comparable with published figures, nor with another N"
    name = escape(distances.frechet(cells[0].extractors[0]))
    return f"is {name}: it is not comparable with another N, resizing or set of real images"


def _stems(used: Iterable[str]) -> str:
    """The names of the Fréchet distances in run.json, fd where they have no title."""
    stems = {distances.frechet(e) if e in distances.FRECHET_TITLES else "fd" for e in used}
    return escape(", ".join(sorted(stems)))


def _unbiased(kd: str) -> str:
    if kd == distances.KERNEL_TITLES["clip"]:
        return "CMMD is a V-statistic as in its paper's code, with a bias of the order of 1 / N."
    return f"{kd} and its change have no such bias."


def _notes(all_rows: Sequence[CellRow]) -> list[str]:
    counts = ", ".join(str(count) for count in sorted({row.images for row in all_rows})) or NONE
    used = {row.extractor for row in all_rows}
    fd, kd = distances.frechet_title(used), distances.kernel_title(used)
    kernels = {row.kernel for row in all_rows if row.ok}
    kept = len(_columns(used)) == len(COLUMNS)
    notes = [
        f"- {fd} ({_stems(used)}@N) is biased upwards at N = {counts} and {_named(all_rows)}. Its "
        "change holds at this N only: noise that quantization adds raises the bias of the "
        f"quantized side. {_unbiased(kd)}"
        if kept
        else f"- {_unbiased(kd)}",
        f"- Each change is against {elsewhere.base(all_rows, MEASURED)}. A lower distance is no "
        "improvement unless its interval excludes 0.",
    ]
    remarks: dict[str, None] = {}
    for cell in (row.cell for row in all_rows):
        for extractor in cell.extractors:
            remarks |= dict.fromkeys(distances.remarks(extractor, cell.draw.images))
    notes += [f"- {escape(remark)}." for remark in remarks]
    if "simulated" in kernels:
        notes.append(
            "- Simulated rows round values as the scheme says but compute in float: they say "
            "nothing about speed or memory."
        )
    return notes

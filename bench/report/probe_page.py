"""The outcome of the probes as a page, `probes.md`, and its summary in the report of a run.

The page reads `probes.json`, and `run.json` where that lies beside it: rendering it again gives
the same text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.core import border, probe_record
from bench.core.printable import code
from bench.core.probe_record import ProbeRun, ProbeValue
from bench.core.record import Run
from bench.report import claims
from bench.report.figures import probes
from bench.report.formatting import NONE, escape, percent, significant, table
from bench.system import influences, store
from bench.system.runs import read_run
from bench.verdicts.claims import FLATNESS, differences, flatness, lost

PAGE = "probes.md"
FLATNESS_LEGEND = (
    "Rises of the denoising loss; of each curve its largest radius, relative to the norm of the "
    "weights. Brackets: 95% interval, of the eigenvalue the bound of its computation. Lower is "
    "flatter. A relative radius compares networks whose weights differ in size, but no measure of "
    "flatness is free of the way a network is parametrized."
)


# At least so many layers are shown for each checkpoint.
NOISIEST = 3
LAYERS_LEGEND = (
    "The noisiest layer first, by its worst band. Only the layers that are noisiest in the band "
    "that costs the images most were sampled, each quantized alone; the skip list is made of them."
)

ALLOCATION_LEGEND = (
    "Mean squared change of the network's prediction on inputs of its own sampling, with all "
    "weights rounded at once and activations in float. Layer by layer: of the allocation of least "
    "predicted error whose mean of bits is at most as large (`bench run --scheme 'w~4a8'` runs "
    "it). Same error with: the smallest budget that was tried whose allocation has no more error. "
    "Images are what counts: a smaller change of the prediction need not mean better images."
)


def render(probed: ProbeRun, folder: Path) -> Path:
    """Write the figures and `probes.md` to a folder; return the page's path."""
    figures = probes.draw(probed, folder / "figures")
    run = read_run(folder) if (folder / "run.json").is_file() else None
    store.save_text(folder / PAGE, markdown(probed, run, folder, figures))
    return folder / PAGE


def beside(folder: Path) -> ProbeRun | None:
    """The probes kept beside a run; None where nothing was probed."""
    path = folder / probe_record.FILE
    return probe_record.read(path) if border.exists(path) else None


def summary(folder: Path) -> list[str]:
    """The claims and a link to the page, for a run's report; nothing without probes."""
    probed = beside(folder)
    if probed is None:
        return []
    run = read_run(folder)
    told = claims.lines(probed, run, influences.load(folder / influences.NAME))
    return [*told, "", f"All numbers and figures: [{PAGE}]({PAGE})."]


def markdown(
    probed: ProbeRun, run: Run | None, folder: Path, figures: dict[str, str] | None = None
) -> str:
    """The page; `figures` are titles by file name."""
    terms = influences.load(folder / influences.NAME) if run else {}
    apart = [*differences(probed), *(lost(run, terms) if run else [])]
    pictures = [
        line
        for name, title in (figures or {}).items()
        for line in (f"![{escape(title)}](figures/{name})", "")
    ]
    parts = [
        ("The paper's claims, one by one", claims.lines(probed, run, terms)),
        ("Flatness", _flatness(probed)),
        ("Exposure bias and prior shift", _sampling(probed)),
        ("Sensitive layers", _layers(probed)),
        ("Skip list", _skips(probed)),
        ("Bits for each layer", _allocations(probed)),
        ("Refused and failed", _bad(probed)),
        ("Figures", pictures[:-1]),
        ("Flatness against loss", claims.correlation_table(probed, run)),
        ("SAM against the others", claims.difference_table(apart)),
        ("Setting", _setting(probed)),
    ]
    lines = [f"# Probes, {escape(probed.run or probed.id)}"]
    for heading, body in parts:
        if body:
            lines += ["", f"## {heading}", "", *body]
    return "\n".join(lines) + "\n"


def cell(row: ProbeValue | None) -> str:
    """A number with its interval, in three significant digits."""
    if row is None:
        return NONE
    text = significant(row.value)
    if row.low is not None and row.high is not None and row.low < row.high:
        text += f" [{significant(row.low)}, {significant(row.high)}]"
    return "undefined" if text.startswith("nan") else text


def _flatness(probed: ProbeRun) -> list[str]:
    names = probes.checkpoints(probed)
    columns = [t for t in FLATNESS if any(flatness(probed, name, t) for name, _ in names)]
    if not columns:
        return []
    body = []
    for name, method in names:
        rows = [flatness(probed, name, title) for title in columns]
        loss = _first(probed.rows(name, "loss"))
        body.append([escape(name), escape(method), cell(loss), *map(cell, rows)])
    header = ["Checkpoint", "Method", "Loss", *columns]
    return [*table(header, body, left=2), "", FLATNESS_LEGEND]


def _sampling(probed: ProbeRun) -> list[str]:
    names = ("exposure_gap", "exposure_distance", "prior_shift", "psnr")
    body = []
    for name, method in probes.checkpoints(probed):
        rows = [row for number in names for row in probed.rows(name, number)]
        for scheme in dict.fromkeys(row.scheme for row in rows):
            at = [_first([r for r in rows if (r.name, r.scheme) == (n, scheme)]) for n in names]
            body.append([escape(name), escape(method), escape(scheme) or "fp32", *map(cell, at)])
    if not body:
        return []
    legend = (
        "Exposure gap: mean over the timesteps of sampling of the squared norm of the predicted "
        "noise, less that on noised real images; quantized networks take fewer images, so that "
        "their intervals are wider. Energy distance: of the distributions of x_t. "
        "Prior shift: mean rise of the kernel distance (1e-3) over the shifted starts. PSNR: to "
        "the same noise in full precision."
    )
    header = ["Checkpoint", "Method", "Scheme", "Exposure gap", "Energy distance", "Prior shift"]
    return [*table([*header, "PSNR, dB"], body, left=3), "", legend]


def _layers(probed: ProbeRun) -> list[str]:
    """The layers that were verified by images and the noisiest ones, the noisiest first."""
    body, bare = [], False
    for name, _ in probes.checkpoints(probed):
        verified = {str(row.where["layer"]): row for row in probed.rows(name, "layer_psnr")}
        lowest: dict[str, ProbeValue] = {}
        for row in sorted(probed.rows(name, "layer_sqnr"), key=lambda row: row.value):
            lowest.setdefault(str(row.where["layer"]), row)
        # The verified layers are the noisiest of one band; another band may have noisier ones.
        noisiest = list(lowest)[: max(len(verified), NOISIEST)]
        for layer in [layer for layer in lowest if layer in verified or layer in noisiest]:
            noise, psnr = lowest[layer], verified.get(layer)
            bare |= psnr is None
            body.append(
                [
                    *map(escape, (name, noise.scheme, f"only {layer}")),
                    _band(noise),
                    cell(psnr) if psnr else "not sampled",
                ]
            )
        for row in probed.rows(name, "band_psnr"):
            ends = f"all layers, t from {row.where['from']} to below {row.where['to']}"
            body.append([escape(name), escape(row.scheme), ends, NONE, cell(row)])
    header = ["Checkpoint", "Scheme", "Quantized", "Lowest SQNR, dB", "PSNR, dB"]
    lines = table(header, body, left=3) if body else []
    return [*lines, "", LAYERS_LEGEND] if bare else lines


def _band(row: ProbeValue | None) -> str:
    return f"{row.value:.1f} (band {int(float(row.where['band'])) + 1})" if row else NONE


def _skips(probed: ProbeRun) -> list[str]:
    body = []
    for name, _ in probes.checkpoints(probed):
        for cost in probed.rows(name, "skip_macs"):
            scheme = str(cost.where["scheme"])
            psnr = [
                _first(probed.rows(name, "skip_psnr", scheme=s)) for s in (cost.scheme, scheme)
            ]
            body.append([escape(name), code(scheme), percent(cost.value), *map(cell, psnr)])
    if not body:
        return []
    legend = (
        "`bench run --skip from-probe` runs each checkpoint with its list beside that without."
    )
    header = [
        "Checkpoint",
        "Suggested scheme",
        "MACs left in float",
        "PSNR before",
        "PSNR with it",
    ]
    return [*table(header, body, left=2), "", legend]


def _allocations(probed: ProbeRun) -> list[str]:
    """Layers of equal bits beside the best bits for each layer."""
    body = []
    for name, _ in probes.checkpoints(probed):
        front = sorted(probed.rows(name, "front_measured"), key=_mean_bits)
        for row in probed.rows(name, "uniform_measured"):
            within = [other for other in front if _mean_bits(other) <= _mean_bits(row)]
            best = within[-1] if within else None
            enough = _first([other for other in front if other.value <= row.value])
            line = [escape(name), escape(row.scheme), escape(str(row.where["uniform"]))]
            for each in (row, best):
                line += [f"{_mean_bits(each):.2f}" if each else NONE, cell(each)]
            body.append([*line, f"{_mean_bits(enough):.2f} bits" if enough else NONE])
    if not body:
        return []
    header = ["Checkpoint", "Scheme", "Bits of all layers", "Mean bits", "Error"]
    header += ["Layer by layer, mean bits", "Error", "Same error with"]
    return [*table(header, body, left=2), "", ALLOCATION_LEGEND]


def _mean_bits(row: ProbeValue) -> float:
    return float(row.where["bits"])


def _bad(probed: ProbeRun) -> list[str]:
    body = [
        list(map(escape, (p.checkpoint, p.probe, p.part, p.status, p.error)))
        for p in probed.parts
        if p.status != "ok"
    ]
    header = ["Checkpoint", "Probe", "Part", "Status", "Reason"]
    return table(header, body, left=5) if body else []


def _setting(probed: ProbeRun) -> list[str]:
    body = [[escape(name), escape(str(value))] for name, value in probed.setting.items()]
    versions = dict.fromkeys(f"{part.probe} v{part.version}" for part in probed.parts)
    body.append(["Probes", escape(", ".join(versions))])
    body.append(["Command", escape(probed.command)])
    body.append(["Created, commit", escape(f"{probed.created}, {probed.commit or NONE}")])
    return table(["Setting", "Value"], body, left=2)


def _first(rows: Sequence[ProbeValue]) -> ProbeValue | None:
    return rows[0] if rows else None

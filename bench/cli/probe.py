"""`bench probe` and `bench run --probes`: from flags to `probes.json`, its page and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import execution, exits, handing, publishing
from bench.cli.flags import Cards, Device, Out, Seed, TrustCode, listed
from bench.cli.handing import Tasks
from bench.core import extensions, probe_record, tables
from bench.core.cell import Cell, Checkpoint, Draw
from bench.core.errors import InputError, offer
from bench.core.printable import plain, quoted
from bench.core.probe_record import ProbePart, ProbeRun
from bench.core.progress import Done
from bench.core.scheme import Scheme
from bench.evaluation import piped, planning
from bench.evaluation.engines import automatic
from bench.evaluation.probe_context import SMOKE_EXAMPLES
from bench.models.cards import card_file, load_cards, select, verify
from bench.report import redaction
from bench.system import devices, store
from bench.system.checkout import git_state
from bench.system.host import fingerprint
from bench.system.runs import find_run, read_run

if TYPE_CHECKING:
    from bench.evaluation.probe_context import Plan

# Overrides for `--preset smoke`: the smallest sizes that still give every row.
SMOKE = {
    **{"examples": SMOKE_EXAMPLES, "exposure": 20, "directions": 2},
    **{"radii": (0.01, 0.05), "worst_radii": (0.001,)},
    **{"ascent": 2, "shifts": 4, "curvature": 16, "lanczos": 4, "eigenvalues": 1},
    **{"hutchinson": 3, "images": 10, "worst": 2},
}
PRESETS = ("smoke", "default")
ALL = "all"


Bits = Annotated[
    int | None, typer.Option("--bits", metavar="INT", help="Weight bits: 4 means w4a8.")
]

Explained = Annotated[
    list[str] | None,
    typer.Option(
        "--scheme", metavar="SCHEME", help="To explain (repeatable) [default: w8a8, w4a8]."
    ),
]


def probe(
    checkpoints: Annotated[
        str, typer.Option("--checkpoints", metavar="GLOB,...", help="Names or methods.")
    ] = "*",
    probes: Annotated[
        str | None,
        typer.Option("--probes", metavar="NAME,...", help="Which (bench list) [default: all]."),
    ] = None,
    bits: Bits = None,
    scheme: Explained = None,
    backend: Annotated[
        str, typer.Option("--backend", metavar="NAME", help="What executes them.")
    ] = "simulated",
    device: Device = devices.CPU,
    engine: Tasks = automatic.LOCAL,
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help="smoke or default.")
    ] = "default",
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="RUN", help="A run to explain: files go beside its own."),
    ] = None,
    seed: Seed = 0,
    cards: Cards = None,
    trust_code: TrustCode = False,
    out: Out = Path("reports"),
) -> int:
    """Flatness, Hessian, exposure bias, prior shift and layer sensitivity; the paper's claims.

    Example: bench probe --checkpoints 'fashion-unet-sam*' --probes flatness,hessian
    """
    if preset not in PRESETS:
        raise InputError(f"unknown preset {quoted(preset)}: {offer(preset[:100], PRESETS)}")
    names = _names(probes or ALL)
    extensions.require("backends", backend)
    place, wanted = devices.find(device), planning.schemes(bits, scheme or ())
    all_cards = load_cards(card_file(cards))
    chosen = [verify(card) for card in select(all_cards, listed("--checkpoints", checkpoints))]
    folder = None if run is None else find_run(out, run)
    execution.prepare(folder or out)
    plan = replace(_plan(preset, seed, names, wanted, backend), device=place)
    parts = _probe(plan, chosen, handing.for_tasks(engine, place))
    if not any(part.status == "ok" for part in parts):
        raise InputError(f"nothing could be probed: {parts[0].error}")
    print(_write(out, folder, plan, parts))
    return exits.FAILED if _failed(parts) else exits.FINE


def of_run(cells: Sequence[Cell], probes: str | None, preset: str, device: str) -> Plan | None:
    """What `bench run --probes` explains: the simulation of the run's schemes; None without.

    Raises:
        InputError: an unknown probe.
    """
    if probes is None:
        return None
    wanted = tuple(dict.fromkeys(c.scheme for c in cells if not c.scheme.is_float))
    plan = _plan(preset, cells[0].draw.seed, _names(probes), wanted, "simulated")
    return replace(plan, device=device)


def dry_run(cells: Sequence[Cell], plan: Plan | None) -> None:
    """Say what would be probed."""
    if plan is not None:
        count = sum(len(plan.parts(probe)) for probe in plan.probes)
        print(
            f"probes: {', '.join(plan.probes)}: {count} parts for each of "
            f"{len(_checkpoints(cells))} checkpoints, not in this estimate"
        )


def parts_of_run(cells: Sequence[Cell], plan: Plan | None, engine: str) -> list[ProbePart]:
    """Probe the checkpoints of a run by its engine, before it: an interrupted command leaves only
    the cache."""
    return [] if plan is None else _probe(plan, _checkpoints(cells), engine)


def write_beside(
    folder: Path, plan: Plan | None, parts: Sequence[ProbePart], redact: bool = False
) -> bool:
    """Write what was found beside the run's files and render its report again with the claims;
    whether a part failed."""
    if plan is not None:
        print(_write(folder.parent, folder, plan, parts, redact))
    return _failed(parts)


def _failed(parts: Sequence[ProbePart]) -> bool:
    return any(part.status == "failed" for part in parts)


def _checkpoints(cells: Sequence[Cell]) -> list[Checkpoint]:
    return list({cell.checkpoint.name: cell.checkpoint for cell in cells}.values())


def _names(words: str) -> tuple[str, ...]:
    """Probes of a flag: names with commas between, or all."""
    names = tuple(tables.PROBES) if words == ALL else tuple(listed("--probes", words))
    for name in names:
        extensions.require("probes", name)
    return names


def _plan(
    preset: str, seed: int, names: Sequence[str], wanted: Sequence[Scheme], backend: str
) -> Plan:
    """Sizes of a preset for all checkpoints."""
    from bench.evaluation.probe_context import Plan
    from bench.measurement.probes.context import Setting

    smoke = preset == "smoke"
    setting = Setting(seed=seed, **(SMOKE if smoke else {}))  # type: ignore[arg-type]
    images, steps = setting.images, 5 if smoke else 20
    draw = Draw(steps=steps, images=images, seed=seed, batch=min(images, 50))
    return Plan(names, tuple(wanted), backend, draw, setting)


def _probe(plan: Plan, chosen: Sequence[Checkpoint], engine: str) -> list[ProbePart]:
    """All parts of all checkpoints, with a bar on a terminal and a line for each part."""
    from rich.console import Console
    from rich.progress import Progress

    from bench.evaluation import probing

    for card in chosen:
        piped.refuse(card, "a probe")
    worker = probing.ProbeWorker(plan, fingerprint(plan.device), store.cache_root())
    wanted = probing.tasks(plan, chosen)
    console = Console(stderr=True)
    found: dict[str, Sequence[ProbePart]] = {}
    with (
        Progress(console=console, disable=not console.is_terminal, transient=True) as bar,
        handing.events(engine, worker, wanted) as events,
    ):
        total = sum(len(plan.parts(each.probe)) for each in wanted)
        shown = bar.add_task("probes", total=total)
        for event in events:
            line = str(event)
            if isinstance(event, Done):
                found[str(event.work)] = probing.outcomes(plan, event)
                line = f"{event.work}: failed ({event.error})" if event.error else ""
            bar.update(shown, advance=0 if isinstance(event, Done) else 1, description=plain(line))
            if line:
                console.print(plain(line), markup=False, highlight=False, soft_wrap=True)
    return [part for each in wanted for part in found[str(each)]]


def _write(
    out: Path, folder: Path | None, plan: Plan, parts: Sequence[ProbePart], redact: bool = False
) -> Path:
    """Write the file, its page and figures; return the page's path."""
    from bench import report as rendering
    from bench.report import probe_page

    commit, _ = git_state(Path.cwd())
    now = datetime.now(timezone.utc)
    stem = f"{now:%Y%m%dT%H%M%SZ}-{commit[:8] or 'nogit'}-probes"
    probe_run = ProbeRun(
        stem,
        now.isoformat(timespec="seconds"),
        commit,
        publishing.command_line(),
        asdict(plan.setting)
        | {"draw": asdict(plan.draw), "backend": plan.backend, "device": plan.device},
        tuple(parts),
        run="" if folder is None else read_run(folder).id,
    )
    probe_run = redaction.redacted_probes(probe_run) if redact else probe_run

    def write(target: Path, identity: str) -> None:
        named = replace(probe_run, id=identity)
        store.save_text(target / probe_record.FILE, probe_record.to_json(named))
        if folder is None:
            probe_page.render(named, target)

    if folder is None:
        return store.publish(out, stem, write) / probe_page.PAGE
    write(folder, stem)
    rendering.render(read_run(folder), folder)
    return folder / probe_page.PAGE

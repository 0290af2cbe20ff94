"""`bench certify`: a certificate of what quantized cells lose at most, and whether one holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import exits
from bench.cli.flags import Out
from bench.core import border
from bench.core.errors import InputError
from bench.core.estimates import LEVEL
from bench.core.printable import say, short
from bench.system import store
from bench.system.runs import find_run
from bench.verdicts import certificate, margins
from bench.verdicts.certificate import NOT_SHOWN, WORSE, Certificate

NAME = "certificate.json"

Margin = Annotated[
    str | None,
    typer.Option(
        "--margin",
        metavar="METRIC:SIZE",
        help="The least loss that matters: kd_efficientnet:3% of full precision, or :0.5.",
    ),
]


def certify(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Id or folder [default: the last run].")
    ] = None,
    margin: Margin = None,
    cells: Annotated[
        str, typer.Option("--cells", metavar="GLOB", help='Of "CHECKPOINT SCHEME BACKEND".')
    ] = "*",
    level: Annotated[
        float, typer.Option("--level", metavar="SHARE", help="Of the two-sided bounds.")
    ] = LEVEL,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help=f"[default: {NAME} in the run's folder]."),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option("--check", metavar="FILE", help="Make it again from RUN; say what differs."),
    ] = None,
    out: Out = Path("reports"),
) -> int:
    """Write what quantized cells of a run lose at most, as a JSON that anyone can check.

    Exit code 0 where no cell is worse by the margin and this is shown, 1 where one is, 3 where it
    is not shown; of --check 0 where the certificate holds, 1 where it does not.

    Example: bench certify --margin kd_efficientnet:3%
    """
    if check is not None:
        if margin is not None or to is not None:
            raise InputError("--check takes a certificate as it is: leave --margin and --to out")
        return _check(check, run, out)
    if margin is None:
        raise InputError(
            "name the least loss that matters by --margin METRIC:SIZE, or --check FILE"
        )
    metric, _ = margins.named(margin)
    folder = find_run(out, run)
    made = certificate.certify(folder, metric, margin.rpartition(":")[2], level, cells)
    path = to if to is not None else folder / NAME
    _write(path, certificate.to_json(made))
    for line in _lines(made):
        say(line)
    print(path)
    codes = {WORSE: exits.REGRESSION, NOT_SHOWN: exits.INCONCLUSIVE}
    return codes.get(made.verdict, exits.FINE)


def _check(path: Path, run: str | None, out: Path) -> int:
    """Say what does not hold of a certificate; the exit code."""
    stated = certificate.read(path)
    is_beside = run is None and border.exists(path.parent / "run.json")
    folder = path.parent if is_beside else find_run(out, run or stated.run)
    wrong = certificate.differences(stated, folder)
    for line in wrong or [*_lines(stated), f"holds: it can be made again from {folder}"]:
        say(line)
    return exits.REGRESSION if wrong else exits.FINE


def _write(path: Path, text: str) -> None:
    """Keep a certificate; another one is not written over."""
    if border.exists(path) and border.text(path, "a certificate of bench") != text:
        raise InputError(f"{path} holds another certificate: name a file by --to")
    if not border.is_folder(path.parent):
        raise InputError(f"{short(str(path.parent), 200)}: no such folder, make it first")
    store.save_text(path, text)


def _lines(made: Certificate) -> list[str]:
    """A line for each claim."""
    lines = []
    for claim in made.claims:
        ends = "no bounds"
        if claim.low is not None and claim.high is not None:
            low, high = claim.low + claim.margin, claim.high + claim.margin
            ends = f"{low:+.4g} to {high:+.4g} ({made.level:.0%}, {claim.bounds})"
        lines.append(
            f"{claim.name}: {claim.verdict}: {made.metric} "
            f"worse by {claim.worsening:+.4g}, {ends}, margin {claim.margin:.4g}, "
            f"N = {claim.images}"
        )
    return lines

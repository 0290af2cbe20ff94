"""Layers that a run leaves in float beside each scheme: globs, or what the probes found.

    w4a8 -> w4a8, w4a8+skip=GLOB

The cells without the list stay, so that the report shows what the list brings: the probe verified
it by PSNR on few images, a run does by every metric.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.core import border, probe_record
from bench.core.cell import Cell
from bench.core.errors import InputError
from bench.core.printable import say
from bench.core.scheme import Scheme

FROM_PROBE = "from-probe"

Lists = Mapping[tuple[str, str], Scheme]


def beside(cells: Sequence[Cell], word: str | None, out: Path) -> list[Cell]:
    """The cells, and after each quantized one the same with a skip list.

    Args:
        cells: of a run.
        word: globs of module names with commas between; "from-probe" for the newest suggestion of
            each checkpoint's weights under `out`, "from-probe:RUN" for those beside one run; None
            adds nothing.
        out: the folder of runs.

    Raises:
        InputError: no such run, or no suggestion for any of the cells.
    """
    if word is None:
        return list(cells)
    from_probe = word.partition(":")[0] == FROM_PROBE
    lists = suggested(out, word.partition(":")[2]) if from_probe else {}
    extended, without = [], []
    for cell in cells:
        extended.append(cell)
        if cell.scheme.is_float:
            continue
        if from_probe:
            scheme = lists.get((cell.checkpoint.sha256, str(cell.scheme)))
        else:
            globs = dict.fromkeys((*cell.scheme.skip, *word.split(",")))
            scheme = replace(cell.scheme, skip=tuple(globs))
        if scheme is None:
            without.append(f"{cell.checkpoint.name} {cell.scheme}")
        elif (added := replace(cell, scheme=scheme)) not in cells:
            extended.append(added)
    if len(extended) == len(cells) and without:
        raise InputError(
            f"no skip list for {', '.join(dict.fromkeys(without))} in a {probe_record.FILE} under "
            f"{out}: run `bench probe --probes sensitivity` with these schemes first"
        )
    for text in dict.fromkeys(without):
        say(f"{text}: no skip list was found, runs without one", file=sys.stderr)
    return extended


def suggested(out: Path, name: str = "") -> Lists:
    """The newest suggested scheme by (SHA-256 of the weights, scheme without it).

    Args:
        out: the folder of runs.
        name: one of them, "" for all.

    Raises:
        InputError: no such folder, or a file that is none of ours.
    """
    folders = [Path(name), out / name] if name else out.glob("*")
    paths = [folder / probe_record.FILE for folder in folders]
    read = [probe_record.read(path) for path in paths if border.exists(path)]
    if name and not read:
        raise InputError(f"no {probe_record.FILE} in a folder {name!r}, here or under {out}")
    newest: dict[tuple[str, str], Scheme] = {}
    for one in sorted(read, key=lambda one: one.created):
        for part in one.parts:
            for row in part.rows:
                if row.name == "skip_macs":
                    scheme = Scheme.parse(str(row.where["scheme"]))
                    newest[part.sha256, row.scheme] = scheme
    return newest

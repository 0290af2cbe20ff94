"""`bench site`: a leaderboard of many runs, as static files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.core.errors import InputError
from bench.core.printable import short
from bench.core.record import Run
from bench.system import runs as run_files


def site(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUNS...", help="Folders of runs, or of one run each.")
    ],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Folder that is written.")],
) -> None:
    """Write a leaderboard of runs as static files: DIR/index.html, and each run's report.

    Cells of other protocols, of low coverage or without a quantized layer are flagged. Example:
    bench site reports --to public
    """
    from bench.report import site as pages

    print(pages.write(loaded(runs), to))


def loaded(names: list[str]) -> list[tuple[Path, Run]]:
    """Folder and run of each name, a folder of runs or a run; each run once.

    Raises:
        InputError: no runs there, one that cannot be read, or two runs of one id.
    """
    folders: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        inner = [path] if (path / "run.json").is_file() else run_files.run_folders(path)
        if not inner:
            raise InputError(f"no runs in {short(name, 300)}: name a folder of runs, or a run's")
        folders |= dict.fromkeys(folder.resolve() for folder in inner)
    found = [(folder, run_files.read_run(folder)) for folder in folders]
    seen: dict[str, Path] = {}
    for folder, run in found:
        if run.id in seen:
            raise InputError(
                f"{short(str(folder), 300)} and {short(str(seen[run.id]), 300)} are both run "
                f"{short(run.id, 100)}: name one of them"
            )
        seen[run.id] = folder
    return found

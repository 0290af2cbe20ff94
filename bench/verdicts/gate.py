"""The gate in one call: two runs by name, compared with the thresholds of files and words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.core import border
from bench.core.errors import InputError
from bench.system import influences
from bench.system.runs import LoadedRun, find_run, read_run
from bench.verdicts import baseline, thresholds
from bench.verdicts.compared import Comparison
from bench.verdicts.comparison import compare

UNDECIDED = "inconclusive"


def loaded_run(out: Path, name: str | None) -> LoadedRun:
    """A run by id, folder, file or the word `baseline`; the newest where `name` is None.

    Raises:
        InputError: there is none, or it is damaged.
    """
    if name == "baseline":
        path = baseline.pinned(out) / "run.json"
        label = f"baseline {path.parent.name}"
    elif name is not None and border.is_file(Path(name)):
        path, label = Path(name), name
    else:
        path = find_run(out, name) / "run.json"
        label = path.parent.name
    terms = influences.load(path.parent / influences.NAME) if path.name == "run.json" else {}
    return LoadedRun(label, read_run(path), terms)


def compared(
    runs: tuple[LoadedRun, LoadedRun], limits: Path | None, fail_on: Sequence[str]
) -> Comparison:
    """The comparison of (BASE, HEAD).

    Args:
        limits: a file of thresholds.
        fail_on: metrics that gate, and `inconclusive`.

    Raises:
        InputError: a bad file or word, or a word for a metric that neither run has.
    """
    words = [word for word in fail_on if word != UNDECIDED]
    comparison = compare(*runs, thresholds.load(limits, words))
    names = list(dict.fromkeys(row.metric for row in comparison.rows if row.metric))
    for word in words:
        if not any(thresholds.names(word, name) for name in names):
            raise InputError(
                f"--fail-on {word}: neither run has such a number to compare; they have "
                f"{', '.join(names) or 'none'}"
            )
    return comparison

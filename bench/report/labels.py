"""Short names of checkpoints for figures and headlines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

# Method and training seed by name of the checkpoint.
Trained = Mapping[str, tuple[str, int]]


def short(trained: Trained) -> dict[str, str]:
    """A label for each checkpoint.

    The label is the method, with the seed where a method was trained several times. Where two
    checkpoints share both, all keep their own names.
    """
    methods = Counter(method for method, _ in trained.values())
    if len(set(trained.values())) < len(trained):
        return {name: name for name in trained}
    return {
        name: method if methods[method] == 1 else f"{method} (seed {seed})"
        for name, (method, seed) in trained.items()
    }


def legend(trained: Trained) -> dict[str, str]:
    """Labels for a legend, in which all trainings of a method share one colour and one entry."""
    methods = Counter(method for method, _ in trained.values())
    labels = short(trained)
    if all(name == label for name, label in labels.items()):
        return labels
    return {
        name: method if methods[method] == 1 else f"{method} ({methods[method]} trainings)"
        for name, (method, _) in trained.items()
    }

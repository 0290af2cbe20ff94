"""The descriptions that were taken of the checkpoints, as lines of a report's protocol.

For each family: the schedule, what the network predicts, the bounds of x_0, what was assumed, and
whether the description fits the weights by the denoising loss on real images. Where checkpoints
of a family differ, each is named.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.core.cell import Checkpoint
from bench.core.record import Fit, Run

NOTHING, ASSUMED = "nothing", "assumed"


def lines(run: Run) -> list[list[str]]:
    """(setting, value) of each family's checkpoints; none for runs that did not record them."""
    fits = {fit.checkpoint: fit for fit in run.fits}
    families: dict[str, dict[str, Checkpoint]] = {}
    for record in run.records:
        card = record.cell.checkpoint
        if card.name in fits:
            families.setdefault(card.family, {})[card.name] = card
    return [
        [f"{family}: {topic}", value]
        for family, cards in families.items()
        for topic, value in _family(cards, fits)
    ]


def _family(cards: Mapping[str, Checkpoint], fits: Mapping[str, Fit]) -> list[tuple[str, str]]:
    topics = dict.fromkeys(topic for name in cards for topic in fits[name].description)
    entries = [
        (topic, _alike({name: fits[name].description.get(topic, "") for name in cards}))
        for topic in topics
        if topic != ASSUMED
    ]
    # A card that `bench import` wrote holds what its source assumes, too.
    assumed = {
        name: "; ".join(card.assumed) or fits[name].description.get(ASSUMED, NOTHING)
        for name, card in cards.items()
    }
    checks: dict[str, list[str]] = {}
    for name in cards:
        kind, told = _check(fits[name])
        checks.setdefault(kind, []).append(f"{name}{told}")
    check = "; ".join(f"{kind}: {', '.join(told)}" for kind, told in checks.items())
    return [*entries, (ASSUMED, _alike(assumed)), ("check of the description", check)]


def _alike(values: Mapping[str, str]) -> str:
    """One value for all checkpoints that share it, else each with the names."""
    groups: dict[str, list[str]] = {}
    for name, value in values.items():
        groups.setdefault(value, []).append(name)
    if len(groups) == 1:
        return next(iter(groups))
    return "; ".join(f"{', '.join(names)}: {value}" for value, names in groups.items())


def _check(fit: Fit) -> tuple[str, str]:
    """The verdict of a check, and the numbers of this checkpoint."""
    if fit.ratio is None or fit.loss is None or fit.trivial is None:
        return f"{fit.verdict} ({fit.reason})", ""
    kind = (
        f"{fit.verdict} (error of x_0 on {fit.images} real images, and its ratio to the "
        f"{fit.trivial:.3g} of the best multiple of x_t)"
    )
    told = f" {fit.loss:.3g}, {fit.ratio:.2f}"
    if fit.better:
        better = " or ".join(f"{what} ({loss:.2f})" for what, loss in fit.better.items())
        told += f", but {better}"
    return kind, told

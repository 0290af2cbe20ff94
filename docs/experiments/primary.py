"""The primary comparisons of docs/claims.md, decided as that page fixed beforehand.

    python docs/experiments/primary.py RUN [RUN ...] [--seeds 3-7] [--backend int8-cuda]

Twelve lines: the change of KD that quantization brings to SAM less that of another method, under
two schemes, with plain rounding and with the best post-training method. The estimate is the mean
over the trainings, paired by image and training seed; Holm over the twelve at 5%; equivalence by
the 90% interval within the margin of the scheme. An undecided line says how many trainings would
do, were mean and spread the true ones, at the level of its place in Holm's order and a power of
80%. Then, as secondary, what the method takes off SAM's lead (the interaction), and each
training's own numbers.

`--figure FILE` draws the twelve lines: a dot for each training, the mean with its interval, and
the margin of equivalence.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from methods_table import loaded
from power import needed

from bench.core.estimates import Estimate
from bench.core.probe_record import ProbeValue
from bench.core.record import Record
from bench.core.scheme import Scheme
from bench.verdicts import decisions
from bench.verdicts.claims import loss_of
from bench.verdicts.paired_difference import paired_difference

BEST = "tgroups=8+adaround"
# The margin of equivalence of each scheme, in the unit of the change of KD (times 1000).
MARGINS = {"w4a8": 10.0, "w8a8": 3.0}
OTHERS = ("ema", "swa", "baseline")
NAMES = {"ema": "EMA", "swa": "SWA", "baseline": "plain"}
LEVEL = 0.05
BACKEND = "int8-cuda"
Losses = Mapping[int, ProbeValue]


@dataclasses.dataclass(frozen=True)
class Line:
    """A comparison: its scheme, the other method, and the pairs of values of each training."""

    scheme: str
    other: str
    pairs: Mapping[int, tuple[ProbeValue, ProbeValue]]

    def differences(self) -> np.ndarray:
        """SAM less the other, one for each training."""
        return np.array([a.value - b.value for a, b in self.pairs.values()])

    def estimate(self) -> Estimate:
        """The mean difference over the trainings."""
        found = paired_difference(list(self.pairs.values()))
        assert found is not None
        return found.estimate

    def influences(self) -> np.ndarray:
        """The influence of each image on the mean difference."""
        return np.mean([np.subtract(a.terms, b.terms) for a, b in self.pairs.values()], axis=0)

    def margin(self) -> float:
        """What counts as equivalent."""
        return MARGINS[self.scheme.partition("+")[0]]


def losses(
    records: Iterable[Record], terms: Mapping[str, np.ndarray]
) -> dict[tuple[str, str], dict[int, ProbeValue]]:
    """The change of KD of each training, by scheme and method of training."""
    found: dict[tuple[str, str], dict[int, ProbeValue]] = {}
    for record in records:
        card, scheme = record.cell.checkpoint, record.cell.scheme
        value = loss_of(record, "delta_kd", terms)
        if value is not None and card.seed is not None and not scheme.is_float:
            found.setdefault((str(scheme), card.method), {})[card.seed] = value
    return found


def lines_of(by: Mapping[tuple[str, str], Losses], seeds: Iterable[int] | None) -> list[Line]:
    """The twelve comparisons, over the trainings that both methods have."""
    lines = []
    for scheme in [f"{bits}{how}" for how in ("", f"+{BEST}") for bits in MARGINS]:
        for other in OTHERS:
            ours, theirs = (by[str(Scheme.parse(scheme)), name] for name in ("sam", other))
            both = sorted(set(ours) & set(theirs) & set(seeds if seeds is not None else ours))
            lines.append(Line(scheme, other, {k: (ours[k], theirs[k]) for k in both}))
    return lines


def decided(estimates: Sequence[Estimate], margins: Sequence[float]) -> list[tuple[str, float]]:
    """The verdict of each line and its p after Holm."""
    adjusted = decisions.holm([decisions.two_sided(each) for each in estimates])
    return [
        (_verdict(each, margin, p), p)
        for each, margin, p in zip(estimates, margins, adjusted, strict=True)
    ]


def _verdict(difference: Estimate, margin: float, adjusted: float) -> str:
    if adjusted < LEVEL:
        return "supported" if difference.value < 0 else "contradicted"
    return "equivalent" if decisions.equivalent(difference, margin) else "undecided"


def table(lines: Sequence[Line]) -> None:
    """Print the primary comparisons."""
    estimates = [line.estimate() for line in lines]
    verdicts = decided(estimates, [line.margin() for line in lines])
    ranks = np.argsort(np.argsort([p for _, p in verdicts], kind="stable"))
    print("| scheme | SAM less | trainings | difference, 95% | p, Holm | verdict |")
    print("|" + "---|" * 6)
    for line, estimate, (verdict, p), rank in zip(lines, estimates, verdicts, ranks, strict=True):
        low, high = estimate.interval()
        each = line.differences()
        if verdict == "undecided":
            level = LEVEL / (len(lines) - rank)
            more = needed(float(each.mean()), float(each.std(ddof=1)), level)
            verdict += f": about {more} trainings"
        print(
            f"| {line.scheme} | {line.other} | {len(each)} | "
            f"{estimate.value:+.1f} [{low:+.1f}, {high:+.1f}] | {p:.3g} | {verdict} |"
        )
    print("\nBy training:\n")
    for line in lines:
        values = ", ".join(
            f"{seed}: {value:+.1f}"
            for seed, value in zip(line.pairs, line.differences(), strict=True)
        )
        print(f"- {line.scheme}, SAM less {line.other}: {values}")


def figure(lines: Sequence[Line], path: str) -> None:
    """Draw the lines, a panel for each scheme."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    verdicts = decided([line.estimate() for line in lines], [line.margin() for line in lines])
    schemes = list(dict.fromkeys(line.scheme for line in lines))
    drawn, panels = pyplot.subplots(2, 2, figsize=(9, 4.6), sharey=True, layout="constrained")
    for panel, scheme in zip(panels.flat, schemes, strict=True):
        margin = MARGINS[scheme.partition("+")[0]]
        panel.axvspan(-margin, margin, color="0.92", zorder=0)
        panel.axvline(0, color="0.5", linewidth=0.8, zorder=1)
        of_scheme = [
            (line, v)
            for line, (v, _) in zip(lines, verdicts, strict=True)
            if line.scheme == scheme
        ]
        for place, (line, verdict) in enumerate(reversed(of_scheme)):
            estimate = line.estimate()
            low, high = estimate.interval()
            settled = verdict != "undecided"
            panel.plot(
                line.differences(),
                np.full(len(line.pairs), place - 0.2),
                "o",
                color="0.6",
                markersize=3.5,
            )
            panel.plot([low, high], [place + 0.1] * 2, color="#1f5fa8", linewidth=2)
            panel.plot(
                estimate.value,
                place + 0.1,
                "o",
                color="#1f5fa8",
                markersize=7,
                fillstyle="full" if settled else "none",
            )
            panel.annotate(
                verdict,
                (1, place + 0.1),
                xycoords=("axes fraction", "data"),
                xytext=(-4, 5),
                textcoords="offset points",
                ha="right",
                fontsize=8,
            )
        how = "plain rounding" if "+" not in scheme else "best method"
        panel.set_title(f"{scheme.partition('+')[0].upper()}, {how}", fontsize=10)
        panel.set_yticks(range(3), [f"SAM less {NAMES[other]}" for other in reversed(OTHERS)])
        panel.set_ylim(-0.5, 2.6)
    drawn.supxlabel(
        "change of KD by quantization, SAM less the other: left of 0 SAM loses less", fontsize=9
    )
    drawn.savefig(path, dpi=110)


def interaction(by: Mapping[tuple[str, str], Losses], seeds: Iterable[int] | None) -> None:
    """Print what the best method takes off each lead: is flatness worth less with it?"""
    lines = lines_of(by, seeds)
    rows = []
    for before, after in zip(lines[:6], lines[6:], strict=True):
        shared = sorted(set(before.pairs) & set(after.pairs))
        pairs = [(_less(*before.pairs[k]), _less(*after.pairs[k])) for k in shared]
        found = paired_difference(pairs)
        assert found is not None
        rows.append((before, len(shared), found.estimate))
    adjusted = decisions.holm([decisions.two_sided(each) for *_, each in rows])
    print("\n| scheme | SAM less | trainings | plain rounding less best method, 95% | p, Holm |")
    print("|" + "---|" * 5)
    for (line, count, estimate), p in zip(rows, adjusted, strict=True):
        low, high = estimate.interval()
        print(
            f"| {line.scheme} | {line.other} | {count} | "
            f"{estimate.value:+.1f} [{low:+.1f}, {high:+.1f}] | {p:.3g} |"
        )


def means(by: Mapping[tuple[str, str], Losses]) -> None:
    """Print the mean change of KD of each method of training, and its spread over trainings."""
    schemes = sorted({scheme for scheme, _ in by}, key=lambda s: (s.partition("+")[0], len(s)))
    there = {name for _, name in by}
    methods = [name for name in ("baseline", "ema", "swa", "sam", "sam+ema") if name in there]
    print("\n| scheme | " + " | ".join(methods) + " |\n|" + "---|" * (len(methods) + 1))
    for scheme in schemes:
        cells = []
        for name in methods:
            each = np.array([row.value for row in by.get((scheme, name), {}).values()])
            spread = f" ± {each.std(ddof=1):.1f}" if len(each) > 1 else ""
            cells.append(f"{each.mean():.1f}{spread} ({len(each)})" if len(each) else "")
        print(f"| {scheme} | " + " | ".join(cells) + " |")


def _less(a: ProbeValue, b: ProbeValue) -> ProbeValue:
    each = np.subtract(a.terms, b.terms)
    return ProbeValue(a.name, a.value - b.value, n=a.n, terms=tuple(each.tolist()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--backend", default=BACKEND)
    parser.add_argument("--seeds", help="as in 3-7; all that there are by default")
    parser.add_argument("--figure", metavar="FILE")
    asked = parser.parse_args()
    seeds = None
    if asked.seeds:
        first, last = map(int, asked.seeds.split("-"))
        seeds = range(first, last + 1)
    by = losses(*loaded(asked.runs, asked.backend))
    lines = lines_of(by, seeds)
    if asked.figure:
        figure(lines, asked.figure)
    table(lines)
    interaction(by, seeds)
    means(by)


if __name__ == "__main__":
    main()

"""The secondary table of docs/claims.md: methods of training by methods of quantization.

    python docs/experiments/secondary.py RUN [RUN ...] [--seeds 0-2] [--figure FILE]

Of all runs together, for each number of bits and each quantizer: the mean change of KD and its
spread over the trainings of each method; then SAM against the mean of plain training, EMA and SWA
of the same seeds, so that there is one line for a quantizer:

- how much less SAM loses, and how much of that lead under plain rounding is gone (the interaction,
  on the scale of the loss);
- SAM's loss as a share of the others' (the same question on the scale of ratios: a quantizer that
  takes the same share of every loss away changes differences, and no ratio).

Intervals (95%) are over trainings and images, paired by both; p is after Holm over the lines of a
column. Only trainings that all four methods have count. All of it is secondary: the comparisons
that decide were fixed beforehand (primary.py).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping

import numpy as np
from methods_table import loaded
from primary import BACKEND, Losses, losses

from bench.core.estimates import Estimate
from bench.core.probe_record import ProbeValue
from bench.core.scheme import Scheme
from bench.verdicts import decisions
from bench.verdicts.paired_difference import paired_difference

METHODS = {"baseline": "plain", "ema": "EMA", "swa": "SWA", "sam": "SAM", "sam+ema": "SAM + EMA"}
OTHERS = ("baseline", "ema", "swa")
COLOURS = ("#777777", "#1f5fa8", "#59a3d9", "#c4501b", "#e8a33d")
# From the worst to the best at W4A8.
QUANTIZERS = {
    "": "plain rounding",
    "tgroups=8": "`tgroups=8`",
    "finetune": "`finetune`",
    "brecq": "`brecq`",
    "tgroups=8+gptq+bias": "`tgroups=8+gptq+bias`",
    "tgroups=8+finetune": "`tgroups=8+finetune`",
    "tgroups=8+adaround": "`tgroups=8+adaround`",
}
FEWEST = 3
By = Mapping[tuple[str, str], Losses]


def scheme_of(bits: str, quantizer: str) -> str:
    """The scheme of a quantizer as records write it."""
    return str(Scheme.parse(f"{bits}+{quantizer}" if quantizer else bits))


def mean_of(values: Iterable[ProbeValue], factor: float = 1.0) -> ProbeValue:
    """The mean of values of the same images, times a factor."""
    rows = list(values)
    terms = factor * np.mean([row.terms for row in rows], axis=0)
    value = factor * float(np.mean([row.value for row in rows]))
    return ProbeValue(rows[0].name, value, n=rows[0].n, terms=tuple(terms.tolist()))


def less(a: ProbeValue, b: ProbeValue) -> ProbeValue:
    """The difference of two values of the same images."""
    terms = np.subtract(a.terms, b.terms)
    return ProbeValue(a.name, a.value - b.value, n=a.n, terms=tuple(terms.tolist()))


def both(by: By, scheme: str) -> dict[int, tuple[ProbeValue, ProbeValue]]:
    """The loss of SAM and the mean loss of the others, by training."""
    each = [by.get((scheme, name), {}) for name in ("sam", *OTHERS)]
    seeds = sorted(set.intersection(*(set(one) for one in each)))
    return {seed: (each[0][seed], mean_of(one[seed] for one in each[1:])) for seed in seeds}


def estimate(pairs: Iterable[tuple[ProbeValue, ProbeValue]]) -> Estimate:
    """The mean difference of pairs, over trainings and images."""
    found = paired_difference(list(pairs))
    assert found is not None
    return found.estimate


def share(pairs: Iterable[tuple[ProbeValue, ProbeValue]]) -> tuple[float, float, float]:
    """SAM's mean loss as a share of the others', with its interval by linearization."""
    rows = list(pairs)
    whole = float(np.mean([b.value for _, b in rows]))
    ratio = float(np.mean([a.value for a, _ in rows])) / whole
    parts = [(mean_of([a], 1 / whole), mean_of([b], ratio / whole)) for a, b in rows]
    low, high = estimate(parts).interval()
    return ratio, ratio + low, ratio + high


def told(found: Estimate) -> str:
    """A number with its interval."""
    low, high = found.interval()
    return f"{found.value:+.1f} [{low:+.1f}, {high:+.1f}]"


def means(by: By) -> None:
    """Print the mean loss of each method of training, its spread, and the number of trainings."""
    print("| bits | quantizer | " + " | ".join(METHODS.values()) + " |\n|" + "---|" * 7)
    for bits in ("w4a8", "w8a8"):
        for quantizer, name in QUANTIZERS.items():
            cells = []
            for method in METHODS:
                rows = by.get((scheme_of(bits, quantizer), method), {})
                each = np.array([row.value for row in rows.values()])
                spread = f" ± {each.std(ddof=1):.1f}" if len(each) > 1 else ""
                fewer = f" ({len(each)})" if len(each) != 8 else ""
                cells.append(f"{each.mean():.1f}{spread}{fewer}" if len(each) else "")
            if any(cells):
                print(f"| {bits.upper()} | {name} | " + " | ".join(cells) + " |")


def table(by: By) -> None:
    """Print SAM against the mean of the others, a line for each quantizer."""
    lines = []
    for bits in ("w4a8", "w8a8"):
        plain = both(by, scheme_of(bits, ""))
        for quantizer, name in QUANTIZERS.items():
            pairs = both(by, scheme_of(bits, quantizer))
            if len(pairs) < FEWEST:
                continue
            shared = sorted(set(pairs) & set(plain)) if quantizer else []
            rows = [(less(*pairs[seed]), less(*plain[seed])) for seed in shared]
            taken = estimate(rows) if rows else None
            lines.append((bits, name, pairs, estimate(pairs.values()), taken))
    leads = decisions.holm([decisions.two_sided(lead) for *_, lead, _ in lines])
    tests = [decisions.two_sided(taken) for *_, taken in lines if taken is not None]
    taken_p = iter(decisions.holm(tests))
    head = "bits | quantizer | trainings | the others' loss | SAM less | p | lead that is gone | p"
    print(f"\n| {head} | SAM's loss, share of the others' |\n|" + "---|" * 9)
    for (bits, name, pairs, lead, taken), p in zip(lines, leads, strict=True):
        ratio, low, high = share(pairs.values())
        others = np.mean([b.value for _, b in pairs.values()])
        gone = f"{told(taken)} | {next(taken_p):.2g}" if taken is not None else " | "
        print(
            f"| {bits.upper()} | {name} | {len(pairs)} | {others:.1f} | {told(lead)} | {p:.2g} | "
            f"{gone} | {ratio:.0%} [{low:.0%}, {high:.0%}] |"
        )


def figure(by: By, path: str) -> None:
    """Draw the means of each method of training and quantizer, a panel for each of the bits."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn, panels = pyplot.subplots(
        1, 2, figsize=(9, 3.8), sharex=True, sharey=True, layout="constrained"
    )
    there = [q for q in QUANTIZERS if len(both(by, scheme_of("w4a8", q))) >= FEWEST]
    for panel, bits in zip(panels, ("w4a8", "w8a8"), strict=True):
        for k, (method, name) in enumerate(METHODS.items()):
            for place, quantizer in enumerate(reversed(there)):
                rows = by.get((scheme_of(bits, quantizer), method), {})
                each = np.array([row.value for row in rows.values()])
                if len(each) < FEWEST:
                    continue
                y = place + 0.3 - 0.15 * k
                panel.plot(each, np.full(len(each), y), "o", color=COLOURS[k], ms=2, alpha=0.5)
                label = name if quantizer == there[0] else None
                panel.plot(each.mean(), y, "D", color=COLOURS[k], ms=6, label=label)
        panel.set_title(bits.upper(), fontsize=10)
        panel.set_xscale("symlog", linthresh=10)
        panel.set_xlim(left=min(0.0, panel.get_xlim()[0]))
        panel.set_xticks([0, 5, 10, 20, 50, 100, 200], ["0", "5", "10", "20", "50", "100", "200"])
        panel.grid(axis="x", color="0.9")
        panel.set_yticks(range(len(there)), [QUANTIZERS[q].strip("`") for q in reversed(there)])
    drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    drawn.supxlabel("change of KD by quantization: left loses less", fontsize=9)
    drawn.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--backend", default=BACKEND)
    parser.add_argument("--seeds", help="as in 0-2; all that there are by default")
    parser.add_argument("--figure", metavar="FILE")
    asked = parser.parse_args()
    by = losses(*loaded(asked.runs, asked.backend))
    if asked.seeds:
        first, last = map(int, asked.seeds.split("-"))
        by = {
            key: {seed: row for seed, row in rows.items() if first <= seed <= last}
            for key, rows in by.items()
        }
    means(by)
    table(by)
    if asked.figure:
        figure(by, asked.figure)


if __name__ == "__main__":
    main()

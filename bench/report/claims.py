"""The paper's claims one by one, each with its verdict by the measurements of this run."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.core.probe_record import ProbeRun
from bench.core.record import Run
from bench.report.formatting import escape, number, significant, table
from bench.system.influences import Influences
from bench.verdicts.claims import FLATTER, LESS_BIAS, Difference, differences, lost
from bench.verdicts.correlations import LEAST, Correlation, correlations

PAPER = "Lee, Seo, Yoo and Yoon (ICCV 2025, arXiv 2503.11078)"
EXAMINED = "not examined"


def lines(probed: ProbeRun, run: Run | None, terms: Influences) -> list[str]:
    """The table of claims, then the numbers behind it."""
    ranks, apart = correlations(probed, run), differences(probed)
    losing = lost(run, terms) if run else []
    body = [
        [str(number), claim, evidence(members), overall([m.verdict for m in deciding(members)])]
        for number, (claim, members) in enumerate(claims(ranks, apart, losing), 1)
    ]
    body.append(
        [
            str(len(body) + 1),
            "Usual SAM radii change next to nothing, larger ones are needed",
            "needs trainings at several radii",
            EXAMINED,
        ]
    )
    legend = (
        f"Claims of {PAPER}. A claim is supported where more than half of the comparisons behind "
        f"it are and none contradicts it, contradicted likewise, undecided otherwise. Rank "
        f"correlations over fewer than {LEAST} methods are undecided. " + _trainings(apart, losing)
    )
    header = ["No.", "Claim", "Comparisons", "Verdict"]
    return [*table(header, body, left=4), "", legend]


def claims(
    ranks: Sequence[Correlation], apart: Sequence[Difference], losing: Sequence[Difference]
) -> list[tuple[str, Sequence[Correlation | Difference]]]:
    """Each claim with the comparisons that decide it."""
    shift = [line for line in ranks if line.loss == "prior shift"]
    gap = [line for line in ranks if line.loss.startswith("exposure")]
    losses = [line for line in ranks if line not in shift and line not in gap]
    raw = [line for line in losing if line.method == "sam"]
    eight = [line for line in raw if "w8a8" in line.number and line.against == "baseline"]
    return [
        (
            "SAM reaches flatter minima than plain training, EMA and SWA",
            [line for line in apart if line.claim == FLATTER],
        ),
        (
            "SAM has less exposure bias than plain training, EMA and SWA",
            [line for line in apart if line.claim == LESS_BIAS],
        ),
        ("Flatter minima lose less under quantization", losses),
        ("Flatter minima tolerate a shifted prior better", shift),
        ("Flatter minima have less exposure bias", gap),
        ("SAM loses less under quantization than plain training, EMA and SWA", raw),
        (
            "Averaged weights lose less with SAM: SAM + EMA than EMA, SAM + SWA than SWA",
            [line for line in losing if line not in raw],
        ),
        ("8 bits cost plain training more than SAM", eight),
    ]


def _trainings(apart: Sequence[Difference], losing: Sequence[Difference]) -> str:
    """Whether the comparisons of SAM speak of the methods or of single trainings."""
    if {line.trainings for line in (*apart, *losing)} - {1}:
        return (
            "Where two methods were trained several times on the same seeds, their difference is "
            "the mean over the trainings, and its interval holds how they vary. With one training "
            "each it speaks of these weights, not of the methods, and decides nothing where "
            "another comparison of the claim has several."
        )
    return "With one training of each method all this speaks of these weights, not of the methods."


def overall(verdicts: Sequence[str]) -> str:
    """The verdict on a claim from the verdicts of its comparisons."""
    if not verdicts:
        return EXAMINED
    for word, other in (("supported", "contradicted"), ("contradicted", "supported")):
        if verdicts.count(word) > len(verdicts) / 2 and other not in verdicts:
            return word
    return "undecided"


def evidence(members: Sequence[Correlation | Difference]) -> str:
    """The number of comparisons with each verdict, in words."""
    if not members:
        return "none: no common seed and N, or the numbers or the run are missing"
    counted = deciding(members)
    counts = {
        word: sum(member.verdict == word for member in counted)
        for word in ("supported", "contradicted", "undecided")
    }
    words = [f"{count} {word}" for word, count in counts.items() if count]
    if len(counted) < len(members):
        words.append(f"{len(members) - len(counted)} of one training not counted")
    return ", ".join(words)


def deciding(
    members: Sequence[Correlation | Difference],
) -> Sequence[Correlation | Difference]:
    """The comparisons that decide a claim: if some are of several trainings, only those.

    The interval of one training lacks how trainings vary and is nearly always decided: counted
    alike, training again would take support away.
    """
    several = [m for m in members if isinstance(m, Difference) and m.trainings > 1]
    return several or members


def correlation_table(probed: ProbeRun, run: Run | None) -> list[str]:
    """Spearman's rho of each flatness number and each loss."""
    body = [
        [
            *map(escape, (line.family, line.flatness, line.loss, str(line.n))),
            _ends(line.rho, line.low, line.high),
            line.verdict,
        ]
        for line in correlations(probed, run)
    ]
    if not body:
        return []
    legend = (
        "Positive where the sharper method loses more, which is the claim. Several trainings of a "
        "method count once, by their means."
    )
    header = ["Family", "Flatness", "Loss", "Methods", "Spearman's rho, 95%", "Claim"]
    return [*table(header, body, left=3), "", legend]


def difference_table(members: Sequence[Difference]) -> list[str]:
    """A method with SAM less one without, line by line."""
    body = [
        [
            *map(escape, (line.family, line.claim, line.number, line.against)),
            str(line.trainings),
            _difference(line),
            line.verdict,
        ]
        for line in members
    ]
    header = ["Family", "Claim", "Number", "Against", "Trainings", "Difference, 95%"]
    legend = (
        "Paired by image, noise and direction. Verdicts on losses hold after Holm over all lines "
        "of losses, so that an interval may exclude 0 and be undecided; the others stand alone. "
        "The size of the gap: |A| - |B|, between the ends that A - B and A + B allow."
    )
    return [*table([*header, "Verdict"], body, left=4), "", legend] if body else []


def _difference(line: Difference) -> str:
    value, low, high = (significant(end, True) for end in (line.value, line.low, line.high))
    return f"{value}, no scatter" if line.low == line.high else f"{value} [{low}, {high}]"


def _ends(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return "undefined"
    told = [number(end, 2, signed=True) for end in (value, low, high)]
    return told[0] if math.isnan(low) else f"{told[0]} [{told[1]}, {told[2]}]"

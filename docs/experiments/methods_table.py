"""The tables of docs/methods.md: what methods of quantization leave of a loss, and what they cost.

`loss`: of runs of several checkpoints under several schemes, for each bits and method the mean
change of the kernel distance (KD, times 1000) and the mean PSNR over the checkpoints, with
intervals paired by image, and the share of plain rounding's mean change of KD that is left. Only
checkpoints that have all schemes of a row's bits count.

`question`: does flat training still help? For each scheme SAM less the other methods, over the
trainings (`bench.verdicts.claims.lost`), and the change of that difference from plain rounding to
each method, with Holm's adjustment over all lines of the table.

`cost`: CPU seconds and peak memory of each method on one checkpoint, each in a process of its own
with one thread. What calibration and export take is measured without a method and taken off.

    python docs/experiments/methods_table.py loss RUN [RUN ...] [--backend int8-x86]
    python docs/experiments/methods_table.py question RUN [RUN ...]
    OMP_NUM_THREADS=1 python docs/experiments/methods_table.py cost w4a8+gptq w4a8+brecq
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

import bench
from bench.core import estimates
from bench.core.estimates import Estimate
from bench.core.probe_record import ProbeValue
from bench.core.record import Record
from bench.core.scheme import Scheme
from bench.system import influences
from bench.verdicts import decisions
from bench.verdicts.claims import loss_of, lost
from bench.verdicts.methods import shared
from bench.verdicts.paired_difference import paired_difference

KD, PSNR = "delta_kd_efficientnet", "psnr"
PAIRS = (("sam", "baseline"), ("sam", "ema"), ("sam", "swa"), ("sam+ema", "ema"))


def bits(scheme: Scheme) -> str:
    """The bits of a scheme alone."""
    return str(dataclasses.replace(scheme, methods=()))


def method(scheme: Scheme) -> str:
    """The methods of a scheme, "rtn" for plain rounding."""
    return "+".join(scheme.method_names) or "rtn"


def loaded(runs: Iterable[str], backend: str) -> tuple[list[Record], dict[str, np.ndarray]]:
    """The measured cells of a backend, once each, and all influences."""
    records, terms = {}, {}
    for name in runs:
        run = bench.load(name)
        terms.update(run.influences)
        for record in run.run.records:
            if record.status == "ok" and record.cell.backend == backend:
                records[str(record.cell)] = record
    return list(records.values()), terms


def mean_of(
    rows: Sequence[Record], metric: str, terms: Mapping[str, np.ndarray]
) -> tuple[float, np.ndarray]:
    """The mean of a number over checkpoints, and the influence of each image on it."""
    values, each = [], []
    for record in rows:
        found = record.measurement(metric)
        assert found is not None
        values.append(found.value)
        each.append(terms[influences.key(record.cell, found.name)])
    return float(np.mean(values)), np.mean(each, axis=0)


def interval(value: float, terms: np.ndarray, digits: int) -> str:
    """A number with its 95% interval."""
    low, high = estimates.interval(value, terms)
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def loss(given: argparse.Namespace) -> None:
    """Print the table of losses."""
    records, terms = loaded(given.runs, given.backend)
    by_bits: dict[str, dict[str, dict[str, Record]]] = {}
    for record in records:
        scheme = record.cell.scheme
        of_method = by_bits.setdefault(bits(scheme), {}).setdefault(method(scheme), {})
        of_method[record.cell.checkpoint.name] = record
    print("| scheme | method | checkpoints | change of KD | left of plain rounding's | PSNR, dB |")
    print("|---|---|---|---|---|---|")
    for name, methods in by_bits.items():
        cards = set.intersection(*(set(rows) for rows in methods.values()))
        plain: tuple[float, np.ndarray] | None = None
        for word, rows in methods.items():
            chosen = [rows[card] for card in sorted(cards)]
            value, each = mean_of(chosen, KD, terms)
            left = "100%"
            if plain is None:
                plain = value, each
            else:
                share = value / plain[0]
                left = f"{interval(100 * share, 100 * (each - share * plain[1]) / plain[0], 0)}%"
            likeness = interval(*mean_of(chosen, PSNR, terms), 1)
            print(
                f"| {name} | {word} | {len(cards)} | {interval(value, each, 1)} | "
                f"{left} | {likeness} |"
            )


def question(given: argparse.Namespace) -> None:
    """Print the table of differences of losses, and of their changes by methods."""
    records, terms = loaded(given.runs, given.backend)
    run = dataclasses.replace(bench.load(given.runs[0]).run, records=tuple(records))
    print("| number | methods | trainings | difference, 95% | verdict |\n|---|---|---|---|---|")
    for line in lost(run, terms):
        ends = f"{line.value:+.3g} [{line.low:+.3g}, {line.high:+.3g}]"
        pair = f"{line.method} less {line.against}"
        print(f"| {line.number} | {pair} | {line.trainings} | {ends} | {line.verdict} |")
    by_scheme: dict[Scheme, dict[tuple[str, int], Record]] = {}
    for record in records:
        card = record.cell.checkpoint
        by_scheme.setdefault(record.cell.scheme, {})[card.method, card.seed] = record
    lines: list[tuple[str, int, Estimate]] = []
    for scheme, (one, other) in itertools.product(by_scheme, PAIRS):
        plain = by_scheme.get(dataclasses.replace(scheme, methods=()))
        if plain is None or not scheme.methods:
            continue
        changed = {
            training: (before, after)
            for training, after in by_scheme[scheme].items()
            if (before := plain.get(training)) is not None
        }
        rows = [(_brought(*a, terms), _brought(*b, terms)) for a, b in shared(changed, one, other)]
        if line := paired_difference(rows):
            lines.append((f"{scheme}: {one} less {other}", line.trainings, line.estimate))
    adjusted = decisions.holm([decisions.two_sided(estimate) for *_, estimate in lines])
    print("\nWhat a method takes off the change of KD, difference between trainings:\n")
    print("| comparison | trainings | difference, 95% | p, Holm |\n|---|---|---|---|")
    for (name, count, estimate), p in zip(lines, adjusted, strict=True):
        low, high = estimate.interval()
        print(f"| {name} | {count} | {estimate.value:+.3g} [{low:+.3g}, {high:+.3g}] | {p:.3f} |")


def _brought(before: Record, after: Record, terms: Mapping[str, np.ndarray]) -> ProbeValue | None:
    """How much less a checkpoint loses after a method, with the influence of each image."""
    first, second = (loss_of(record, "delta_kd", terms) for record in (before, after))
    if first is None or second is None:
        return None
    each = np.asarray(first.terms) - np.asarray(second.terms)
    value = first.value - second.value
    return ProbeValue(first.name, value, n=first.n, terms=tuple(each.tolist()))


def cost(given: argparse.Namespace) -> None:
    """Print the table of costs."""
    print("| scheme | CPU seconds | peak memory, MiB |\n|---|---|---|")
    plain: dict[str, float] = {}
    for text in given.runs:
        scheme = Scheme.parse(text)
        base = bits(scheme)
        if base not in plain:
            plain[base], _ = measured(given.checkpoint, base)
        seconds, peak = measured(given.checkpoint, text)
        print(f"| {text} | {seconds - plain[base]:.0f} | {peak:.0f} |", flush=True)


def measured(checkpoint: str, scheme: str) -> tuple[float, float]:
    """CPU seconds and peak MiB of quantizing a checkpoint in a new process."""
    words = [sys.executable, __file__, "one", checkpoint, scheme]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    seconds, peak = done.stdout.split()[-2:]
    return float(seconds), float(peak)


def one(checkpoint: str, scheme: str) -> None:
    """Quantize a checkpoint in simulation and print seconds and MiB."""
    from bench.core.cell import Cell, Draw
    from bench.core.progress import finished
    from bench.evaluation.generation import Generation
    from bench.evaluation.resolved import Resolver
    from bench.models.cards import card_file, load_cards, select, verify
    from bench.system.host import fingerprint

    (card,) = select(load_cards(card_file(None)), [checkpoint])
    with tempfile.TemporaryDirectory() as folder:
        cell = Cell(verify(card), Scheme.parse(scheme), "simulated", Draw())
        wanted = Resolver(fingerprint("cpu"), Path(folder)).images(cell)
        start = time.process_time()
        finished(Generation("cpu").executed(wanted))
        seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(seconds, peak)


def main() -> None:
    if sys.argv[1:2] == ["one"]:
        one(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=("loss", "question", "cost"))
    parser.add_argument("runs", nargs="+", help="runs, or schemes of `cost`")
    parser.add_argument("--backend", default="int8-x86")
    parser.add_argument("--checkpoint", default="fashion-unet-ema")
    given = parser.parse_args()
    {"loss": loss, "question": question, "cost": cost}[given.table](given)


if __name__ == "__main__":
    main()

"""Damaged input to every parser of bench: what is neither read nor refused in a line is a fault.

The inputs are those of tests/fuzz: run.json, records, probes.json, cards, suites, thresholds,
baseline.jsonl, statistics and influences, reference features, weights, descriptions of diffusers
folders, data files, images, schemes, recipes and words of the command line, each with a few
changes drawn from a seeded stream, or by hypothesis. The test suite runs some hundred of them.

    OMP_NUM_THREADS=1 python docs/experiments/fuzz.py --inputs 50000 --seed 0 [--only schemes]
        [--hypothesis]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))


def main() -> None:
    """Print a line for each parser, then each kind of fault with the number of its input."""
    from fuzz import campaign, parsers

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hypothesis", action="store_true", help="let hypothesis draw them")
    parser.add_argument("--only", help="names of parsers with commas between")
    given = parser.parse_args()
    chosen = given.only.split(",") if given.only else None
    targets = {t: s for t, s in parsers.TARGETS.items() if not chosen or t.__name__ in chosen}
    total: Counter[str] = Counter()
    for target, share in targets.items():
        count, start = round(given.inputs * share / sum(targets.values())), time.monotonic()
        counts, examples = campaign.run(target, count, given.seed, given.hypothesis)
        total += counts
        faults = {kind: n for kind, n in counts.items() if kind not in ("read", "refused")}
        print(
            f"{target.__name__:12} {count:6} inputs, {counts['read']:6} read, "
            f"{counts['refused']:6} refused, {sum(faults.values())} faults, "
            f"{time.monotonic() - start:.0f} s",
            flush=True,
        )
        for kind, n in faults.items():
            number, text = examples.get(kind, (0, ""))
            print(f"    {n} x {kind}, as input {number}: {text}", flush=True)
    faults = sum(total.values()) - total["read"] - total["refused"]
    print(f"{sum(total.values())} inputs, {faults} faults")
    raise SystemExit(faults > 0)


if __name__ == "__main__":
    main()

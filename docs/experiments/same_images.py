"""A/A trials: is a change that everyone accepts called unchanged?

    python docs/experiments/same_images.py [--trials 100] [--checkpoint NAME] [--images 50]

Each trial takes a seed of its own and samples a shipped checkpoint in full precision, and again in
half batches, by another number of threads, with channels last, and in bfloat16. Each of them is
judged as `bench run` judges a quantized cell: *worse* where the change of KD is a loss beyond its
interval (and, but for bfloat16 itself, beyond what bfloat16 does), *changed* where the interval
excludes 0, else *unchanged*. Beside it stands what gates of one number do with the same images: a
fixed threshold of the least PSNR of a pair, 40, 30 or 20 dB.
"""

import argparse
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from bench.core import floors
from bench.core.cell import Cell, Checkpoint, Draw
from bench.core.progress import finished
from bench.core.record import Run
from bench.core.scheme import Scheme
from bench.evaluation import records
from bench.evaluation.pipeline import Pipeline
from bench.evaluation.resolved import Resolver
from bench.models.cards import card_file, load_cards, select, verify
from bench.report.floors import is_beyond
from bench.report.rows import interval_verdict, with_floors
from bench.system.host import fingerprint

THRESHOLDS = (40, 30, 20)


def trial(
    card: Checkpoint, draw: Draw, resolver: Resolver, pipeline: Pipeline
) -> dict[str, tuple[str, float]]:
    """(verdict, least PSNR of a pair in dB) of each execution."""
    full = Cell(card, Scheme(), "float", draw, metrics=("kernel", "psnr"))
    cells = [full, *(replace(full, backend=floors.backend(name)) for name in floors.KERNELS)]
    resolved = [resolver.resolve(cell) for cell in cells]
    made = [finished(pipeline.run(wanted)) for wanted in resolved]
    rows = with_floors(Run("", "", "", False, "", tuple(made)))
    by_backend = {row.backend: row for row in rows}
    accepted = by_backend[floors.backend("bf16")].kd_change
    judged = {}
    for name in floors.KERNELS:
        row = by_backend[floors.backend(name)]
        verdict = interval_verdict(row.kd_change)
        is_worse = verdict == "worse"
        if name != "bf16":
            is_worse = is_beyond(row.kd_change, accepted)
        told = (
            "worse" if is_worse else "changed" if verdict in ("worse", "better") else "unchanged"
        )
        terms = records.influences_of(resolved[1 + list(floors.KERNELS).index(name)])
        ((_, psnr),) = ((k, v) for k, v in terms.items() if k.split("|")[1].startswith("psnr"))
        judged[name] = told, float(row.psnr.value + psnr.min())
    return judged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--checkpoint", default="fashion-unet-ema")
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--steps", type=int, default=5)
    asked = parser.parse_args()
    (card,) = select(load_cards(card_file(None)), [asked.checkpoint])
    card = verify(card)
    verdicts: dict[str, Counter[str]] = {name: Counter() for name in floors.KERNELS}
    failed: dict[str, Counter[int]] = {name: Counter() for name in floors.KERNELS}
    host = fingerprint()
    with tempfile.TemporaryDirectory() as folder:
        resolver, pipeline = Resolver(host, Path(folder)), Pipeline(host, Path(folder))
        for seed in range(1000, 1000 + asked.trials):
            draw = Draw(images=asked.images, steps=asked.steps, seed=seed, batch=asked.images)
            for name, (told, least) in trial(card, draw, resolver, pipeline).items():
                verdicts[name][told] += 1
                failed[name].update(bound for bound in THRESHOLDS if least < bound)
    print(f"{asked.trials} trials of {asked.images} images, {asked.steps} steps, {card.name}\n")
    heads = ["execution", "unchanged", "changed", "worse"]
    heads += [f"fails {bound} dB" for bound in THRESHOLDS]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for name, kernel in floors.KERNELS.items():
        counts = [verdicts[name][word] for word in ("unchanged", "changed", "worse")]
        counts += [failed[name][bound] for bound in THRESHOLDS]
        print("| " + " | ".join([kernel, *map(str, counts)]) + " |")


if __name__ == "__main__":
    main()

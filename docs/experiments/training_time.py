"""Exposure bias over training time: one training whose weights are kept on the way.

    python docs/experiments/training_time.py sam FOLDER --seed 0 --device cuda --compile
    python docs/experiments/exposure.py networks "*" --keep GAPS --cards FOLDER/...yaml
    python docs/experiments/training_time.py table GAPS

The recipe is that of the shipped checkpoints, `fashion-unet`. Its learning rate is constant after
the first 200 updates, so that what its weights are after some updates does not depend on how many
come after them; where the equal average begins does, and it is not looked at here. After each of
`--at` updates raw weights and averages are written to FOLDER, with cards whose names end in the
number of updates. exposure.py measures them, and `table` prints the gap after each number.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np
from exposure import numbers

from bench.core import extensions
from bench.core.estimates import Estimate
from bench.core.probe_record import ProbeValue
from bench.models.training.cards import write_cards
from bench.models.training.loop import Trainer
from bench.models.training.recipe import Recipe
from bench.models.training.recipes import find
from bench.system import devices
from bench.verdicts.paired_difference import paired_difference

RADIUS = "0.01"
METHODS = {"baseline": "plain training", "ema": "EMA", "sam": "SAM", "sam+ema": "SAM + EMA"}
LEADS = (("sam", "baseline"), ("sam", "ema"), ("sam+ema", "ema"))
# Trainings by updates, method and seed.
Gaps = dict[int, dict[str, dict[int, ProbeValue]]]


def trained(asked: argparse.Namespace) -> None:
    """Train, and write what there is after each of some numbers of updates."""
    recipe = _recipe(asked.method, asked.seed, max(asked.at))
    images = extensions.lookup("datasets", recipe.dataset)("train")
    trainer = Trainer(recipe, images, devices.find(asked.device), asked.compile)
    asked.keep.mkdir(parents=True, exist_ok=True)
    while trainer.update < recipe.steps:
        trainer.step()
        if trainer.update in asked.at:
            write_cards(trainer, f"seed{asked.seed}-at{trainer.update}", asked.keep)
            print(f"{asked.method}, seed {asked.seed}: {trainer.update} updates", flush=True)


def _recipe(method: str, seed: int, updates: int) -> Recipe:
    words = {"method": method, "seed": str(seed), "updates": str(updates)}
    return find("fashion-unet").changed(words | ({"rho": RADIUS} if "sam" in method else {}))


def found(folder: Path) -> Gaps:
    """What exposure.py kept in a folder, of the checkpoints that are told apart by updates."""
    gaps: Gaps = {}
    for path in sorted(folder.glob("*.json")):
        if match := re.search(r"-at(\d+)-", path.name):
            kept = json.loads(path.read_text())
            each = np.array(kept["images"])
            terms = tuple((each - each.mean()).tolist())
            value = ProbeValue("gap", float(each.mean()), n=len(each), terms=terms)
            of_method = gaps.setdefault(int(match[1]), {}).setdefault(kept["method"], {})
            of_method[kept["seed"]] = value
    return gaps


def table(asked: argparse.Namespace) -> None:
    """Print the gap of each training after each number of updates, and SAM less the others."""
    gaps = found(asked.keep)
    print("| weights | " + " | ".join(f"{updates:,}" for updates in sorted(gaps)) + " |")
    print("|" + "---|" * (len(gaps) + 1))
    for method, name in METHODS.items():
        rows = (gaps[updates].get(method, {}) for updates in sorted(gaps))
        cells = [", ".join(f"{row[s].value:+.1f}" for s in sorted(row)) for row in rows]
        print(f"| {name} | " + " | ".join(cells) + " |")
    for one, other in LEADS:
        leads = (_lead(gaps[updates], one, other) for updates in sorted(gaps))
        cells = [_told(lead) for lead in leads]
        print(f"| {METHODS[one]} less {METHODS[other]} | " + " | ".join(cells) + " |")


def _lead(of: dict[str, dict[int, ProbeValue]], one: str, other: str) -> Estimate | None:
    seeds = sorted(set(of.get(one, {})) & set(of.get(other, {})))
    lead = paired_difference([(of[one][seed], of[other][seed]) for seed in seeds])
    return lead.estimate if lead else None


def _told(lead: Estimate | None) -> str:
    if lead is None:
        return ""
    low, high = lead.interval()
    return f"{lead.value:+.1f} [{low:+.1f}, {high:+.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("method", choices=("baseline", "sam", "table"))
    parser.add_argument("keep", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at", type=numbers, default=[750, 1500, 3000, 6000, 12000])
    parser.add_argument("--device", default=devices.CPU)
    parser.add_argument("--compile", action="store_true")
    asked = parser.parse_args()
    table(asked) if asked.method == "table" else trained(asked)


if __name__ == "__main__":
    main()

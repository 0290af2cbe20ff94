"""Which SAM radius does anything: short runs of the small recipe over two orders of magnitude.

Trains the recipe plainly and at each radius for the same number of updates, on the same images,
timesteps and noise, then samples and quantizes the raw and the EMA weights of each and prints one
Markdown row for each. Both halves go on where they were killed.

    OMP_NUM_THREADS=1 python docs/experiments/sam_radius.py --out runs/sam-radius
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import yaml

from bench.core.record import Record
from bench.system import store
from bench.system.runs import read_run

RADII = (0.01, 0.05, 0.2, 1.0)
SCHEMES = ("w8a8", "w4a8")


def bench(*words: object) -> str:
    """Run bench and return its stdout; its progress stays on stderr."""
    command = [sys.executable, "-m", "bench", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def train(out: Path, radius: float, updates: int) -> list[dict[str, object]]:
    """The cards of a run; a finished run is only read."""
    name = f"rho-{radius:g}"
    method = "sam" if radius else "baseline"
    path = out / f"{name}-{method}.yaml"
    if not path.exists():
        words = ["--recipe", "fashion-unet", "--method", method, "--updates", updates]
        words += ["--name", name, "--out", out]
        bench("train", *words, *(["--rho", radius] if radius else []))
    return yaml.safe_load(path.read_text())["checkpoints"]


def value(record: Record, name: str) -> str:
    """A measurement with its interval where it has one."""
    found = record.measurement(name)
    if found is None:
        return "–"
    ends = "" if found.low is None else f" [{found.low:.3g}, {found.high:.3g}]"
    return f"{found.value:.4g}{ends}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/sam-radius"))
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--images", type=int, default=200)
    arguments = parser.parse_args()
    out = arguments.out
    kept = []
    for radius in (0.0, *RADII):
        kept += [c for c in train(out, radius, arguments.updates) if "swa" not in str(c["method"])]
    cards = out / "checkpoints.yaml"
    store.save_text(cards, yaml.safe_dump({"checkpoints": kept}, sort_keys=False))
    words = ["--cards", cards, "--checkpoints", "*", "--images", arguments.images]
    flags = [word for scheme in SCHEMES for word in ("--scheme", scheme)]
    report = bench("run", *flags, *words, "--out", out / "reports").strip()
    run = read_run(Path(report).parent)
    columns = [f"{name}, {scheme}" for name in ("change of KD", "PSNR") for scheme in SCHEMES]
    print(f"| weights | FD | KD | {' | '.join(columns)} |")
    print("|---" * 7 + "|")
    rows: dict[str, list[Record]] = {}
    for record in run.records:
        rows.setdefault(record.cell.checkpoint.name, []).append(record)
    for name, (full, *quantized) in rows.items():
        cells = [value(full, metric) for metric in ("fd_efficientnet", "kd_efficientnet")]
        for metric in ("delta_kd_efficientnet", "psnr"):
            cells += [value(record, metric) for record in quantized]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

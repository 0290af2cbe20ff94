"""Damage files of the cache on purpose, and count what comes of it.

    OMP_NUM_THREADS=1 python docs/experiments/damage.py [events] [seed] [kind ...]

A tiny network is run in full precision and quantized, scored against a folder of images and
probed. Then, again and again, the cache is copied, one file of it is damaged, the results that
rest on this file are deleted so that it must be read, and the same is asked for twice. Of each
event is counted: wrong numbers or an error in either round; a word about damage in the second
(damage must heal at once); and silence in the first. A deleted file may be made again in silence.

Each round is a process of its own, forked after all imports, and not run as root, who may read
what is forbidden.
"""

from __future__ import annotations

import collections
import hashlib
import os
import pickle
import random
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from bench.core.cell import Cell, Checkpoint, Draw
from bench.core.progress import finished
from bench.core.scheme import Scheme
from bench.evaluation import records
from bench.evaluation.cost import outputs
from bench.evaluation.pipeline import Pipeline
from bench.evaluation.probe_context import Plan
from bench.evaluation.probing import Prober
from bench.evaluation.resolved import Resolver
from bench.measurement import real
from bench.measurement.features import efficientnet, reference  # noqa: F401
from bench.measurement.probes import flatness  # noqa: F401
from bench.measurement.probes.context import Setting
from bench.models.networks import build_network
from bench.system import store
from bench.system.host import fingerprint

NOBODY = 65534
NETWORK = {
    "patch": 2,
    "unet": {
        "sample_size": 14,
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 1,
        "block_out_channels": [8, 16],
        "norm_num_groups": 4,
        "attention_head_dim": 8,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    },
}
DRAW = Draw(steps=2, images=8, batch=3)
SCHEME = Scheme(4, 8, calibration=3)
SETTING = Setting(
    **{"examples": 8, "chunk": 8, "radii": (0.01,), "worst_radii": (0.001,), "directions": 2},
    **{"ascent": 1, "shifts": 2, "curvature": 4, "lanczos": 2, "eigenvalues": 1},
    **{"hutchinson": 2, "images": 4, "worst": 1},
)
# Kind of file: its pattern, and what rests on it and is deleted.
KINDS = {
    "images": ("images/*/*.npy", ("records", "features")),
    "coverage": ("images/*/coverage.json", ("records",)),
    "calibration": ("images/*/calibration.txt", ("records",)),
    "features": ("features/*/*/*.npy", ("records",)),
    "quantized": ("quantized/*/*", ("records", "features", "images")),
    "records": ("records/*.json", ()),
    "influences": ("records/*.npz", ()),
    "reference": ("reference/*", ("records",)),
    "pixels": ("data/*.npy", ("records",)),
    "probes": ("probes/*.json", ()),
    "outputs": ("outputs/*", ()),
}


def prepare(folder: Path) -> Checkpoint:
    """Random weights, a folder of images, and the card."""
    torch.manual_seed(0)
    path = folder / "tiny.safetensors"
    save_file(build_network(NETWORK).state_dict(), path)
    path.chmod(0o644)
    pictures = folder / "pictures" / "test"
    pictures.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for k in range(24):
        image = generator.integers(0, 256, (28, 28), np.uint8)
        Image.fromarray(image).save(pictures / f"{k:02d}.png")
    shutil.copytree(pictures, folder / "pictures" / "train")
    config = {"shape": [1, 28, 28], "schedule": "cosine", "timesteps": 1000}
    config |= {"predicts": "epsilon", "network": NETWORK}
    dataset = f"folder:{folder / 'pictures'}"
    words = ("tiny", "tiny", "baseline", "safetensors", str(path), store.sha256(path), dataset)
    return Checkpoint(*words, config)


def results(card: Checkpoint, cache: Path) -> dict[str, Any]:
    """All numbers: of the records, their influences, the strips of samples, the probes."""
    os.environ["BENCH_CACHE"] = str(cache)
    host = fingerprint()
    resolver, pipeline = Resolver(host, cache), Pipeline(host, cache)
    found: dict[str, Any] = {"outputs": outputs(card)}
    for scheme, backend in ((Scheme(), "float"), (SCHEME, "simulated")):
        cell = Cell(card, scheme, backend, DRAW)
        wanted = resolver.resolve(cell)
        record = finished(pipeline.run(wanted))
        if record.status != "ok":
            raise RuntimeError(record.error)
        rows = [(m.name, m.value, m.low, m.high) for m in record.measurements]
        terms = {k: v.tobytes() for k, v in sorted(records.influences_of(wanted).items())}
        strip = pipeline.generation.sample_strip(wanted.images).tobytes()
        found[str(cell)] = rows, record.coverage, record.calibration, terms, digest(strip)
    plan = Plan(("flatness",), (SCHEME,), "simulated", DRAW, SETTING)
    parts = list(Prober(fingerprint(), cache, plan).run(card))
    found["probes"] = [(part.status, part.error, part.rows) for part in parts]
    return found


def digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def child(work: Callable[[], Any], folder: Path) -> tuple[Any, str]:
    """What the work gives in a process of its own, an error as text, and what it says."""
    told, given = folder / "stderr", folder / "result"
    for path in (told, given):
        path.write_bytes(b"")
        os.chown(path, NOBODY, NOBODY)
    process = os.fork()
    if not process:
        os.dup2(os.open(told, os.O_WRONLY | os.O_TRUNC), 2)
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        try:
            answer: Any = work()
        except BaseException as error:
            traceback.print_exc()
            answer = f"{type(error).__name__}: {error}"
        given.write_bytes(pickle.dumps(answer))
        os._exit(0)
    os.waitpid(process, 0)
    return pickle.loads(given.read_bytes()), told.read_text(errors="replace")


def flip(path: Path, others: list[Path]) -> None:
    """One bit of one byte."""
    content = bytearray(path.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)


def zero(path: Path, others: list[Path]) -> None:
    """A page, or a quarter of a small file, of zeros; not where there are zeros already."""
    content = bytearray(path.read_bytes())
    length = max(1, min(4096, len(content) // 4))
    places = [k for k in range(0, len(content) - length + 1, 7) if any(content[k : k + length])]
    start = random.choice(places)
    content[start : start + length] = bytes(length)
    path.write_bytes(content)


def truncate(path: Path, others: list[Path]) -> None:
    """The first part of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: random.randrange(1, len(content))])


def empty(path: Path, others: list[Path]) -> None:
    """A file of no bytes."""
    path.write_bytes(b"")


def permute(path: Path, others: list[Path]) -> None:
    """Rows of an array in another order, header and end kept; of other files, two halves."""
    content = path.read_bytes()
    if path.suffix == ".npy":
        with path.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            assert version == (1, 0)
            shape, _, kind = np.lib.format.read_array_header_1_0(stream)
            start = stream.tell()
        size = kind.itemsize * int(np.prod(shape[1:]))
        rows = [content[start + k * size : start + (k + 1) * size] for k in range(shape[0])]
        end = content[start + size * len(rows) :]
        changed = content[:start] + b"".join(rows[1:] + rows[:1]) + end
        # One row alone has no order.
        if changed != content:
            path.write_bytes(changed)
            return
    half = len(content) // 2
    path.write_bytes(content[half:] + content[:half])


def other(path: Path, others: list[Path]) -> None:
    """An array of another shape or type, a document of another kind."""
    if path.suffix == ".npy":
        array = random.choice([np.zeros((3, 2), np.float32), np.zeros((3, 1, 28, 28))])
        with path.open("wb") as stream:
            np.save(stream, array)
    else:
        path.write_text(random.choice(["{}", "[1, 2]", "null", "7"]))


def swap(path: Path, others: list[Path]) -> None:
    """Two files of a kind exchanged; one alone is replaced by its double content."""
    if others:
        second = random.choice(others)
        first, content = path.read_bytes(), second.read_bytes()
        path.write_bytes(content)
        second.write_bytes(first)
        if first != content:
            return
    path.write_bytes(path.read_bytes() * 2)


def delete(path: Path, others: list[Path]) -> None:
    """Nothing there."""
    path.unlink()


def directory(path: Path, others: list[Path]) -> None:
    """A folder in its place."""
    path.unlink()
    (path / "inside").mkdir(parents=True)


def forbid(path: Path, others: list[Path]) -> None:
    """A file that may not be read."""
    path.chmod(0)


DAMAGES = (flip, zero, truncate, empty, permute, other, swap, delete, directory, forbid)


def event(pristine: Path, work: Path, kind: str, damage: Callable[..., None]) -> Path:
    """Copy the cache, delete what rests on a file of a kind, damage the file."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(pristine, work)
    pattern, resting = KINDS[kind]
    chosen = sorted(work.glob(pattern))
    if kind == "quantized":
        # Of full precision the images stay; the quantized ones are made from this file.
        for folder in (work / "images").iterdir():
            if (folder / "calibration.txt").stat().st_size > 120:
                shutil.rmtree(folder)
        resting = resting[:2]
    for name in resting:
        shutil.rmtree(work / name, ignore_errors=True)
    path = random.choice(chosen)
    damage(path, [p for p in chosen if p != path])
    for parent, folders, files in os.walk(work):
        for name in [".", *folders, *files]:
            os.chown(Path(parent, name), NOBODY, NOBODY)
    return path


def main() -> None:
    """Run the campaign and print its table."""
    given = sys.argv[1:3]
    times, seed = (int(word) for word in (*given, *("2", "0")[len(given) :]))
    random.seed(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        card = prepare(folder)
        pristine, work = folder / "pristine", folder / "work"
        os.environ["BENCH_CACHE"] = str(pristine)
        reference.build(card.dataset, "efficientnet")
        shutil.copytree(pristine, folder / "warm")
        for path in pristine.rglob("*"):
            os.chown(path, NOBODY, NOBODY)
        os.chown(pristine, NOBODY, NOBODY)
        # Once here, so that processes which may read little have imported everything.
        results(card, folder / "warm")
        real._statistics.cache_clear()
        expected, _ = child(lambda: results(card, pristine), folder)
        if isinstance(expected, str):
            raise SystemExit((folder / "stderr").read_text())
        count: collections.Counter[str] = collections.Counter()
        for kind in sys.argv[3:] or KINDS:
            for damage in DAMAGES:
                # Nobody but the user makes it, so a run asks for it.
                if (kind, damage) == ("reference", delete):
                    continue
                for _ in range(times):
                    path = event(pristine, work, kind, damage)
                    where = path.relative_to(work)
                    rounds = [child(lambda: results(card, work), folder) for _ in range(2)]
                    count["events"] += 1
                    for number, (found, told) in enumerate(rounds, 1):
                        wrong = "error" if isinstance(found, str) else "wrong numbers"
                        if found != expected:
                            count[f"{wrong} in round {number}"] += 1
                            print(f"{damage.__name__} {where}: {wrong} {number}: {told}")
                    count["told"] += "damaged" in rounds[0][1]
                    if "damaged" not in rounds[0][1] and damage is not delete:
                        count["silent"] += 1
                        print(f"{damage.__name__} {where}: silent")
                    if rounds[1][1].strip():
                        count["not healed at once"] += 1
                        print(f"{damage.__name__} {where}: again: {rounds[1][1]}")
            print(f"{kind}: {dict(count)}", flush=True)


if __name__ == "__main__":
    main()

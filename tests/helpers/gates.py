"""Canned runs for the gate: two cells whose images share most of their noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.core.cell import Cell, Checkpoint, Draw
from bench.core.estimates import interval
from bench.core.record import Coverage, Host, Measurement, Record, Run, to_json
from bench.core.scheme import Scheme
from bench.system import influences, store
from bench.system.influences import key
from bench.system.runs import LoadedRun

HOST = Host("box", "cpu", "avx2", 2, {"torch": "2"})
CARD = Checkpoint("fashion-sam", "fashion", "sam", "safetensors", "s", "a" * 64, "fashion-mnist")
OLD, NEW = "20260101T000000Z-aaaaaaaa", "20260102T000000Z-bbbbbbbb"
# Name, value, deviation over the images, unit, better.
NUMBERS = {
    "kd_efficientnet": (130.0, 80.0, "1e-3", "lower"),
    "delta_kd_efficientnet": (16.0, 20.0, "1e-3", "lower"),
    "psnr": (30.0, 3.0, "dB", "higher"),
    "fd_twin_efficientnet": (0.5, None, "", "lower"),
}


def measurement(name, value, terms, n=500, version=1):
    _, _, unit, better = NUMBERS[name]
    ends = (None, None) if terms is None else interval(value, terms)
    paired = name != "kd_efficientnet"
    return Measurement(f"{name}@{n}", value, *ends, n, unit, better, version, paired)


def run(records, identity="20260101T000000Z-aaaaaaaa"):
    return Run(identity, "2026-01-01T00:00:00+00:00", "a" * 40, False, "bench run", tuple(records))


def side(psnr=0.0, delta=0.0, twin=0.0, images=500, seed=0, identity="20260101T000000Z-aaaaaaaa"):
    """A run whose numbers are shifted; images of one index share nine tenths of their noise."""
    draw = Draw(images=images, seed=seed)
    shifts = {"psnr": psnr, "delta_kd_efficientnet": delta, "fd_twin_efficientnet": twin}
    records, terms = [], {}
    for scheme, names in (
        (Scheme(), ["kd_efficientnet"]),
        (Scheme.parse("w8a8"), ["kd_efficientnet", *list(NUMBERS)[1:]]),
    ):
        cell = Cell(CARD, scheme, "float" if scheme.is_float else "simulated", draw)
        measurements = []
        for k, name in enumerate(names):
            value, deviation = NUMBERS[name][0] + shifts.get(name, 0.0), NUMBERS[name][1]
            own = np.random.default_rng([k, round(1000 * shifts.get(name, 0.0)) % 997])
            if deviation is None:
                measurements.append(measurement(name, value, None, images))
                continue
            noise = np.random.default_rng([k, seed, 7]).standard_normal(images)
            noise = noise + 0.1 * own.standard_normal(images)
            noise = deviation * (noise - noise.mean())
            measurements.append(measurement(name, value, noise, images))
            terms[influences.key(cell, measurements[-1].name)] = noise
        covered = 0 if scheme.is_float else 90
        by_bits = {} if scheme.is_float else {"w8a8": 90}
        kernel = "none" if scheme.is_float else "simulated"
        coverage = Coverage(100, covered, 10, covered // 10, 40, kernel, by_bits)
        real = {"efficientnet": "f" * 64}
        records.append(
            Record(cell, HOST, "ok", coverage, tuple(measurements), {"sample": 1.0}, real=real)
        )
    return LoadedRun("run", run(records, identity), terms)


def made(of, change):
    """The side with `change` (Measurement -> Measurement) applied to every measurement."""
    records = [replace(r, measurements=tuple(map(change, r.measurements))) for r in of.run.records]
    return replace(of, run=replace(of.run, records=tuple(records)))


def altered(of, **changes):
    """The side with fields changed, wherever in a quantized record they are."""
    if "version" in changes:
        return made(of, lambda m: replace(m, version=changes["version"]))
    records = []
    for record in of.run.records:
        cell = record.cell
        if not cell.scheme.is_float:
            parts = {"checkpoint": cell.checkpoint, "scheme": cell.scheme, "draw": cell.draw}
            for name, part in parts.items():
                own = {k: v for k, v in changes.items() if hasattr(part, k)}
                parts[name] = replace(part, **own)
            cell = replace(cell, **parts)
            own = {k: v for k, v in changes.items() if hasattr(record.coverage, k)}
            coverage = replace(record.coverage, **own)
            real = changes.get("real", record.real)
            record = replace(record, cell=cell, coverage=coverage, real=real)
        records.append(record)
    return replace(of, run=replace(of.run, records=tuple(records)))


def family(**losses):
    """One run of several methods; `sam_1` is the training by seed 1 of sam."""
    records, terms = [], {}
    for name, loss in losses.items():
        method, _, seed = name.partition("_")
        one = side(psnr=loss)
        for record in one.run.records:
            card = replace(record.cell.checkpoint, name=name, method=method, seed=int(seed or 0))
            cell = replace(record.cell, checkpoint=card)
            records.append(replace(record, cell=cell))
            terms |= {
                key(cell, m.name): one.influences[key(record.cell, m.name)]
                for m in record.measurements
                if key(record.cell, m.name) in one.influences
            }
    return replace(side().run, records=tuple(records)), terms


def kernels(run):
    """The run with kernels beside the simulation, which measure one metric more."""
    full, quantized = run.records
    cell = replace(quantized.cell, backend="int8-x86", metrics=("kernel", "psnr_simulated"))
    coverage = replace(quantized.coverage, kernel="int8")
    return replace(
        run, records=(full, quantized, replace(quantized, cell=cell, coverage=coverage))
    )


def keep(out, of, identity):
    """Write a side as a run of a folder; return the run's folder."""
    folder = out / identity
    store.save_text(folder / "run.json", to_json(replace(of.run, id=identity)))
    influences.save(folder / influences.NAME, of.influences)
    return folder

"""A canned run with everything that a report must show, and its samples.

Run as a script it accepts the present text of the report: it writes tests/golden/report.md.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench import report
from bench.core.cell import Cell, Checkpoint, Draw
from bench.core.record import Coverage, Host, Measurement, Record, Run
from bench.core.scheme import Scheme
from bench.system import store
from bench.system.runs import sample_name, save_strip

GOLDEN = Path(__file__).parents[1] / "golden" / "report.md"
N = 500
HOST = Host("box", "cpu", "avx2", 2, {"python": "3.11.7", "torch": "2.14.1", "torchao": "0.18.0"})
# Per method: FD in full precision, and by scheme: change of FD, PSNR, SSIM, FD to twin.
NUMBERS = {
    "baseline": (41.27, {"w8a8": (0.31, 31.2, 0.981, 0.42), "w4a8": (6.84, 19.4, 0.803, 8.13)}),
    "ema": (29.55, {"w8a8": (-0.12, 33.9, 0.989, 0.21), "w4a8": (3.02, 22.1, 0.872, 4.05)}),
    "swa": (30.18, {"w8a8": (0.04, 34.0, 0.990, 0.20), "w4a8": (2.71, 22.4, 0.880, 3.66)}),
    "sam": (33.90, {"w8a8": (-0.45, 35.6, 0.993, 0.15), "w4a8": (1.10, 25.3, 0.931, 1.94)}),
}


def checkpoint(method: str) -> Checkpoint:
    name = f"fmnist-{method}"
    return Checkpoint(
        name,
        "fmnist-small",
        method,
        "safetensors",
        f"{name}.safetensors",
        f"{sum(map(ord, method)):x}".rjust(3, "0") * 21 + "0",
        "fashion-mnist",
        license="Apache-2.0",
    )


def coverage(scheme: Scheme) -> Coverage:
    if scheme.is_float:
        return Coverage(10_000_000, 0, 1_000_000, 0, 4_000_000, "none")
    edge, inner = "w8a8", f"w{scheme.weight_bits}a{scheme.act_bits}"
    by_bits = {edge: 200_000, inner: 9_600_000} if edge != inner else {edge: 9_800_000}
    skipped = tuple((f"time.{k}", "float: time embedding") for k in range(6))
    size = 1_000_000 * scheme.weight_bits // 8 + 30_000
    return Coverage(10_000_000, 9_800_000, 1_000_000, 970_000, size, "simulated", by_bits, skipped)


def measure(name: str, value: float, half: float | None, better: str = "lower") -> Measurement:
    low, high = (None, None) if half is None else (value - half, value + half)
    unit = "dB" if name == "psnr" else ""
    paired = name.startswith(("delta", "psnr", "ssim", "fd_twin"))
    return Measurement(f"{name}@{N}", value, low, high, N, unit, better, 1, paired)


def record(method: str, scheme: Scheme) -> Record:
    full, losses = NUMBERS[method]
    change, psnr, ssim, twin = losses.get(str(scheme), (0.0, 0.0, 0.0, 0.0))
    measurements = [
        measure("fd_efficientnet", full + change, None),
        measure("kd_efficientnet", (full + change) / 900, 0.0021),
    ]
    if not scheme.is_float:
        half = {"ema": 0.4, "sam": 0.2}.get(method) if scheme.weight_bits == 8 else None
        measurements += [
            measure("delta_fd_efficientnet", change, half),
            measure("delta_kd_efficientnet", change / 900, None),
            measure("psnr", psnr, 0.35, "higher"),
            measure("ssim", ssim, 0.004, "higher"),
            measure("fd_twin_efficientnet", twin, None),
        ]
    cell = Cell(checkpoint(method), scheme, "float" if scheme.is_float else "simulated", Draw())
    seal = "" if scheme.is_float else f"{ord(method[0]):064x}"[::-1]
    return Record(cell, HOST, "ok", coverage(scheme), tuple(measurements), {"sample": 60.0}, seal)


def refused(method: str, text: str) -> Record:
    cell = Cell(checkpoint(method), Scheme.parse(text), "simulated", Draw())
    return Record(cell, HOST, "refused", None, (), {}, error="no kernel for w2 | use w4a8")


def failed(method: str, text: str) -> Record:
    cell = Cell(checkpoint(method), Scheme.parse(text), "simulated", Draw())
    return Record(cell, HOST, "failed", None, (), {}, error="RuntimeError: <Tensor> ran out")


def run(*texts: str) -> Run:
    """The canned run under some schemes, w8a8 and w4a8 by default."""
    schemes = [Scheme.parse(text) for text in ("fp32", *(texts or ("w8a8", "w4a8")))]
    # In another order than the report's.
    records = [record(method, scheme) for method in reversed(NUMBERS) for scheme in schemes]
    records += [refused("baseline", "w2a8"), failed("sam", "w2a8")]
    return Run(
        "20250102T030405Z-0123abcd",
        "2025-01-02T03:04:05+00:00",
        "0123abcd" * 5,
        True,
        "bench run --scheme w8a8 --scheme w4a8",
        tuple(records),
    )


def with_measurements(base: Run, change: object) -> Run:
    """The run with `change` (Measurement -> Measurement) applied to every measurement."""
    records = [
        replace(r, measurements=tuple(change(m) for m in r.measurements)) for r in base.records
    ]
    return replace(base, records=tuple(records))


def write_samples(base: Run, folder: Path, channels: int = 1) -> None:
    """Strips of 16 synthetic images: discs, noisier with fewer bits."""
    y, x = np.mgrid[:28, :28]
    for record in base.records:
        if record.status != "ok":
            continue
        noise = np.random.default_rng(0)
        discs = [255.0 * (np.hypot(x - 14, y - 14) < 4 + k / 2) for k in range(16)]
        strip = np.concatenate(discs, axis=1)
        strip = strip + noise.normal(0, 200 / record.cell.scheme.weight_bits, strip.shape)
        pixels = np.repeat(np.clip(strip, 0, 255).astype(np.uint8)[..., None], channels, axis=2)
        save_strip(folder / "samples" / sample_name(record.cell), pixels)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        write_samples(run(), Path(temporary))
        store.save_text(GOLDEN, report.render(run(), Path(temporary)).read_text(encoding="utf-8"))

"""Share of a run's wall time spent in network forward passes and feature extraction.

A child process does the main job, `bench run --bits 4`, with an empty cache; its wall time counts
from its start, interpreter and imports included. Forward passes are those of sampling, full
precision and quantized, and of calibration, where the network carries its observers.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHILD = """
import sys
sys.path.insert(0, {folder!r})
import share
share.child({words!r})
"""


def child(words: list[str]) -> None:
    """Run bench with the two kinds of work timed; print their seconds as the last line."""
    from bench.core import extensions  # noqa: F401
    from bench.core.denoiser import Denoiser
    from bench.measurement.features.efficientnet import EfficientNet

    seconds = {"forward": 0.0, "features": 0.0}

    def timed(kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments)
            seconds[kind] += time.perf_counter() - start
            return result

        return wrapper

    Denoiser.denoise = timed("forward", Denoiser.denoise)  # type: ignore[method-assign]
    EfficientNet.__call__ = timed("features", EfficientNet.__call__)  # type: ignore[method-assign]
    sys.argv = ["bench", *words]
    from bench.cli.app import main

    try:
        main()
    finally:
        print(json.dumps(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--checkpoints", help="names or methods, by default those of the job")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        words = ["run", "--bits", "4", "--images", str(arguments.images)]
        words += ["--checkpoints", arguments.checkpoints] if arguments.checkpoints else []
        words += ["--out", str(Path(folder) / "reports")]
        code = CHILD.format(folder=str(Path(__file__).parent), words=words)
        environment = os.environ | {"BENCH_CACHE": folder}
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
        )
        wall = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"the run failed with exit code {done.returncode}")
    seconds = json.loads(done.stdout.splitlines()[-1])
    for name, value in seconds.items():
        print(f"{name:10} {value:7.1f} s  {value / wall:6.1%}")
    print(f"{'wall':10} {wall:7.1f} s")
    print(f"share      {sum(seconds.values()) / wall:.3f}  (network and features / wall time)")


if __name__ == "__main__":
    main()

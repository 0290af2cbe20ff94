"""What the executions of many checkpoints of one structure take to build, in seconds of a core.

    python benchmarks/compiling.py --checkpoints 'fashion-unet-*' --backend int8-x86:compiled

Each shipped checkpoint is quantized under each scheme and built; the seconds are those of this
process and of the compilers that it started, without what is the same for every backend: ranges
come from one evaluation in the place of a calibration.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import sys
import tempfile

# Compilers are started by this process, so that their time is counted.
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"

import torch

from bench.core import extensions
from bench.core.errors import InputError
from bench.core.scheme import Scheme
from bench.models.cards import card_file, load_cards
from bench.system.host import fingerprint


class OneEvaluation:
    """A calibration by one evaluation: the ranges do not matter to the time."""

    place = plain = None

    def __init__(self, inputs: tuple[torch.Tensor, ...]) -> None:
        self.shape, self.kept = tuple(inputs[0].shape), [inputs]

    def __call__(self, model: torch.nn.Module) -> str:
        """Evaluate."""
        model(*self.kept[0])
        return ""


def spent() -> float:
    """Seconds of a core that this process and those that it has waited for have taken."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", default="*", help="glob of names")
    parser.add_argument("--backend", default="int8-x86:compiled")
    parser.add_argument("--schemes", default="w8a8+minmax,w4a8+minmax")
    parser.add_argument("--batch", type=int, default=50)
    asked = parser.parse_args()
    cards = [c for c in load_cards(card_file(None)) if fnmatch.fnmatch(c.name, asked.checkpoints)]
    host, begin, count = fingerprint(), spent(), 0
    # Nothing is found that an earlier command compiled.
    folder = tempfile.TemporaryDirectory()
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder.name
    for card in cards:
        full = extensions.lookup("sources", card.source)(card)
        for words in asked.schemes.split(","):
            backend, start = extensions.lookup("backends", asked.backend)(), spent()
            inputs = full.example_inputs(asked.batch)
            made = backend(full, Scheme.parse(words), OneEvaluation(inputs))
            with torch.inference_mode():
                made.denoiser.model(*inputs)
            seconds, count = spent() - start, count + 1
            row = {"checkpoint": card.name, "scheme": words, "backend": asked.backend}
            print(json.dumps(row | {"seconds": round(seconds, 2)}), flush=True)
    print(
        f"{host.isa}, {host.threads} threads: {count} built in {spent() - begin:.1f} s of a core"
    )


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))

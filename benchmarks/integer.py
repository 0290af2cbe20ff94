"""Integer kernels against float32: a forward pass of one network, eager and compiled.

Random weights at two widths; all executions alternate, and the ratios of the medians are printed.
Above 1 the integers are faster. On a CPU without VNNI every layer of W8A8 runs in two halves.
"""

from __future__ import annotations

import argparse
import copy
import functools

import torch

from bench.core import extensions
from bench.core.cell import Draw
from bench.core.denoiser import Denoiser
from bench.core.noise_levels import NoiseLevels
from bench.core.scheme import Scheme
from bench.models.networks import build_network
from bench.models.samplers.ddim import ddim
from bench.models.samplers.trajectories import Trajectories
from bench.models.schedules import alpha_bar
from bench.models.training.recipes import SMALL_NETWORK
from bench.system.host import instruction_set, threads
from bench.system.timing import alternate, ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="also compiled (minutes)")
    arguments = parser.parse_args()
    print(f"{instruction_set()}, {threads()} threads")
    for widths, batch in (((32, 64, 64), 50), ((128, 256, 256), 8)):
        network = copy.deepcopy(SMALL_NETWORK)
        network["unet"]["block_out_channels"] = list(widths)
        torch.manual_seed(0)
        model = build_network(network).eval().requires_grad_(False)
        full = Denoiser(model, NoiseLevels.discrete(alpha_bar("cosine")), "epsilon", (1, 28, 28))
        calls = {"float32": _call(model, batch)}
        backends = ["int8-x86", *(["int8-x86:compiled"] if arguments.compile else [])]
        for words in ("w4a8", "w8a8"):
            for name in ("simulated", *backends):
                calibrate = Trajectories(full, Draw(steps=4, batch=batch), ddim, batch)
                made = extensions.lookup("backends", name)()(full, Scheme.parse(words), calibrate)
                calls[f"{words} {name}"] = _call(made.denoiser.model, batch)
        with torch.inference_mode():
            seconds = alternate(calls, arguments.rounds)
        for name in calls:
            print(f"{widths} {name:24} {ratio(seconds, name, 'float32'):.2f}")


def _call(model: torch.nn.Module, batch: int) -> functools.partial[torch.Tensor]:
    x = torch.randn(batch, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return functools.partial(model, x, torch.full((batch,), 500))


if __name__ == "__main__":
    main()

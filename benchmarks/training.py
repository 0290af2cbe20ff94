"""What an update costs: SAM and the averages against a plain update, and bench against diffusers.

All variants train the same network on the same random images and take turns, one update each, so
that a change of the machine's load hits all; printed are ratios of the medians. The averages are
timed inside bench's updates, a whole SWA cycle long. The diffusers loop is that of its
unconditional training example: noise drawn in one call, `add_noise`, mean squared error, Adam.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable

import torch
from diffusers import DDPMScheduler
from torch import Tensor
from torch.nn import functional

from bench.core.denoiser import to_model_range
from bench.models.networks import build_network
from bench.models.training import recipes
from bench.models.training.loop import Trainer
from bench.models.training.recipe import Recipe

CYCLE = 20


class Timed:
    """Calls a function and sums up the seconds."""

    def __init__(self, function: Callable[[int], None]) -> None:
        self.function, self.seconds = function, 0.0

    def __call__(self, done: int) -> None:
        start = time.perf_counter()
        self.function(done)
        self.seconds += time.perf_counter() - start


def theirs(recipe: Recipe, images: Tensor) -> Callable[[], None]:
    """An update of diffusers' training example."""
    model = build_network(recipe.network)
    scheduler = DDPMScheduler(recipe.timesteps, beta_schedule="squaredcos_cap_v2")
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)

    def update() -> None:
        chosen = torch.randint(len(images), (recipe.batch,))
        x_0 = to_model_range(images[chosen])
        noise = torch.randn(x_0.shape)
        t = torch.randint(0, recipe.timesteps, (recipe.batch,))
        loss = functional.mse_loss(model(scheduler.add_noise(x_0, noise, t), t), noise)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return update


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=CYCLE)
    rounds = parser.parse_args().rounds
    recipe = dataclasses.replace(
        recipes.find("fashion-unet"), swa_start=0.0, swa_every=CYCLE, updates=10**6
    )
    images = torch.randint(0, 256, (2000, *recipe.shape), dtype=torch.uint8)
    plain = Trainer(recipe, images)
    averages = Timed(plain.averages.update)
    plain.averages.update = averages  # type: ignore[method-assign]
    sam = Trainer(dataclasses.replace(recipe, method="sam"), images)
    variants = {"bench": plain.step, "sam": sam.step, "diffusers": theirs(recipe, images)}
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for update in variants.values():
        update()
    averages.seconds = 0.0
    for _ in range(rounds):
        for name, update in variants.items():
            start = time.perf_counter()
            update()
            seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in median.items():
        print(f"{name:12} {1000 * value:8.1f} ms an update  {recipe.batch / value:6.0f} images/s")
    share = averages.seconds / (sum(seconds["bench"]) - averages.seconds)
    print(f"sam / plain, both with averages         {median['sam'] / median['bench']:.3f}")
    print(f"ema and swa, share of a plain update    {share:.4f}")
    print(f"bench with averages / diffusers without {median['bench'] / median['diffusers']:.3f}")


if __name__ == "__main__":
    main()

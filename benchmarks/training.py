"""What an update costs: SAM and the averages against a plain update, and bench against diffusers.

All variants train the network of the zoo on the same random images and take turns of CYCLE updates
(one SWA cycle each), so that a change of the machine's load hits all; printed are ratios of the
medians over the turns. The diffusers loop is that of its unconditional training example: noise
drawn in one call, `add_noise`, mean squared error, Adam.
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

from bench.networks import build_network, to_model_range
from bench.training import recipes
from bench.training.loop import Trainer
from bench.training.recipe import Recipe

CYCLE = 20


def ours(recipe: Recipe, images: Tensor, averages: bool) -> Callable[[], None]:
    """An update of bench, with or without EMA and SWA."""
    trainer = Trainer(recipe, images)
    if not averages:
        trainer.averages.update = lambda done: None  # type: ignore[method-assign]

    def update() -> None:
        trainer.step()

    return update


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
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    recipe = dataclasses.replace(
        recipes.find("fashion-unet"), swa_start=0.0, swa_every=CYCLE, updates=10**6
    )
    images = torch.randint(0, 256, (2000, *recipe.shape), dtype=torch.uint8)
    sam = dataclasses.replace(recipe, method="sam")
    variants = {
        "plain": ours(recipe, images, averages=False),
        "ema and swa": ours(recipe, images, averages=True),
        "sam": ours(sam, images, averages=False),
        "diffusers": theirs(recipe, images),
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for update in variants.values():
        update()
    for _ in range(rounds):
        for name, update in variants.items():
            start = time.perf_counter()
            for _ in range(CYCLE):
                update()
            seconds[name].append((time.perf_counter() - start) / CYCLE)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in median.items():
        print(f"{name:12} {1000 * value:8.1f} ms an update  {recipe.batch / value:6.0f} images/s")
    print(f"sam / plain                    {median['sam'] / median['plain']:.3f}")
    print(f"with ema and swa / plain       {median['ema and swa'] / median['plain']:.3f}")
    print(f"bench plain / diffusers        {median['plain'] / median['diffusers']:.3f}")


if __name__ == "__main__":
    main()

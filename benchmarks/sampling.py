"""Images/s of bench's sampling loop against diffusers' DDIMPipeline: same model, batch, threads.

Both run the network of the zoo in float32 and alternate, so that a change of the machine's load
hits both; the ratio of the medians is printed. Above 1 bench is faster.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel

from bench.core.cell import Draw
from bench.core.denoiser import Denoiser
from bench.core.noise_levels import NoiseLevels
from bench.models.networks import build_network
from bench.models.samplers.ddim import ddim
from bench.models.samplers.drawing import images
from bench.models.samplers.noise import image_generators
from bench.models.schedules import alpha_bar
from bench.models.training.recipes import SMALL_NETWORK


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = build_network(SMALL_NETWORK).eval().requires_grad_(False)
    assert isinstance(model.unet, UNet2DModel)
    schedule = alpha_bar("cosine")
    draw = Draw(steps=arguments.steps, batch=arguments.images)
    scheduler = DDIMScheduler(
        1000, beta_schedule="squaredcos_cap_v2", timestep_spacing=draw.spacing
    )
    pipeline = DDIMPipeline(model.unet, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    denoiser = Denoiser(model, NoiseLevels.discrete(schedule), "epsilon", (1, 28, 28))
    indices = range(arguments.images)

    def ours() -> None:
        images(denoiser, ddim, image_generators("images", 0, indices), draw)

    def theirs() -> None:
        generators = [torch.Generator().manual_seed(i) for i in indices]
        pipeline(
            batch_size=arguments.images,
            generator=generators,
            num_inference_steps=arguments.steps,
            output_type="np",
        )

    seconds: dict[str, list[float]] = {"bench": [], "diffusers": []}
    for function in (ours, theirs):
        function()
    for _ in range(arguments.rounds):
        for name, function in (("bench", ours), ("diffusers", theirs)):
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"{name:10} {arguments.images / value:8.2f} images/s")
    print(f"ratio      {medians['diffusers'] / medians['bench']:8.3f}  (bench / DDIMPipeline)")


if __name__ == "__main__":
    main()

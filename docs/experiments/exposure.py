"""Why is the exposure bias of SAM larger here? The measure where the answer is known, and apart.

The probe `exposure` takes the mean of ||eps(x_t, t)||^2 along the sampler's own trajectory less
that on noised real images. Here it is taken

- `known`: of denoisers that make no error at all, for data whose noise is known exactly: one
  Gaussian, or a mixture of ten, with the means and covariances of Fashion-MNIST and of ten
  clusters of it. What is left is the sampler's own, of its finite steps. For the Gaussian the
  expected gap has a closed form, which the measured one is held against;
- `networks`: of checkpoints, at any number of steps, with x_0 bounded or not. What the
  trainings of the methods say together is told by exposure_table.py;
- `background`: how much of an image a network takes for background, sampled and real.

Noise: image i is sampled from the noise that the probe gives it, and real image i is noised by
the same numbers at each level. Along DDIM the noise of an image hardly changes, so that much of
its norm cancels in the gap. The probe draws other noise for the real images: the same number in
expectation, with an interval that is a third wider.

Of each level there are kept: the two norms, the two mean squares of x_t, and the slope
E<eps, eps(x_t)> / E||eps(x_t)||^2 on real images: 1 where the prediction has the right scale,
less where it is too large.

    python docs/experiments/exposure.py known --steps 20,100,1000
    python docs/experiments/exposure.py networks 'fashion-unet-*' --steps 20 --keep FOLDER
    python docs/experiments/exposure_table.py FOLDER

What was measured is kept in FOLDER and not measured again. `--device cuda` evaluates networks on a
GPU.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from gaussians import SHAPE, Gaussians, clusters, expected_gap
from scipy import stats
from torch import Tensor

from bench.core import estimates, extensions
from bench.core.cell import Draw
from bench.core.denoiser import Denoised, Denoiser, to_model_range
from bench.core.noise_levels import Level, NoiseLevels
from bench.evaluation.generation import Generation
from bench.evaluation.probe_context import real_images
from bench.models.cards import card_file, load_cards, select, verify
from bench.models.samplers.drawing import Batch
from bench.models.samplers.noise import image_generators
from bench.models.schedules import alpha_bar
from bench.system import devices

BATCH = 50
# A level of 20, 100 and 1,000 steps with little noise; and the background of Fashion-MNIST is -1.
LATE, BLACK = 49, -0.97
# So many levels are looked at, evenly over the steps: those of 20 steps, if there are more.
LOOKED = 20


@dataclass(frozen=True)
class Watched:
    """What was seen at each level: of each image, (L, N), and the slope, (L,)."""

    t: list[int]
    sampled: np.ndarray
    real: np.ndarray
    sampled_power: np.ndarray
    real_power: np.ndarray
    slope: np.ndarray

    @property
    def gaps(self) -> np.ndarray:
        """The gap of each image at each level, (L, N)."""
        return self.sampled - self.real


def squares(x: Tensor) -> np.ndarray:
    """The squared norm of each image, float64 (B,)."""
    found: np.ndarray = x.double().square().flatten(1).sum(1).cpu().numpy()
    return found


def stride(steps: int) -> int:
    """One of so many levels is looked at."""
    return max(1, steps // LOOKED)


class Looking:
    """Denoises for a sampler, and looks at x_t and at real images of the same noise.

    Args:
        batch: that is sampled.
        real: as many real images.
        every: one of so many levels is looked at.
    """

    def __init__(self, batch: Batch, real: Tensor, every: int) -> None:
        self.batch, self.real, self.every = batch, real, every
        self.noise, self.t = batch.x_T.clone(), list[int]()
        self.rows: list[np.ndarray] = []
        self.places = {level.index: step for step, level in enumerate(batch.levels)}

    def __call__(self, x: Tensor, level: Level) -> Denoised:
        found = self.batch.denoise(x, level)
        if self.places[level.index] % self.every == 0:
            x_t = level.signal * self.real + level.noise * self.noise
            usual = self.batch.denoise(x_t, level).epsilon
            inner = (usual.double() * self.noise).flatten(1).sum(1).cpu().numpy()
            norms = squares(found.epsilon), squares(usual), squares(x), squares(x_t), inner
            self.rows.append(np.stack(norms))
            self.t.append(level.index)
        return found


@torch.inference_mode()
def watch(denoiser: Denoiser, real: Tensor, draw: Draw) -> Watched:
    """Sample as many images as there are real ones, and look at both at LOOKED levels."""
    looks = []
    for first in range(0, len(real), BATCH):
        chunk = real[first : first + BATCH].to(denoiser.device)
        generators = image_generators("images", draw.seed, range(first, first + len(chunk)))
        batch = Batch(denoiser, extensions.lookup("samplers", draw.sampler), generators, draw)
        looks.append(Looking(batch, chunk, stride(draw.steps)))
        batch.latents(looks[-1])
    # (L, 5, N)
    both = np.concatenate([np.stack(look.rows) for look in looks], axis=2)
    slope = both[:, 4].mean(1) / both[:, 1].mean(1)
    return Watched(looks[0].t, *(both[:, k] for k in range(4)), slope)


def summary(watched: Watched) -> dict[str, object]:
    """What is kept of it: means at each level, and the mean gap of each image."""
    of_image = watched.gaps.mean(0)
    return {
        "t": watched.t,
        "gap": watched.gaps.mean(1).tolist(),
        "real": watched.real.mean(1).tolist(),
        "power": (watched.sampled_power - watched.real_power).mean(1).tolist(),
        "slope": watched.slope.tolist(),
        "images": of_image.tolist(),
    }


def told(kept: dict[str, list[float]]) -> str:
    """The mean gap with its interval, and what is behind it, as cells of a table.

    The thirds are of the levels: the most noise, the middle, the least.
    """
    each = np.array(kept["images"])
    low, high = estimates.interval(float(each.mean()), each - each.mean())
    thirds = [np.mean(part) for part in np.array_split(kept["gap"], 3)]
    cells = [f"{each.mean():+.1f} [{low:+.1f}, {high:+.1f}]", *(f"{x:+.1f}" for x in thirds)]
    cells += [f"{np.mean(kept['power']):+.1f}"]
    cells += [f"{np.mean(part):.4f}" for part in np.array_split(kept["slope"], 3)]
    return " | ".join(cells)


HEAD = (
    "gap | most noise | middle | least noise | of the square of x_t | slope, most noise | "
    "middle | least noise |"
)


def known(asked: argparse.Namespace) -> None:
    """Print the gap of denoisers without error."""
    levels = NoiseLevels.discrete(alpha_bar("cosine"))
    data = extensions.lookup("datasets", "fashion-mnist")
    images = to_model_range(data("train")).flatten(1)
    apart = clusters(images)
    models = {
        "one Gaussian": Gaussians([images], [1.0], levels),
        "ten Gaussians": Gaussians(apart, [len(x) / len(images) for x in apart], levels),
    }
    print(f"| data | steps | x_0 | images | expected | {HEAD}")
    print("|" + "---|" * 13)
    for (name, model), steps in itertools.product(models.items(), asked.steps):
        draw = Draw(steps=steps, images=asked.images, batch=BATCH)
        for clips in (False, True):
            denoiser = Denoiser(model, levels, "epsilon", SHAPE, clips=clips)
            watched = watch(denoiser, model.draw(asked.images), draw)
            expected = ""
            if len(model.means) == 1 and not clips:
                chosen = levels.steps(steps, draw.spacing)
                expected = f"{expected_gap(model, chosen)[:: stride(steps)].mean():+.1f}"
            bound = "bounded" if clips else "free"
            line = told(summary(watched))  # type: ignore[arg-type]
            print(f"| {name} | {steps} | {bound} | {asked.images} | {expected} | {line} |")
    print("\nOne Gaussian, the prediction times a number, expected:\n")
    scales = (0.98, 0.99, 0.995, 1.0, 1.005, 1.01, 1.02)
    print("| steps | " + " | ".join(f"{scale:g}" for scale in scales) + " |")
    print("|" + "---|" * (len(scales) + 1))
    for steps in asked.steps:
        chosen = levels.steps(steps, "trailing")
        one = models["one Gaussian"]
        gaps = [expected_gap(one, chosen, x)[:: stride(steps)].mean() for x in scales]
        print(f"| {steps} | " + " | ".join(f"{gap:+.1f}" for gap in gaps) + " |")


def place(folder: Path, name: str, asked: argparse.Namespace) -> Path:
    """Where the numbers of a checkpoint are kept."""
    words = [name, str(asked.steps[0]), str(asked.images), *(["free"] if asked.free else [])]
    return folder / ("_".join(words) + ".json")


def networks(asked: argparse.Namespace) -> None:
    """Print the gap of checkpoints, those that are kept and those that are measured now."""
    print(f"| weights | steps | {HEAD}\n|" + "---|" * 10)
    asked.keep.mkdir(parents=True, exist_ok=True)
    steps = list(asked.steps)
    for file, number in itertools.product(asked.cards, steps):
        asked.steps = [number]
        draw = Draw(steps=number, images=asked.images, batch=BATCH)
        for card in select(load_cards(card_file(file)), asked.checkpoints.split(",")):
            path = place(asked.keep, card.name, asked)
            if not path.exists():
                denoiser = Generation(devices.find(asked.device)).denoiser(verify(card))
                if asked.free:
                    denoiser = replace(denoiser, clips=False)
                real = real_images(card, asked.images, draw.seed)
                found = summary(watch(denoiser, real, draw))
                found |= {"method": card.method, "seed": card.seed}
                path.write_text(json.dumps(found))
            kept = json.loads(path.read_text())
            print(f"| {card.name} | {number} | {told(kept)} |", flush=True)


def background(asked: argparse.Namespace) -> None:
    """Print how much of sampled and of real images a network takes for background at t = LATE,
    and what the gap there has to do with it over the checkpoints."""
    print("| weights | steps | gap at t = 49 | background, sampled | real | e^2, sampled | real |")
    print("|" + "---|" * 7)
    found = []
    for file, steps in itertools.product(asked.cards, asked.steps):
        draw = Draw(steps=steps, images=asked.images, batch=BATCH)
        for card in select(load_cards(card_file(file)), asked.checkpoints.split(",")):
            denoiser = Generation("cpu").denoiser(verify(card))
            gap, *rest = at_late(denoiser, real_images(card, asked.images, draw.seed), draw)
            found.append((gap, rest[0]))
            cells = f"{gap:+.1f} | {rest[0]:.1%} | {rest[1]:.1%} | {rest[2]:.3f} | {rest[3]:.3f}"
            print(f"| {card.name} | {steps} | {cells} |", flush=True)
    if len(found) > 2:
        print(f"\nRank correlation: {stats.spearmanr(np.array(found)).statistic:+.2f}")


@torch.inference_mode()
def at_late(denoiser: Denoiser, real: Tensor, draw: Draw) -> list[float]:
    """At t = LATE: the gap; the shares of the pixels of sampled and of real images whose predicted
    x_0 is below BLACK; and the mean square of the predicted noise in those pixels, in both."""
    rows = []
    for first in range(0, len(real), BATCH):
        chunk = real[first : first + BATCH]
        generators = image_generators("images", draw.seed, range(first, first + len(chunk)))
        batch = Batch(denoiser, extensions.lookup("samplers", draw.sampler), generators, draw)
        noise = batch.x_T.clone()

        def late(x: Tensor, level: Level, batch: Batch = batch) -> Denoised:
            found = batch.denoise(x, level)
            if level.index == LATE:
                rows.append((found, level))
            return found

        batch.latents(late)
        found, level = rows.pop()
        rows.append((found, batch.denoise(level.signal * chunk + level.noise * noise, level)))
    both = [torch.cat([row[k].epsilon for row in rows]) for k in (0, 1)]
    dark = [torch.cat([row[k].x_0 for row in rows]) < BLACK for k in (0, 1)]
    gap = float(squares(both[0]).mean() - squares(both[1]).mean())
    shares = [float(mask.float().mean()) for mask in dark]
    within = [float(e[mask].square().mean()) for e, mask in zip(both, dark, strict=True)]
    return [gap, *shares, *within]


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("known", "networks", "background"))
    parser.add_argument("checkpoints", nargs="?", default="*")
    parser.add_argument("--steps", type=numbers, default=[20])
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--free", action="store_true", help="x_0 is not bounded")
    parser.add_argument(
        "--cards", type=Path, action="append", help="card files [default: the shipped one]"
    )
    parser.add_argument("--keep", type=Path, default=Path("runs/exposure"))
    parser.add_argument("--device", default=devices.CPU, help="of `networks`")
    asked = parser.parse_args()
    asked.cards = asked.cards or [None]
    {"known": known, "networks": networks, "background": background}[asked.what](asked)


if __name__ == "__main__":
    main()

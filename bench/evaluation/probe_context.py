"""What probes take of a checkpoint: the plan, examples, real images, loss and sampling."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core import extensions
from bench.core.cell import Checkpoint, Draw
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.protocols import Denoise
from bench.core.scheme import Scheme
from bench.evaluation import keys
from bench.measurement.features import reference
from bench.system import devices

if TYPE_CHECKING:
    from torch import Tensor

    from bench.measurement.probes.context import Examples, Setting

EXTRACTOR, METRIC = keys.QUALITY
EXPOSED_BYTES = 2**30
# Test images that the smallest preset of probes takes.
SMOKE_EXAMPLES = 32


@dataclass(frozen=True)
class Plan:
    """What is probed, and how; all checkpoints have it in common.

    Attributes:
        probes: names in `tables.PROBES`.
        schemes: that are explained.
        backend: that executes them.
        draw: of sampled images; its batch is that of the quantized networks.
        setting: sizes of the probes.
        device: where the networks are evaluated.
    """

    probes: Sequence[str]
    schemes: Sequence[Scheme]
    backend: str
    draw: Draw
    setting: Setting
    device: str = devices.CPU

    def parts(self, probe: str) -> Sequence[str]:
        """Names of a probe's parts."""
        made = extensions.lookup("probes", probe)()
        return made.parts(self.setting, [str(scheme) for scheme in self.schemes])


def examples(card: Checkpoint, full: Denoiser, setting: Setting) -> Examples:
    """The examples of a data set's test images, the same for all of its checkpoints.

    Raises:
        InputError: too few images.
    """
    from bench.measurement.probes.context import draw_examples

    chosen = real_images(card, setting.examples, setting.seed)
    if len(chosen) < setting.examples:
        raise InputError(
            f"data set {card.dataset} has {len(chosen)} test images, probes take "
            f"{setting.examples}: {_remedy(len(chosen), setting.examples)}"
        )
    drawn: Examples = draw_examples(chosen, len(full.levels), setting)
    return drawn.to(full.device)


def _remedy(count: int, wanted: int) -> str:
    """What someone with so few images can do."""
    if SMOKE_EXAMPLES <= count < wanted:
        return "use --preset smoke, or probe a larger set"
    smaller = f" ({SMOKE_EXAMPLES} with --preset smoke)" if wanted > SMOKE_EXAMPLES else ""
    return (
        f"probe a set with as many{smaller}; of a folder without sub-folders train and test every "
        f"tenth image is a test image"
    )


def exposed(full: Denoiser, plan: Plan) -> int:
    """Images of the exposure bias: as set, fewer where x_t of all steps would take over 1 GiB."""
    size = 4 * math.prod(full.shape) * plan.draw.steps
    return min(plan.setting.exposure, max(plan.setting.images, EXPOSED_BYTES // size))


def real_images(card: Checkpoint, count: int, seed: int) -> Tensor:
    """A sample of a data set's test images in [-1, 1], (N, C, H, W), N at most `count`."""
    import torch

    from bench.core.denoiser import to_model_range
    from bench.system.random import seeded

    images = extensions.lookup("datasets", card.dataset)("test")
    # Chosen here, so that a large data set is not converted as a whole.
    order = torch.randperm(len(images), generator=seeded("probes", "images", seed))
    chosen_images: Tensor = to_model_range(images[order[:count]])
    return chosen_images


def real_content(dataset: str) -> str:
    """What identifies the real images that probes take, beyond the name of their data set, and
    their features; what is not there is left out, and the probe will say so."""
    words = []
    with contextlib.suppress(InputError):
        words.append(reference.file_name(dataset, EXTRACTOR))
        words.append(reference.digest(dataset, EXTRACTOR))
    return " ".join(words)


def training_losses(full: Denoiser) -> Callable[..., Any]:
    """The loss that the checkpoint was trained by, without weights and perturbed inputs."""
    import torch

    from bench.models.training.objective import Batch, Objective
    from bench.models.training.recipe import Recipe
    from bench.models.training.variational import Posterior

    @functools.cache
    def objective() -> Objective:
        made = Objective(
            Recipe("probe", "", full.shape, {}, predicts=full.predicts), torch.device(full.device)
        )
        # The checkpoint's own schedule, whatever its name.
        made.alpha_bar = full.alpha_bar
        if full.learns_variance:
            made.posterior = Posterior(full.alpha_bar, torch.device(full.device))
        return made

    def losses(network: Callable[..., Any], chunk: Examples) -> Any:
        weight = torch.ones(len(chunk), device=chunk.t.device)
        batch = Batch(chunk.x_0, chunk.t, chunk.noise, None, weight)
        return objective()(lambda x, t: network(*full.inputs(x, full.levels.each(t))), batch)

    return losses


def sampling(full: Denoiser, draw: Draw) -> Callable[..., np.ndarray]:
    """`ProbeContext.sample`; the images of full precision are kept."""
    from bench.models.samplers.drawing import Batch
    from bench.models.samplers.noise import image_generators

    sampler = extensions.lookup("samplers", draw.sampler)
    twins: list[np.ndarray] = []

    def sample(
        denoiser: Denoiser,
        count: int | None = None,
        around: Callable[[Denoise], Denoise] | None = None,
        start: Callable[[Tensor], Tensor] | None = None,
    ) -> np.ndarray:
        import torch

        count = draw.images if count is None else count
        plain = denoiser is full and not around and not start and count == draw.images
        if plain and twins:
            return twins[0]
        images = []
        for first in range(0, count, draw.batch):
            indices = range(first, first + draw.batch)
            generators = image_generators("images", draw.seed, indices)
            batch = Batch(denoiser, sampler, generators, draw)
            denoise = around(batch.denoise) if around else batch.denoise
            images.append(batch.images(denoise, start(batch.x_T) if start else batch.x_T))
        sampled: np.ndarray = torch.cat(images)[:count].numpy()
        if plain:
            twins.append(sampled)
        return sampled

    return sample


def likeness(images: np.ndarray, twins: np.ndarray) -> np.ndarray:
    """PSNR of each image to its twin in dB, (N,)."""
    from bench.measurement.metrics.paired import psnr

    ratios: np.ndarray = psnr(images, twins)
    return ratios

"""A checkpoint as probes see it: the stages tied to one card, in a `Subject` of the probes.

card -> denoiser, examples, constants of schemes, sampling, quality -> Subject
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core import extensions
from bench.core.cell import Cell, Checkpoint, Draw
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.protocols import Evidence, Features
from bench.core.scheme import Scheme
from bench.evaluation import keys
from bench.evaluation.generation import Stages
from bench.evaluation.scoring import extractor
from bench.measurement.features import reference
from bench.system import devices

if TYPE_CHECKING:
    from torch import Tensor

    from bench.measurement.probes.context import Examples, Setting, Subject, Watch

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


def subject(stages: Stages, card: Checkpoint, plan: Plan) -> Subject:
    """Load a checkpoint and tie the stages to it.

    Raises:
        InputError: it cannot be loaded, has classes or a decoder, or its data set has too few
            images.
    """
    from bench.measurement.probes.context import Subject
    from bench.quant.constants import constants
    from bench.quant.stored import quantized

    draw = replace(plan.draw, images=plan.setting.images)
    cell = Cell(card, Scheme(), "float", draw)
    full = stages.denoiser(cell)
    if full.classes or full.decode is not None:
        raise InputError(f"card {card.name!r}: probes take no classes and no decoders yet")

    def executed(scheme: Scheme) -> Denoiser:
        return stages.executed(replace(cell, scheme=scheme, backend=plan.backend))[0]

    def layers(scheme: Scheme) -> Any:
        calibration: Any = stages.calibration(replace(cell, scheme=scheme))
        graph = quantized(full, scheme, calibration)
        return constants(graph, full.model)

    return Subject(
        full=full,
        examples=examples(card, full, plan.setting),
        real=real_images(card, exposed(full, plan), plan.setting.seed).to(full.device),
        setting=plan.setting,
        schemes=plan.schemes,
        losses=_losses(full),
        constants=functools.cache(layers),
        executed=functools.lru_cache(maxsize=2)(executed),
        sample=sampling(full, draw),
        quality=functools.partial(_quality, card.dataset),
        likeness=likeness,
        steps=draw.steps,
        batch=draw.batch,
    )


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
    found: Examples = draw_examples(chosen, len(full.alpha_bar), setting)
    return found.to(full.device)


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
    found: Tensor = to_model_range(images[order[:count]])
    return found


def real_content(dataset: str) -> str:
    """What identifies the real images that probes take, beyond the name of their data set, and
    their features; what is not there is left out, and the probe will say so."""
    found = []
    with contextlib.suppress(InputError):
        found.append(reference.file_name(dataset, EXTRACTOR))
        found.append(reference.digest(dataset, EXTRACTOR))
    return " ".join(found)


def _losses(full: Denoiser) -> Callable[..., Any]:
    """The loss that the checkpoint was trained by, without weights and perturbed inputs."""
    import torch

    from bench.models.training.objective import Batch, Objective
    from bench.models.training.recipe import Recipe
    from bench.models.training.variational import Posterior

    @functools.cache
    def objective() -> Objective:
        made = Objective(Recipe("probe", "", full.shape, {}, predicts=full.predicts), full.device)
        # The checkpoint's own schedule, whatever its name.
        made.alpha_bar = full.alpha_bar
        if full.learns_variance:
            made.posterior = Posterior(full.alpha_bar, full.device)
        return made

    def losses(network: Callable[..., Any], chunk: Examples) -> Any:
        weight = torch.ones(len(chunk), device=chunk.t.device)
        return objective()(network, Batch(chunk.x_0, chunk.t, chunk.noise, None, weight))

    return losses


def sampling(full: Denoiser, draw: Draw) -> Callable[..., np.ndarray]:
    """`Subject.sample`; the images of full precision are kept."""
    from bench.models.samplers.noise import image_generators

    sampler = extensions.lookup("samplers", draw.sampler)
    twins: list[np.ndarray] = []

    def sample(denoiser: Denoiser, watch: Watch | None, count: int = draw.images) -> np.ndarray:
        import torch

        plain = denoiser is full and watch is None and count == draw.images
        if plain and twins:
            return twins[0]
        starts = range(0, count, draw.batch)
        batches = [range(start, start + draw.batch) for start in starts]
        images = [
            sampler(denoiser, image_generators("images", draw.seed, batch), draw, watch)
            for batch in batches
        ]
        found = torch.cat(images)[:count].numpy()
        if plain:
            twins.append(found)
        return found

    return sample


def _quality(dataset: str, images: np.ndarray) -> tuple[float, np.ndarray]:
    """Kernel distance to the real images times 1000, and the influence of each image."""
    import torch

    extract, real = extractor(EXTRACTOR), reference.load(dataset, EXTRACTOR)
    values = extract(torch.from_numpy(images)).double().numpy()
    features = Features(EXTRACTOR, extract.version, values, np.arange(len(images)))
    metric = extensions.lookup("metrics", METRIC)()
    found, terms = metric.measure(Evidence(images, images, features, features, real))
    return found.value, terms


def likeness(images: np.ndarray, twins: np.ndarray) -> np.ndarray:
    """PSNR of each image to its twin in dB, (N,)."""
    from bench.measurement.metrics.paired import psnr

    found: np.ndarray = psnr(images, twins)
    return found

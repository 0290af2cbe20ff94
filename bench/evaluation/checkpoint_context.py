"""A checkpoint as probes see it: generation tied to one card, as the context of the probes.

card -> denoiser, examples, constants of schemes, sampling, quality -> CheckpointContext
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bench.core import extensions
from bench.core.allocation import Allocation
from bench.core.cell import Cell, Checkpoint
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.progress import finished
from bench.core.protocols import Constants, Denoise, Evidence, Features
from bench.core.scheme import Scheme
from bench.evaluation import probe_context
from bench.evaluation.extraction import extractor
from bench.evaluation.generation import Generation
from bench.evaluation.probe_context import EXTRACTOR, METRIC, Plan
from bench.measurement.features import reference
from bench.measurement.probes.context import Examples, Network, ProbeContext
from bench.quant import allocation
from bench.quant import constants as constants_of_graph
from bench.quant.methods.applying import switches
from bench.quant.stored import quantized

if TYPE_CHECKING:
    from bench.evaluation.resolved import ResolvedImages


class CheckpointContext(ProbeContext):
    """Loads a checkpoint and ties generation to it.

    Args:
        generation: makes its networks.
        locate: says where things of a cell are kept.
        card: of the checkpoint.
        plan: what is probed.

    Raises:
        InputError: it cannot be loaded, has classes or a decoder, or its data set has too few
            images.
    """

    def __init__(
        self,
        generation: Generation,
        locate: Callable[[Cell], ResolvedImages],
        card: Checkpoint,
        plan: Plan,
    ) -> None:
        draw = replace(plan.draw, images=plan.setting.images)
        cell = Cell(card, Scheme(), "float", draw)
        full = generation.denoiser(card)
        if full.classes or full.decode is not None:
            raise InputError(f"card {card.name!r}: probes take no classes and no decoders yet")
        if not full.levels.is_schedule:
            raise InputError(
                f"card {card.name!r}: probes take timesteps only yet, not {full.levels}"
            )
        for scheme in filter(switches, plan.schemes):
            raise InputError(
                f"scheme {scheme}: probes refuse tgroups, as they give each image a timestep of "
                f"its own, and ranges that switch take one timestep for a whole batch: name a "
                f"scheme without it by --scheme"
            )
        exposed = probe_context.exposed(full, plan)
        super().__init__(
            full=full,
            examples=probe_context.examples(card, full, plan.setting),
            real=probe_context.real_images(card, exposed, plan.setting.seed).to(full.device),
            setting=plan.setting,
            schemes=plan.schemes,
            batch=draw.batch,
        )
        self._generation, self._locate = generation, locate
        self._cell, self._backend = cell, plan.backend
        self._losses = probe_context.training_losses(full)
        self._sample = probe_context.sampling(full, draw)
        self._constants = functools.cache(self._read_constants)
        self._executed = functools.lru_cache(maxsize=2)(self._execute)

    def losses(self, network: Network, examples: Examples) -> Tensor:
        """The loss that the checkpoint was trained by, of each example, (N,)."""
        values: Tensor = self._losses(network, examples)
        return values

    def constants(self, scheme: Scheme) -> Sequence[Constants]:
        """The constants of a scheme, kept."""
        return self._constants(scheme)

    def executed(self, scheme: Scheme) -> Denoiser:
        """The network as the backend executes a scheme; the last two are kept."""
        return self._executed(scheme)

    def allocations(
        self, scheme: Scheme, budgets: Sequence[float], uniform: Sequence[int]
    ) -> Sequence[Allocation]:
        """Bits of weights for each layer, with what they cost."""
        calibration = self._calibration(scheme)
        return allocation.front(self.full, scheme, calibration, budgets, uniform)

    def sample(
        self,
        denoiser: Denoiser,
        count: int | None = None,
        around: Callable[[Denoise], Denoise] | None = None,
        start: Callable[[Tensor], Tensor] | None = None,
    ) -> np.ndarray:
        """Images (N, C, H, W) of a network; those of full precision are kept."""
        return self._sample(denoiser, count, around, start)

    def quality(self, images: np.ndarray) -> tuple[float, np.ndarray]:
        """Kernel distance to the real images times 1000, and the influence of each image."""
        dataset = self._cell.checkpoint.dataset
        extract, real = extractor(EXTRACTOR), reference.load(dataset, EXTRACTOR)
        values = extract(torch.from_numpy(images)).double().numpy()
        features = Features(EXTRACTOR, extract.version, values, np.arange(len(images)))
        metric = extensions.lookup("metrics", METRIC)()
        measurement, terms = metric.measure(Evidence(images, images, features, features, real))
        return measurement.value, terms

    def likeness(self, images: np.ndarray, twins: np.ndarray) -> np.ndarray:
        """PSNR of each image to its twin in dB, (N,)."""
        return probe_context.likeness(images, twins)

    def _read_constants(self, scheme: Scheme) -> Any:
        graph = quantized(self.full, scheme, self._calibration(scheme))
        return constants_of_graph.constants(graph)

    def _calibration(self, scheme: Scheme) -> Any:
        return self._generation.calibration(self._locate(replace(self._cell, scheme=scheme)))

    def _execute(self, scheme: Scheme) -> Denoiser:
        wanted = self._locate(replace(self._cell, scheme=scheme, backend=self._backend))
        return finished(self._generation.executed(wanted)).denoiser

"""What a run will take: time, by a short timing here, disk and memory.

Memory does not grow with the number of images: images and features lie on disk and are read in
blocks. Beyond the network, D feature dimensions take some D x D matrices of the Fréchet distance
and some blocks, and the real images' features where a metric needs them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.core import extensions
from bench.core.cell import PIPELINE, Cell, Checkpoint, content_key
from bench.core.shards import BLOCK
from bench.evaluation import keys, records
from bench.measurement import real
from bench.measurement.features import reference
from bench.system import artifacts, disk, quiet

if TYPE_CHECKING:
    from bench.evaluation.generation import Generation
    from bench.evaluation.resolved import ResolvedCell

# Peak count of D x D matrices and blocks that exist at once, measured at D = 2048.
MATRICES, BLOCKS = 12, 6
FLOAT64 = 8


def feature_seconds(extractor: str, shape: Sequence[int], count: int = 2) -> float:
    """Seconds for one image of an extractor here, from the second of two small batches."""
    import torch

    extract, images = extensions.lookup("extractors", extractor)(), torch.zeros(count, *shape)
    for _ in range(2):
        start = time.perf_counter()
        extract(images.to(torch.uint8))
    return (time.perf_counter() - start) / count


def outputs(card: Checkpoint) -> int:
    """Number of values that the network's layers give for one image; kept, so that a finished
    run needs no torch."""
    if card.source not in extensions.names("sources"):  # its cells say so
        return 0
    # A pipeline is not loaded to plan a run: it may fill the memory, so one process has it.
    if card.source == PIPELINE:
        return 0
    source = keys.code("bench.models.networks", [("sources", card.source)])
    key = content_key(source=source, sha256=card.sha256, config=card.config)
    place = disk.cache_root() / "outputs" / key
    if (text := artifacts.load_text(place, key)) is not None:
        return int(text)
    from bench.evaluation.engines import template

    template.begin()
    quiet.load(["bench.models.networks"])
    from bench.models import networks

    try:
        denoiser = extensions.lookup("sources", card.source)(card)
        count = networks.layer_outputs(denoiser.model, denoiser.example_inputs(1))
    except disk.MachineError:
        raise
    except Exception:  # of any kind, from untrusted files; the run loads it again and reports it
        return 0
    artifacts.save_text(place, key, str(count))
    return count


def lines(resolved: Sequence[ResolvedCell], generation: Generation, sampling: float) -> list[str]:
    """The estimate in words.

    Args:
        resolved: cells of the run, at least one.
        generation: loads a network of them.
        sampling: seconds of sampling.
    """
    cells = [r.cell for r in resolved]
    open_cells = [r.cell for r in resolved if r.refusal is None and not records.cached(r)]
    if not open_cells:
        return ["estimated time: none, every cell is cached or refused"]
    denoiser = generation.denoiser(open_cells[0].checkpoint)
    plan = denoiser.loop.plan(open_cells[0].draw) if denoiser.loop else []
    shape = real.image_shape(denoiser)
    pixels = shape[0] * shape[1] * shape[2]
    dims = {
        name: extensions.lookup("extractors", name).dim for c in cells for name in c.extractors
    }
    cost = {name: feature_seconds(name, shape) for name in dims}
    features = sum(c.draw.images * cost[name] for c in open_cells for name in c.extractors)
    disk = sum(
        c.draw.images * (pixels + 4 * sum(dims[name] for name in c.extractors)) for c in open_cells
    )
    weights = sum(p.numel() * p.element_size() for p in denoiser.model.parameters())
    return [
        *plan,
        f"estimated time: {duration(sampling)} of sampling, {duration(features)} of features",
        f"disk: {size(disk)} in the cache",
        f"memory: about {size(memory(open_cells[0], dims))} besides the network ({size(weights)} "
        f"of weights and its activations), whatever the number of images",
    ]


def duration(seconds: float) -> str:
    """A time in seconds, minutes, hours or days, the first that gives a number below 100."""
    for unit, length in (("seconds", 1), ("minutes", 60), ("hours", 3600)):
        if seconds < 100 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 86400:.1f} days"


def size(count: float) -> str:
    """A number of bytes in MB, or in GB from one on."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def memory(cell: Cell, dims: dict[str, int]) -> int:
    """Bytes that the metrics take at once, about."""
    most = 0
    for name in cell.extractors:
        held = FLOAT64 * dims[name] * (MATRICES * dims[name] + BLOCKS * BLOCK)
        if "features" in reference.needs(cell.metrics, name):
            held += (
                FLOAT64 * dims[name] * reference.count(cell.checkpoint.dataset, name, cell.real)
            )
        most = max(most, held)
    return most


# Cost of a batch in float batches, for estimates; measured, and only an estimate.
COSTS = {"float": 1.0, "simulated": 1.7, "float:bf16": 2.0}


# Evaluations of the network for each step, where they are more than one.
EVALUATIONS = {"heun": 2.0}


def sampling_cost(cell: Cell, batches: int = 1) -> float:
    """Cost of sampling batches of a cell, in forward passes of full precision, of which each has
    the rows of its guidance (`Generation.forward_seconds`)."""
    evaluations = EVALUATIONS.get(cell.draw.sampler, 1.0)
    return batches * cell.draw.steps * evaluations * COSTS.get(cell.backend, 1.0)

"""Source `pipeline`: a text-to-image pipeline of diffusers, a folder or `hf:OWNER/NAME`.

The pipeline samples by its own loop, with its own scheduler and guidance; of all its parts the
network (`unet` or `transformer`) is what bench quantizes (`bench.models.pipelines.loop`).

config:
    guidance: 7.5                   in the place of the pipeline's own scale
    height: 512, width: 512         of the images, in the place of the pipeline's own
    max_sequence_length: 256        of prompts in tokens, of pipelines that take it
    use_resolution_binning: false   of pipelines that take it
    variant: fp16                   which files of weights, where there are several
    dtype: bfloat16                 what all of it is computed in; float32 where nothing is said
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.core.cell import Checkpoint
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.noise_levels import NoiseLevels
from bench.models.pipelines import folder, known, loading, memory, prompt_files
from bench.models.pipelines.calls import Called
from bench.models.pipelines.encoding import Encoding
from bench.models.pipelines.folder import Index
from bench.models.pipelines.identities import versions
from bench.models.pipelines.loop import PipelineLoop
from bench.system import disk, host


def load(checkpoint: Checkpoint) -> Denoiser:
    """Load a pipeline strictly, and encode its prompts.

    Raises:
        InputError: what the folder or the card says is not understood, weights that do not fit,
            bad prompts, or too little memory.
    """
    try:
        known.check_config(checkpoint.config)
        prompts = prompt_files.read(prompt_files.place(checkpoint.prompts))
        place = folder.located(checkpoint.uri, checkpoint.revision)
        index, variant = folder.read(place), checkpoint.config.get("variant")
        dtype = known.dtype(checkpoint.config)
        sizes = folder.sizes(index, variant, dtype)
        memory.check(sizes, index.network, place)
        pipe = loading.pipeline(index, variant, dtype)
        options = _options(pipe, checkpoint.config)
        encoding = Encoding(
            pipe,
            lambda device: loading.encoders(index, variant, dtype, device),
            disk.cache_root() / "encoded",
            _content(checkpoint, index),
            lambda: loading.encoder_forms(index, dtype),
        )
        # Text encoders have come and gone when the network is loaded.
        loop = PipelineLoop(pipe, index, prompts, options, encoding, sizes)
        network = loading.network(index, variant, dtype)
        called = Called(network, loop.form, loop.shapes)
    except InputError as error:
        raise InputError(f"card {checkpoint.name!r}: {error}") from None
    return Denoiser(
        model=called.eval(),
        levels=_levels(pipe.scheduler),
        predicts=_prediction(pipe.scheduler),
        shape=tuple(called.shapes[0][1:]),  # type: ignore[arg-type]
        clips=False,
        description=_description(index, loop, checkpoint),
        loop=loop,
    )


def _content(checkpoint: Checkpoint, index: Index) -> Mapping[str, Any]:
    """What decides how a prompt is encoded, for the keys of what is kept."""
    here = host.fingerprint()
    return {
        "sha256": checkpoint.sha256,
        "pipeline": index.pipeline,
        "variant": checkpoint.config.get("variant", ""),
        "dtype": known.dtype(checkpoint.config),
        "versions": {**here.arithmetic, **host.library_versions(), **versions()},
    }


def _options(pipe: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of each call that the card sets.

    Raises:
        InputError: the pipeline does not take one.
    """
    takes = inspect.signature(type(pipe).__call__).parameters
    options = {name: value for name, value in config.items() if name in known.OPTIONS}
    for name in options:
        if name not in takes:
            raise InputError(f"config: a {type(pipe).__name__} takes no {name}")
    return options


def _levels(scheduler: Any) -> NoiseLevels:
    """The noise levels of the training, which the pipeline's scheduler walks through itself."""
    alpha_bar = getattr(scheduler, "alphas_cumprod", None)
    is_flow = _prediction(scheduler) == "flow_prediction"
    if alpha_bar is None or is_flow:
        return NoiseLevels.flow(int(scheduler.config.num_train_timesteps))
    return NoiseLevels.discrete(alpha_bar)


def _prediction(scheduler: Any) -> str:
    return str(scheduler.config.get("prediction_type", "flow_prediction"))


def _description(index: Index, loop: PipelineLoop, checkpoint: Checkpoint) -> dict[str, str]:
    """The pipeline in words, for the protocol of a run."""
    named = Path(checkpoint.prompts).name if checkpoint.prompts else "those of bench"
    left_out = [f"{n} ({folder.LEFT_OUT[n]})" for n in index.absent if n in folder.LEFT_OUT]
    told = {
        "pipeline": f"{index.pipeline}, its {index.network} a {index.classes[index.network]}",
        "prompts": f"{len(loop.prompts)} ({named}), image i has prompt i mod {len(loop.prompts)}",
        "steps": f"by its own {index.classes['scheduler']}",
        "computed in": known.dtype(checkpoint.config),
        "predicted x_0": "not clamped by bench",
    }
    if left_out:
        told["left out"] = "; ".join(left_out)
    return told

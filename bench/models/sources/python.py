"""Source `python`: a network that a function of the user builds, named by the card.

    network: FILE.py:FUNCTION      relative to the card file; or MODULE:FUNCTION
    code: {FILE.py: SHA-256}       of all of its code (`bench.models.sources.python_code`)
    uri: weights                   a file of any container that is known, or a folder with them

The function is called with `arguments` and returns an nn.Module, which is called as (x, t), with
classes as (x, t, y); or a pair of the module and a function that calls it, as (module, x, t) or
(module, x, t, y). x is float32 (B, C, H, W) around [-1, 1], t the timesteps and y the labels,
int64 (B,). What comes back is the prediction: (B, C, H, W), with learned variance 2C channels.
At `levels` of another kind t is float32, what the network is told of them, and x is scaled by
c_in where there is a sigma_data.

config:
    arguments: {...}               of the function, by name
    shape: [C, H, W]
    classes: 0                     their number, for a class-conditional network
    null_class: 10                 a label beside theirs that stands for none, 0 to classes
    schedule, timesteps, predicts, scheduler, learns_variance, variance, weights, part, stored
                                   as for `bench.models.sources.weights_file`
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.cell import Checkpoint
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.noise_levels import NoiseLevels
from bench.models.networks import CodedNetwork
from bench.models.sources import (
    card_config,
    contents,
    python_code,
    reading,
    weights_file,
    weights_folder,
)
from bench.models.sources import noise as noises
from bench.models.sources import state_dicts as files
from bench.models.sources.filling import PRECISIONS, fill, named
from bench.system import user_code
from bench.system.random import seeded

OWN = ("arguments", "classes")
_OTHERS = (name for name in card_config.FIELDS if name not in ("network", "rescale_timesteps"))
# Every field of the config; any other is refused.
FIELDS = (*_OTHERS, *OWN)
# The check of descriptions compares the card's values with these.
ALTERNATIVES: Mapping[str, Any] = {"timesteps": (1000, 4000)}
# How far apart the predictions for one image alone and beside another may be, of the largest.
ALIKE = 1e-2


def load(checkpoint: Checkpoint) -> Denoiser:
    """Load a checkpoint strictly, as `bench.models.sources.weights_file.load` does.

    Raises:
        InputError: as there; or code that may not be executed, was changed, fails, or builds no
            network for such images.
    """
    weights_file.check_fields(checkpoint, FIELDS)
    label = f"card {checkpoint.name!r}"
    config = complete(checkpoint)
    code = python_code.verified(checkpoint).code
    network, call = built(checkpoint.network, set(code), config["arguments"])
    try:
        content = weights(Path(checkpoint.uri), network)
        part = files.choose(content, config["weights"], config["part"])
        noise = noises.of(config, content, part, checkpoint.source)
        fill(network, fitting(network, part), config["stored"])
    except (InputError, OSError) as error:
        raise InputError(f"{label}: {error}") from None
    timesteps = len(noise.levels)
    config |= {"timesteps": timesteps, "predicts": noise.predicts}
    identity = f"{Path(checkpoint.network).name} {code} {config['arguments']}"
    model = CodedNetwork(network, call, config["classes"], timesteps, identity).eval()
    check(model, checkpoint.network, config["shape"], (config["learns_variance"],), noise.levels)
    told = weights_file.assumed(checkpoint.config, config)
    return weights_file.described(model, config, noise, told, config["classes"])


def complete(checkpoint: Checkpoint) -> dict[str, Any]:
    """The card's config with the defaults, of the right types.

    Raises:
        InputError: a field is missing or wrong, or contradicts the card's method.
    """
    said = dict(checkpoint.config)
    arguments, classes = said.pop("arguments", {}), said.pop("classes", 0)
    label = f"card {checkpoint.name!r}, field config"
    if not isinstance(arguments, dict) or not all(isinstance(name, str) for name in arguments):
        raise InputError(f"{label}: arguments must be a mapping of names, not {arguments!r}")
    if type(classes) is not int or classes < 0:
        raise InputError(f"{label}: classes must be a whole number from 0, not {classes!r}")
    config = card_config.complete(replace(checkpoint, config={**said, "network": {}}))
    null = config["null_class"]
    if null is not None and not (classes and null <= classes):
        raise InputError(
            f"{label}: null_class {null} stands beside the labels of {classes} classes: it is one "
            f"of 0 to {classes}, and there must be classes"
        )
    return {**config, "arguments": arguments, "classes": classes}


def built(
    network: str, known: Collection[str] | None, arguments: Mapping[str, Any]
) -> tuple[nn.Module, Callable[..., Tensor] | None]:
    """The module that a function gives, in float32 on the CPU, and how it is called.

    Args:
        network: names the function.
        known: files that it may import from beside its own; None for all.
        arguments: of the function.

    Raises:
        InputError: it fails, or gives no network.
    """
    # What it draws, and the file does not hold, must be the same in every process.
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        torch.manual_seed(0)
        given = python_code.called(network, known, arguments)
    module, call = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    if not isinstance(module, nn.Module) or not (call is None or callable(call)):
        pair = (module,) if call is None else (module, call)
        kinds = " and a ".join(type(part).__name__ for part in pair)
        raise InputError(
            f"{python_code.title(network)} gives a {kinds}: it must give an nn.Module, or a pair "
            f"of one and a function that calls it, as (module, x, t)"
        )
    return module.to("cpu", torch.float32).eval().requires_grad_(False), call


def weights(place: Path, network: nn.Module) -> files.Weights:
    """The weights in a file or folder, wherever in it those of a network lie.

    Raises:
        InputError: no weights, or a file that is not read.
    """
    expected = [contents.plain_name(name) for name in network.state_dict()]
    data = weights_folder.read(place) if place.is_dir() else reading.read(place)
    return files.unpack(data, place, expected)


def fitting(network: nn.Module, part: files.Part) -> dict[str, Tensor]:
    """The weights of a part under the names of a network.

    A weight that a network has under two names may stand in the file under one.
    """
    if part.ordered:
        return named(network, part.tensors) | dict(network.named_buffers())
    own = network.state_dict()
    plain = {contents.plain_name(name): name for name in own}
    fitted = {plain.get(name, name): value for name, value in part.tensors.items()}
    places: dict[int, list[str]] = {}
    for name, value in own.items():
        places.setdefault(value.data_ptr(), []).append(name)
    for names in places.values():
        stored = [name for name in names if name in fitted and own[name].numel()]
        fitted |= {name: fitted[stored[0]] for name in names if stored and name not in fitted}
    return fitted


def stored(tensors: Collection[Tensor]) -> str:
    """The precision of weights, or "mixed"; whole numbers beside them do not count."""
    kinds = {str(v.dtype).removeprefix("torch.") for v in tensors if v.is_floating_point()}
    return kinds.pop() if len(kinds) == 1 else ("mixed" if kinds else PRECISIONS[0])


@torch.no_grad()
def check(
    model: CodedNetwork,
    network: str,
    shape: list[int],
    learned: tuple[bool, ...] = (False, True),
    levels: NoiseLevels | None = None,
) -> bool:
    """Evaluate a network, to refuse a wrong one before anything is computed.

    Args:
        model: on the CPU.
        network: names its function.
        shape: (C, H, W) of an image.
        learned: whether it may have C outputs (False) or 2C (True).
        levels: those of its training; None for timesteps.

    Returns:
        Whether it has 2C outputs.

    Raises:
        InputError: it fails; gives no tensor, or one of another shape; gives values that are not
            finite, or others for an image alone than beside another one.
    """
    title, path = python_code.title(network), python_code.parse(network).path
    x = torch.randn(2, *shape, generator=seeded("user network", "images"))
    conditions = _conditions(model, levels)

    def evaluated(*inputs: Tensor) -> Any:
        return user_code.tried(title, "the network", lambda: model(*inputs), path)

    made = evaluated(x, *conditions)
    _require_tensor(made, title)
    wanted = {(2, shape[0] * (2 if twice else 1), *shape[1:]): twice for twice in learned}
    if tuple(made.shape) not in wanted:
        expected = " or ".join(str(list(each[1:])) for each in wanted)
        raise InputError(
            f"{title}: the network gives {list(made.shape[1:])} for images of shape {shape}, not "
            f"{expected}"
        )
    if not bool(torch.isfinite(made).all()):
        raise InputError(f"{title}: the network gives NaN or infinite values for noise")
    alone = evaluated(x[:1], *(condition[:1] for condition in conditions))
    if float((made[:1] - alone).abs().max()) > ALIKE * float(made.abs().max()):
        raise InputError(
            f"{title}: the network gives one image another prediction alone than beside others: "
            f"it draws random numbers, or mixes the images of a batch"
        )
    return wanted[tuple(made.shape)]


def _conditions(model: CodedNetwork, levels: NoiseLevels | None) -> tuple[Tensor, ...]:
    """What a network is called with beside two images: in the middle of its levels, and at the
    most noise."""
    index = torch.tensor([model.timesteps // 2, model.timesteps - 1])
    if levels is None or levels.is_schedule:
        return (index,)
    told = levels.each(index).told
    assert isinstance(told, Tensor)
    return (told, torch.zeros(2, dtype=torch.int64)) if model.classes else (told,)


def _require_tensor(made: Any, title: str) -> None:
    if not isinstance(made, Tensor):
        raise InputError(
            f"{title}: the network gives a {type(made).__name__}, not a tensor: return a pair of "
            f"the network and a function, as in (network, lambda network, x, t: "
            f"network(x, t).sample)"
        )

"""The draft of a card whose network a function of the user builds: said, tried and assumed.

`--set FIELD=VALUE` is a word of bench where it is one of FIELDS, and else an argument of the
function; those of SHARED are both where the function has a parameter of that name. Values of
arguments are read as YAML: 16, 0.1, true, [1, 2], text.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.core import yaml_files
from bench.core.errors import InputError
from bench.models.networks import CodedNetwork
from bench.models.sources import drafts, given, kinds, python, python_code, said_levels, sketch
from bench.models.sources import state_dicts as files
from bench.models.sources.filling import PRECISIONS
from bench.system import trust

FIELDS: dict[str, Callable[[str], Any]] = {
    **{"sample_size": given.FIELDS["sample_size"], "channels": given.FIELDS["patch"]},
    **{
        "classes": given.FIELDS["freq_shift"],
        "learns_variance": given.FIELDS["center_input_sample"],
    },
    **{
        name: given.FIELDS[name]
        for name in (
            *("timesteps", "schedule", "predicts", "variance", "weights", "part"),
            *("levels", "null_class"),
        )
    },
}
SHARED = ("sample_size", "channels", "classes", "null_class", "learns_variance")


def parse(config: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Words of bench, and arguments of the function, of their types.

    Raises:
        InputError: another value than a word takes, or one that is no YAML.
    """
    words, arguments = {}, {}
    for name, text in config.items():
        try:
            if name in FIELDS:
                words[name] = FIELDS[name](text)
            elif not name.isidentifier():
                raise ValueError("the name of an argument of the function")
            else:
                arguments[name] = yaml_files.parse(text, f"--set {name}")
        except ValueError as error:
            raise InputError(f"--set {name[:80]} must be {error}, not {text[:80]!r}") from None
    return words, arguments


def draft(place: Path, network: str, config: Mapping[str, str]) -> drafts.Draft:
    """The draft of a file or folder of weights, whose network is built once.

    Args:
        place: the file or folder.
        network: FILE.py:FUNCTION with an absolute path, or MODULE:FUNCTION.
        config: what the user sets.

    Raises:
        InputError: code that may not be executed or fails, weights that do not fit, or no size of
            the images.
    """
    trust.require(python_code.title(network))
    python_code.first_digests(network)
    words, arguments = parse(config)
    if "sample_size" not in words:
        raise InputError("a network does not tell the size of its images: --set sample_size=N")
    assumed = [] if "channels" in words else ["channels 3 (--set channels=...)"]
    arguments |= _shared(network, {"channels": 3, **words})
    module, call = python.built(network, None, arguments)
    content = python.weights(place, module)
    kind = words.get("weights") or drafts.kind_of(place, content, words.get("part"), assumed)
    part = files.choose(content, kind, words.get("part"))
    if not part.ordered:
        floats = {name: v for name, v in part.tensors.items() if v.is_floating_point()}
        drafts.check(floats, place)
    if part.name:
        assumed.append(f"the weights are those of {part.name} in the file")
    card = sketch.Sketch(place, words, part.tensors, assumed=assumed)
    card.config |= {"arguments": arguments} if arguments else {}
    card.config |= {"weights": kind} if kind in kinds.KINDS else {}
    card.config |= {"part": words["part"]} if "part" in words else {}
    precision = python.stored(list(part.tensors.values()))
    if precision != PRECISIONS[0]:
        card.config["stored"] = precision
        assumed.append(f"stored in {precision}, computed in float32")
    _add_shape(card, module, call, network)
    sketch.schedule(card, content, part)
    channels, height, width = card.config["shape"]
    shape = channels, height if height == width else 0
    code = python_code.digests(network)
    return drafts.Draft("python", card.config, shape, assumed, network=network, code=code)


def _add_shape(card: sketch.Sketch, module: Any, call: Any, network: str) -> None:
    """Add shape, classes and learns_variance, the last as the network itself shows it."""
    said = card.given
    size = said["sample_size"]
    sides = size if isinstance(size, list) else [size, size]
    card.config["shape"] = [said.get("channels", 3), *sides]
    if classes := said.get("classes", 0):
        card.config["classes"] = classes
    if "null_class" in said:
        card.config["null_class"] = said["null_class"]
    timesteps = said.get("timesteps", sketch.USUAL["timesteps"])
    tried = CodedNetwork(module, call, classes, timesteps, network)
    either = (said["learns_variance"],) if "learns_variance" in said else (False, True)
    levels = said.get("levels")
    if levels is None or said_levels.is_fractional(levels):
        levels = None
    else:
        levels = said_levels.levels(levels, timesteps)
    learns = python.check(tried.eval(), network, card.config["shape"], either, levels)
    card.config["learns_variance"] = learns
    if learns and "learns_variance" not in said:
        card.assumed.append("learns_variance true: the network gives twice as many channels")


def _shared(network: str, words: Mapping[str, Any]) -> dict[str, Any]:
    """The words of bench that are parameters of the function, too."""
    try:
        parameters = inspect.signature(python_code.function(network)).parameters
    # Some of those written in C say none.
    except (TypeError, ValueError):
        return {}
    return {name: words[name] for name in SHARED if name in words and name in parameters}

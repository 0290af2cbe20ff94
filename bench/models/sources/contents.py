"""The content of a file of weights in one flat view: networks by prefix, and all beside them.

Mappings are walked to the bottom, and names of all tensors joined by dots. A network is found
where two names lie that only it has together; everything below that prefix is its weights, but for
buffers of a noise schedule and of an average.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.core.errors import InputError
from bench.models.sources import kinds

# Parts of names that wrappers of torch put in: DataParallel, compile, FSDP, activation
# checkpoints; and the key of DeepSpeed's files.
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# Two names for each kind of network that no other kind has together, by source for those of
# `bench.models.sources.authors`.
AUTHORS = {
    "edm": ("map_layer0.weight", "map_layer1.weight"),
    "edm2": ("emb_noise.weight", "out_gain"),
    "sit": ("x_embedder.proj.weight", "final_layer.linear.weight"),
}
NETWORKS = (
    ("time_embedding.linear_1.weight", "conv_in.weight"),
    ("time_embed.0.weight", "input_blocks.0.0.weight"),
    *AUTHORS.values(),
)
SCHEDULE = re.compile(
    r"betas|(log_one_minus_|sqrt_(one_minus_)?|sqrt_recipm?1?_)?alphas(_cumprod(_prev|_next)?)?"
    r"|posterior_(variance|log_variance_clipped|mean_coef[12])|(p2_)?loss_weight|lvlb_weights"
    r"|logvar|sigmas"
)
COUNTERS = ("n_averaged", "initted", "step", "num_updates", "decay")
LISTS = ("shadow_params", "shadow")
# Beside an average that is swapped in, the weights that wait: of no use.
WAITING = ("collected_params", "temp_stored_params")
DEEPEST = 32
AVERAGES = ("ema", "swa", kinds.AVERAGED)


@dataclass(frozen=True)
class Listed:
    """A list of tensors without names, and the keys on the way to it."""

    prefix: str
    tensors: list[Tensor]


@dataclass
class Contents:
    """The flat view.

    Attributes:
        tensors: all tensors by their names, wrappers dropped, in the order of the file.
        networks: weights of each network, by its prefix.
        lists: lists of tensors.
        undotted: averages under names without dots, by their prefix.
        counts: places of torch AveragedModels.
        alpha_bars: noise schedules, by their prefix.
        objectives: loss weights by timestep, by their prefix.
        keys: the keys of the top.
        others: keys that hold no weights.
        averaged_by: kind that the name of a Lightning callback says, "averaged" where it only
            says an average; "" without one.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    networks: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    lists: list[Listed] = field(default_factory=list)
    undotted: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    counts: list[str] = field(default_factory=list)
    alpha_bars: dict[str, Tensor] = field(default_factory=dict)
    objectives: dict[str, Tensor] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    averaged_by: str = ""


def collect(data: Any, path: Path, expected: Collection[str] = ()) -> Contents:
    """Walk what a file holds.

    Args:
        data: the content of the file.
        path: the path of the file.
        expected: names of the weights of the network that is looked for, wrappers dropped; none
            for the networks that bench knows.

    Raises:
        InputError: an optimizer's state, no mapping, a name that stands twice, or no weights.
    """
    if isinstance(data, list | tuple) and any(isinstance(value, Mapping) for value in data):
        data = _ddim(data)
    if not isinstance(data, Mapping):
        raise InputError(f"{path} holds no state dict but a {type(data).__name__}")
    if "param_groups" in data or _is_shard(data):
        what = "a shard of DeepSpeed's ZeRO" if _is_shard(data) else "the state of an optimizer"
        hint = (
            "gather the weights with zero_to_fp32.py"
            if _is_shard(data)
            else ("name the file of the weights")
        )
        raise InputError(f"{path} is {what}: {hint}")
    contents = Contents(keys=tuple(str(key) for key in data))
    for name, value in _walk(data, (), path, contents):
        if name in contents.tensors:
            raise InputError(f"{path} holds two weights of the name {name}")
        contents.tensors[name] = value
    if not contents.tensors and not contents.lists:
        _refuse_empty(data, path)
    _sort(contents, frozenset(expected))
    contents.averaged_by = _callback(data.get("callbacks"))
    contents.others = tuple(_others(data, contents))
    return contents


def _others(data: Mapping[Any, Any], contents: Contents) -> list[str]:
    """The content that is no part of a network: first words of tensors, and keys without any."""
    used = {f"{stem}.{name}".lstrip(".") for stem, w in contents.networks.items() for name in w}
    used |= {f"{prefix}.{name}" for prefix, flat in contents.undotted.items() for name in flat}
    aside = [
        name
        for name in contents.tensors
        if name not in used and not _is_buffer(name.rpartition(".")[2])
    ]
    others = dict.fromkeys(".".join(name.split(".")[:2]) for name in aside)
    places = [*contents.tensors, *(f"{listed.prefix}." for listed in contents.lists)]
    tops = {name.split(".")[0] for name in places}
    for key, value in data.items():
        if not isinstance(value, Tensor) and str(key) not in tops | WRAPPERS | set(LISTS):
            others[str(key)] = None
    return list(others)


def _is_buffer(name: str) -> bool:
    """Whether this is of a noise schedule or of an average, not a weight."""
    return bool(SCHEDULE.fullmatch(name)) or name in COUNTERS


def _ddim(data: list[Any] | tuple[Any, ...]) -> dict[str, Any]:
    """DDIM's list: weights, optimizer, epoch, step and, with an average, its weights."""
    states: dict[str, Any] = {}
    for index, value in enumerate(data):
        name = str(index)
        if isinstance(value, Mapping) and "param_groups" not in value:
            name = "ema" if "model" in states else "model"
        states[name if name not in states else str(index)] = value
    return states


def _is_shard(data: Mapping[Any, Any]) -> bool:
    """Whether this is a part of a network that ZeRO spread over processes."""
    state = data.get("optimizer_state_dict")
    spread = isinstance(state, Mapping) and any("fp32" in str(key) for key in state)
    return spread or ("ds_version" in data and "module" not in data)


def _refuse_empty(data: Mapping[Any, Any], path: Path) -> None:
    for name, value in data.items():
        if name == "shadow_params":
            raise InputError(f"{path} holds no weights: shadow_params must be a list of tensors")
        if not isinstance(value, Mapping):
            raise InputError(f"{path} holds no weights: {name} is a {type(value).__name__}")
    raise InputError(f"{path} holds no weights")


def _walk(
    data: Mapping[Any, Any], way: tuple[str, ...], path: Path, contents: Contents
) -> Iterator[tuple[str, Tensor]]:
    if len(way) > DEEPEST:
        raise InputError(f"{path} nests mappings more than {DEEPEST} deep: no weights")
    for key, value in data.items():
        here = (*way, *(word for word in str(key).split(".") if word not in WRAPPERS))
        if isinstance(value, Tensor):
            if type(key) is not str:
                raise InputError(
                    f"{path}: a tensor has the name {key!r}, a {type(key).__name__}: save the "
                    f"state dict of the network, whose names are words"
                )
            yield ".".join(here), value
        elif isinstance(value, Mapping) and "param_groups" not in value:
            yield from _walk(value, here, path, contents)
        elif isinstance(value, list | tuple) and value and key not in WAITING:
            yield from _walk_list(key, value, (way, here), path, contents)


def _walk_list(
    key: Any,
    value: list[Any] | tuple[Any, ...],
    ways: tuple[tuple[str, ...], tuple[str, ...]],
    path: Path,
    contents: Contents,
) -> Iterator[tuple[str, Tensor]]:
    """Averages are lists of tensors, and lists or pairs hold whole state dicts.

    Args:
        key: the key of the list.
        value: the list.
        ways: to what holds the key, and to the list.
        path: the path of the file.
        contents: takes the lists of tensors.
    """
    way, here = ways
    tensors = [item for item in value if isinstance(item, Tensor)]
    if len(tensors) == len(value) and (key in LISTS or kinds.of_path(here) in AVERAGES):
        contents.lists.append(Listed(".".join(way if key in LISTS else here), tensors))
    elif key in LISTS:
        raise InputError(f"{path} holds no weights: {key} must be a list of tensors")
    elif len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], Mapping):
        # A pair of a name and its content, as Composer writes algorithms.
        yield from _walk({value[0]: value[1]}, here, path, contents)
    else:
        inner = {str(k): v for k, v in enumerate(value) if isinstance(v, Mapping | list | tuple)}
        yield from _walk(inner, here, path, contents)


def plain_name(name: str) -> str:
    """A name of a weight without the parts that wrappers put in."""
    return ".".join(word for word in name.split(".") if word not in WRAPPERS)


def _sort(contents: Contents, expected: Collection[str] = ()) -> None:
    """Give each tensor to the network that it lies under, or to what lies beside one."""
    # The longest names are those that no other network has.
    longest = sorted(expected, key=lambda name: (len(name), name))[-2:]
    pairs = [(longest[-1], longest[0])] if longest else NETWORKS
    stems = [
        name[: -len(first)].rstrip(".")
        for name in contents.tensors
        for first, second in pairs
        if (name == first or name.endswith(f".{first}"))
        and f"{name[: -len(first)]}{second}" in contents.tensors
    ]
    # The names of bench itself: what lies beside is a weight too many, not another network.
    stems = ["" if stem == "unet" else stem for stem in stems]
    contents.networks = {stem: {} for stem in stems}
    for name, value in contents.tensors.items():
        prefix, _, last = name.rpartition(".")
        if last in ("alphas_cumprod", "betas") and value.ndim == 1 and value.numel() > 1:
            exact = value.to(torch.float64)
            known = exact if last == "alphas_cumprod" else (1 - exact).cumprod(0)
            if last == "alphas_cumprod" or prefix not in contents.alpha_bars:
                contents.alpha_bars[prefix] = known
        elif last in ("loss_weight", "p2_loss_weight") and value.ndim == 1:
            contents.objectives[prefix] = value
        elif last == "n_averaged":
            contents.counts.append(prefix)
        if _is_buffer(last) and not _is_expected(name, expected):
            continue
        if prefix.rpartition(".")[2] == "model_ema" and last not in ("weight", "bias"):
            contents.undotted.setdefault(prefix, {})[last] = value
            continue
        under = [stem for stem in stems if not stem or name.startswith(f"{stem}.")]
        if under:
            stem = max(under, key=len)
            contents.networks[stem][name[len(stem) :].lstrip(".")] = value


def _is_expected(name: str, expected: Collection[str]) -> bool:
    """Whether a name ends with one of the expected names."""
    words = name.split(".")
    return any(".".join(words[start:]) in expected for start in range(len(words)))


def _callback(callbacks: Any) -> str:
    """The kind of average in the state_dict of a Lightning checkpoint, by its callbacks."""
    for name in callbacks if isinstance(callbacks, Mapping) else ():
        # The key is the name of the class, sometimes with its arguments.
        title = re.match(r"\w*", str(name))
        kind = kinds.of_word(title[0]) if title else ""
        if kind and kind != "raw":
            return kind
        if title and title[0] == "StochasticWeightAveraging":
            return "swa"
    return ""

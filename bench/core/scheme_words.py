"""The words after the bits of a scheme, `w4a8+all+bias+skip=GLOB`: what each of them changes.

An option that does nothing, repeats another one or contradicts it is refused by name: who writes
it expects something of it. Globs are bounded, as they become regular expressions that are held
against every layer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.core import extensions
from bench.core.errors import InputError, offer
from bench.core.printable import quoted, short
from bench.core.tables import OF_FILES, ROUNDINGS

if TYPE_CHECKING:
    from bench.core.scheme import Scheme

OPTIONS = ("all", "skip-io", "skip-io-time", "minmax", "by-macs")
# Plain rounding by its name, which changes nothing.
ROUND_TO_NEAREST = "rtn"
# Glob for time-embedding layers under either library's names.
TIME_LAYERS = "*time_emb*"
# What of a prompted pipeline can be quantized beside its network: all text encoders.
ALSO = ("text_encoder",)
EDGES = 8
# Longest text of a scheme, most globs, longest glob: a network has hundreds of layers.
LONGEST, GLOBS, GLOB = 10_000, 200, 200
# Most methods of a scheme, and the longest text of one with its argument, or with a path in it.
METHODS, METHOD, OF_FILE = 10, 100, 400
_GLOB = re.compile(r"[\w.*?!:\[\]-]+")
_METHOD = re.compile(r"([A-Za-z][\w.-]*)(?::([\w.,:-]+))?", re.ASCII)
_OF_FILE = re.compile(r"[\w./~@-][\w./~@,:-]*")


def option(scheme: Scheme, word: str) -> dict[str, Any]:
    """The fields that an option changes.

    Raises:
        ValueError: it is unknown, does nothing, or repeats or contradicts an earlier one.
    """
    given, separator, value = word.partition("=")
    name = given.lower()
    if separator and name == "skip":
        return {"skip": (*scheme.skip, value)}
    if name == "also":
        raise ValueError(f"{quoted(word)} is no word to write: ask for it by --also {ALSO[0]}")
    if separator or name not in OPTIONS:
        return _method(scheme, given, separator, value)
    if name == "minmax":
        if scheme.observer == "minmax":
            raise ValueError("minmax is there twice")
        if scheme.act_bits > EDGES:
            raise ValueError("minmax does nothing, as the activations stay in float")
        return {"observer": "minmax"}
    if name == "by-macs":
        if scheme.by_macs:
            raise ValueError("by-macs is there twice")
        return {"by_macs": True}
    if scheme.edge_bits != EDGES:
        raise ValueError(f"{name} repeats or contradicts an earlier one: name one of them")
    if name == "all":
        if min(scheme.mean_bits, scheme.act_bits) >= EDGES:
            raise ValueError("all does nothing, as every layer has these bits anyway")
        return {"edge_bits": 0}
    time = (TIME_LAYERS,) if name.endswith("time") else ()
    return {"edge_bits": 32, "skip": (*scheme.skip, *time)}


def _method(scheme: Scheme, name: str, separator: str, value: str) -> dict[str, Any]:
    """The methods with one more."""
    known = extensions.names("methods")
    if name not in known:
        near = offer(name[:100], (*OPTIONS, ROUND_TO_NEAREST, "skip=GLOB", *known))
        raise ValueError(f"{quoted(name)} is unknown ({near})")
    return {"methods": (*scheme.methods, f"{name}:{value}" if separator else name)}


def without_rtn(words: Sequence[str]) -> list[str]:
    """The words without `rtn`, which says that weights are rounded to nearest, as they are anyway.

    Raises:
        ValueError: it is there twice, or beside a method that rounds otherwise.
    """
    others = [word for word in words if word.lower() != ROUND_TO_NEAREST]
    if len(words) - len(others) > 1:
        raise ValueError(f"{ROUND_TO_NEAREST} is there twice")
    rounding = [
        name for word in others if (name := word.partition("=")[0]) in (*ROUNDINGS, "finetune")
    ]
    if rounding and len(words) > len(others):
        raise ValueError(
            f"{ROUND_TO_NEAREST} is plain rounding and contradicts {rounding[0]}: name one of them"
        )
    return others


def added(scheme: Scheme, text: str) -> dict[str, Any]:
    """The fields of a scheme with methods behind its own.

    Args:
        scheme: not a float scheme.
        text: words as in a scheme, "mse+gptq=damp:0.1"; "python:FILE.py:FUNCTION" may be written
            with a colon, as elsewhere.

    Raises:
        ValueError: a word is unknown, or no method.
    """
    methods: tuple[str, ...] = ()
    for word in without_rtn(text.split("+")):
        name, _, value = word.partition(":")
        if name in OF_FILES and "=" not in name:
            word = f"{name}={value}"
        if word.partition("=")[0] in (*OPTIONS, "skip"):
            raise ValueError(f"{quoted(word)} is a word of a scheme and no method")
        name, separator, value = word.partition("=")
        methods += _method(scheme, name, separator, value)["methods"][len(scheme.methods) :]
    return {"methods": (*scheme.methods, *methods)}


def written(method: str) -> str:
    """A method as a scheme has it: "NAME" or "NAME=VALUE"."""
    return method.replace(":", "=", 1)


def check_methods(methods: Sequence[str]) -> None:
    """Make sure that methods are names with or without an argument, each name once.

    Whether there are methods of these names is not asked here: a run of a machine that has them
    is read on one that does not.

    Raises:
        InputError: they are not.
    """
    if len(methods) > METHODS:
        raise InputError(f"{len(methods)} methods in a scheme: at most {METHODS}")
    names = [method.partition(":")[0] for method in methods]
    for name, method in zip(names, methods, strict=True):
        if name in OF_FILES:
            _check_path(method)
        elif not _METHOD.fullmatch(method) or len(method) > METHOD:
            raise InputError(
                f"{short(written(method))} is no method: NAME or NAME=VALUE with letters, digits, "
                f". _ - and in VALUE , : too, at most {METHOD} of them"
            )
        if names.count(name) > 1:
            raise InputError(f"method {name} is there twice: name it once")


def check_budget(scheme: Scheme) -> None:
    """Make sure that a budget of bits is one, and that nothing is said of it where there is none.

    Raises:
        InputError: it is out of range, or `by_macs` without it.
    """
    check_mean(scheme.budget, scheme.budget != 0)
    if scheme.budget and scheme.weight_bits != EDGES:
        raise InputError(
            f"under a budget weights have up to {EDGES} bits, not {scheme.weight_bits}"
        )
    if scheme.by_macs and not scheme.budget:
        raise InputError("by-macs says what a budget of bits counts: write for example w~4.5a8")


def check_mean(budget: float, is_given: bool) -> None:
    """Make sure that so many bits can be the mean of weights of different bits.

    Raises:
        InputError: they cannot.
    """
    if is_given and not (2 < budget < EDGES and float(f"{budget:.2f}") == budget):
        raise InputError(
            f"a budget of bits is above 2 and below {EDGES}, with at most two decimals, as in "
            f"w~4.5a8, not {budget:g}"
        )


def budget_in_words(scheme: Scheme) -> str:
    """The weights of a scheme with a budget, "" for one without."""
    if not scheme.budget:
        return ""
    count = "multiply-accumulates" if scheme.by_macs else "weights"
    return (
        f"weights of 2 to {scheme.weight_bits} bits, chosen for each layer so that the predicted "
        f"error is least and their mean over all {count} at most {scheme.budget:g}"
    )


def check_also(names: Sequence[str], is_float: bool) -> None:
    """Make sure that what is quantized beside the network can be, and that the network is.

    Raises:
        InputError: it cannot, or full precision is asked for.
    """
    for name in names:
        if name not in ALSO:
            raise InputError(
                f"--also {short(name)}: of a pipeline {ALSO[0]} alone can be quantized beside the "
                f"network, which means all of its text encoders"
            )
    if len(set(names)) < len(names):
        raise InputError(f"--also {names[0]} is there twice: name it once")
    if names and is_float:
        raise InputError("--also quantizes more, and in full precision nothing is quantized")


def path_of(argument: str) -> str:
    """The path in the argument of a method of a file, "FILE.py:FUNCTION" or "FILE"."""
    stem, suffix, _ = argument.partition(".py:")
    return f"{stem}.py" if suffix else argument


def _check_path(method: str) -> None:
    """Make sure that a method has a path of plain characters, which a scheme's text can hold."""
    name, _, argument = method.partition(":")
    if not _OF_FILE.fullmatch(argument) or len(method) > OF_FILE:
        raise InputError(
            f"{short(written(method), 120)}: {name} needs a path of letters, digits and . _ - / ~ "
            f"@, at most {OF_FILE} of them: rename or move the file"
        )


def check_globs(globs: Sequence[str]) -> None:
    """Make sure that globs of module names are some, and not twice the same.

    Raises:
        InputError: they are not.
    """
    if len(globs) > GLOBS:
        raise InputError(f"{len(globs)} globs of layers to skip: at most {GLOBS}; use wildcards")
    for glob in globs:
        if not _GLOB.fullmatch(glob) or len(glob) > GLOB:
            raise InputError(
                f"skip={short(glob)} is no glob of module names: letters, digits, . _ * ? [ ], at "
                f"most {GLOB} of them"
            )
        if globs.count(glob) > 1:
            raise InputError(f"skip={short(glob)} is there twice")

"""Methods of quantization that a run measures beside each of its schemes.

    --method bias --method mse+gptq    w4a8 -> w4a8, w4a8+bias, w4a8+mse+gptq
    --weights-from FILE                w4a8 -> w4a8, w4a8+weights=FILE
    --bits 4                           w4a8 -> w4a8, and in integer kernels w4a8+gptq
    --bits 4 --method rtn              w4a8

The cells without them stay, so that the report holds each method against plain rounding on the
same noise. Given both, every method is measured on the checkpoint's own weights and on the file's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from bench.core import extensions, scheme_words
from bench.core.cell import Cell
from bench.core.errors import InputError
from bench.core.printable import quoted, say
from bench.core.scheme import Scheme

WEIGHTS, PLAIN = "weights", "rtn"
# What `--bits` measures beside plain rounding where no method is named. Of those that any network
# takes at any number of steps and that are done in seconds, it takes most of the loss away
# (docs/methods.md).
DEFAULT = "gptq"


def beside(cells: Sequence[Cell], methods: Sequence[str], weights: str | None) -> list[Cell]:
    """The cells, and after each quantized one the same with each of the methods.

    Args:
        cells: of a run.
        methods: words as in a scheme, each entry for one more cell; "rtn" for none.
        weights: path of a file of weights, None for none.

    Raises:
        InputError: an unknown method, one that every scheme has, or weights for cells of several
            checkpoints.
    """
    if weights is not None:
        _check_one_checkpoint(cells)
    methods = [text for text in methods if text != PLAIN]
    schemes = dict.fromkeys(cell.scheme for cell in cells if not cell.scheme.is_float)
    more = {scheme: [_with(scheme, text) for text in methods] for scheme in schemes}
    for k, text in enumerate(methods):
        if all(more[scheme][k] == scheme for scheme in schemes):
            names = ", ".join(map(str, schemes)) or "full precision"
            raise InputError(f"--method {quoted(text)} adds nothing to {names}: leave it out")
    extended: list[Cell] = []
    for cell in cells:
        longer = [cell.scheme, *more.get(cell.scheme, ())]
        if weights is not None and not cell.scheme.is_float:
            longer += [_in_front(scheme, f"{WEIGHTS}:{weights}") for scheme in longer]
        made = [replace(cell, scheme=scheme) for scheme in dict.fromkeys(longer)]
        extended += [one for one in made if one == cell or one not in [*cells, *extended]]
    _explain(cells, extended)
    return extended


def by_default(cells: Sequence[Cell]) -> list[Cell]:
    """The cells, and after each that integer kernels execute the same with the default method.

    It is simulated where there are no such kernels, and not beside them: simulation takes longest
    of all, and plain rounding shows already that both agree.
    """
    executed = {
        cell.backend
        for cell in cells
        if not cell.scheme.is_float and extensions.lookup("backends", cell.backend)().takes_methods
    }
    chosen = executed - {"simulated"} or executed
    extended: list[Cell] = []
    for cell in cells:
        extended.append(cell)
        if cell.backend in chosen and not cell.scheme.is_float:
            metrics = tuple(name for name in cell.metrics if name != "psnr_simulated")
            longer = replace(cell, scheme=_with(cell.scheme, DEFAULT), metrics=metrics)
            extended += [longer] if longer not in [*cells, *extended] else []
    _explain(cells, extended)
    return extended


def _explain(cells: Sequence[Cell], extended: Sequence[Cell]) -> None:
    """Say what the schemes mean that came to some cells."""
    for scheme in dict.fromkeys(cell.scheme for cell in extended if cell not in cells):
        say(f"{scheme}: {scheme.explain()}", file=sys.stderr)


def _with(scheme: Scheme, text: str) -> Scheme:
    """A scheme with methods behind its own; the same one where it has all of them."""
    try:
        longer = replace(scheme, **scheme_words.added(scheme, text))
    except ValueError as error:
        raise InputError(f"--method {quoted(text)}: {error}") from None
    except InputError as error:
        if set(scheme_words.added(Scheme(4, 8), text)["methods"]) <= set(scheme.methods):
            return scheme
        raise InputError(f"--method {quoted(text)} beside {scheme}: {error}") from None
    return longer


def _in_front(scheme: Scheme, method: str) -> Scheme:
    """A scheme with a method before its own; the same one where it has such a method."""
    if any(extensions.plain(own) == WEIGHTS for own in scheme.methods):
        return scheme
    return replace(scheme, methods=(method, *scheme.methods))


def _check_one_checkpoint(cells: Sequence[Cell]) -> None:
    names = list(dict.fromkeys(cell.checkpoint.name for cell in cells))
    if len(names) > 1:
        raise InputError(
            f"--weights-from is for one checkpoint, and there are {', '.join(names)}: name the "
            f"one whose weights the file holds by --checkpoints"
        )

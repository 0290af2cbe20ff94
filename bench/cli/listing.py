"""`bench list` and `bench check`: what there is, and whether cards hold what they say."""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from bench import __version__
from bench.cli.flags import Cards, Force, Names, Out, TrustCode, listed
from bench.core import extensions, tables
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError, offer
from bench.core.printable import quoted, say
from bench.evaluation import fits
from bench.models.cards import card_file, load_cards, select, verify
from bench.system.runs import run_folders

_ARXIV = re.compile(r"arXiv[ :](\d{4}\.\d{4,5})")
# What the list of methods does not hold, told on stderr beside it.
OWN_METHODS = (
    "rtn is plain rounding, what a scheme without a method does\n"
    "one of your own: --method python:FILE.py:FUNCTION, or an entry point in the group "
    "bench.methods; see docs/methods.md"
)


# What each table holds, in a few words.
WHAT = {
    "sources": "kinds of checkpoints that can be loaded",
    "datasets": "data sets of real images",
    "backends": "what executes a quantized network",
    "methods": "what changes a quantized network, so that it loses less",
    "samplers": "ways from noise to images",
    "extractors": "features of images, by which distances are measured",
    "metrics": "what is measured of the images",
    "probes": "what is measured of a network, as its flatness",
    "engines": "where the cells of a run are computed",
}
WIDTH = 78


def list_all(
    table: Annotated[
        str | None,
        typer.Argument(metavar="[TABLE]", help="One table, explained: methods, metrics ..."),
    ] = None,
    cards: Cards = None,
    out: Out = Path("reports"),
) -> None:
    """List checkpoints, extensions and runs; `bench list metrics` explains a table."""
    if table is not None:
        _list_table(table)
        return
    from bench.models.training.recipes import RECIPES

    known = load_cards(card_file(cards))
    print("checkpoints: what is quantized (bench run --checkpoints NAME)")
    rows = [("name", "method", "data set", "family")]
    rows += [(card.name, card.method, card.dataset, card.family) for card in known]
    for line in _columns(rows):
        say(f"  {line}")
    for table in tables.TABLES:
        print(f"{table}: {WHAT[table]} (bench list {table})")
        _print_wrapped(extensions.names(table))
    print("recipes: what bench train trains")
    _print_wrapped(RECIPES)
    print("runs: what bench report and bench compare read")
    for folder in run_folders(out):
        say(f"  {folder.name}")


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines of padded columns; the last one is as long as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _print_wrapped(names: Iterable[str]) -> None:
    """Names in lines that fit a narrow terminal."""
    text = "  ".join(names)
    for line in textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False):
        print(f"  {line}")


def _list_table(table: str) -> None:
    """Print the names of a table, each with its package and what it is in a line; of a method also
    where it was published."""
    if table not in tables.TABLES:
        raise InputError(f"unknown table {quoted(table)}: {offer(table, tables.TABLES)}")
    print(f"{table}: {WHAT[table]}", file=sys.stderr)
    for name in extensions.names(table):
        module, attribute, package = extensions.origin(table, name)
        described = _described(module, attribute)
        if table == "methods":
            package = f"{package:20} {described.source or package.split()[0]:16}"
        say(f"{name:28} {package:20} {described.summary}")
    if table == "methods":
        print(OWN_METHODS, file=sys.stderr)


class Described(NamedTuple):
    """What a docstring says: its first line, and the arXiv number of a paper, "" for none."""

    summary: str = ""
    source: str = ""


def _described(module: str, attribute: str) -> Described:
    """What the docstrings of a module say of something in it; the module is not imported."""
    top, *rest = module.split(".")
    spec = find_spec(top)
    if spec is None or spec.origin is None:
        return Described("(its module is missing)")
    path = Path(spec.origin)
    for word in rest:
        folder = path.parent / word
        path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    if not path.is_file() or path.suffix != ".py":
        return Described()
    whole = ast.parse(path.read_bytes())
    for statement in whole.body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef) and statement.name == attribute:
            own = ast.get_docstring(statement) or ""
            words = " ".join([*own.split(), *(ast.get_docstring(whole) or "").split()])
            cited = _ARXIV.search(words)
            return Described(own.partition("\n")[0], f"arXiv {cited[1]}" if cited else "")
    return Described()


def check(
    cards: Cards = None,
    checkpoints: Names = None,
    force: Force = False,
    trust_code: TrustCode = False,
) -> None:
    """Validate cards, the hashes of their files, and whether descriptions fit the weights."""
    path = card_file(cards)
    for card in select(load_cards(path), listed("--checkpoints", checkpoints) or ["*"]):
        verified = verify(card)
        denoiser = extensions.lookup("sources", card.source)(verified)
        fit = fits.of(verified, _ready(denoiser))
        fits.require([fit], [card], force)
        for line in fits.tell([fit], [card]):
            print(line, file=sys.stderr)
        state = "ok" if card.sha256 else "ok, but the card has no sha256; add it"
        say(f"{card.name:32} {verified.sha256} {state}")
    print(f"{path}: valid (bench {__version__})", file=sys.stderr)


def _ready(denoiser: Denoiser) -> fits.Load:
    return lambda: denoiser

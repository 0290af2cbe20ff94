"""`bench list` and `bench check`: what there is, and whether cards hold what they say."""

from __future__ import annotations

import ast
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from bench import __version__
from bench.cli.flags import Cards, Force, Names, Out, listed
from bench.core import extensions, tables
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError, offer
from bench.core.printable import quoted, say
from bench.evaluation import fits
from bench.models.cards import card_file, load_cards, select, verify
from bench.system.runs import run_folders


def list_all(
    table: Annotated[
        str | None,
        typer.Argument(metavar="[TABLE]", help="One table, explained: methods, metrics ..."),
    ] = None,
    cards: Cards = None,
    out: Out = Path("reports"),
) -> None:
    """List checkpoints, recipes, extensions and runs."""
    if table is not None:
        _list_table(table)
        return
    from bench.models.training.recipes import RECIPES

    known = load_cards(card_file(cards))
    print("checkpoints")
    for card in known:
        say(f"  {card.name:32} {card.method:10} {card.dataset:16} {card.family}")
    for table in tables.TABLES:
        print(f"{table}\n  {'  '.join(extensions.names(table))}")
    print(f"recipes\n  {'  '.join(RECIPES)}")
    print("runs")
    for folder in run_folders(out):
        say(f"  {folder.name}")


def _list_table(table: str) -> None:
    """Print the names of a table, each with its package and what it is in a line."""
    if table not in tables.TABLES:
        raise InputError(f"unknown table {quoted(table)}: {offer(table, tables.TABLES)}")
    for name in extensions.names(table):
        module, attribute, package = extensions.origin(table, name)
        say(f"{name:28} {package:20} {_summary(module, attribute)}")


def _summary(module: str, attribute: str) -> str:
    """The first line of a docstring, read from the file of a module that is not imported."""
    top, *rest = module.split(".")
    spec = find_spec(top)
    if spec is None or spec.origin is None:
        return "(its module is missing)"
    path = Path(spec.origin)
    for word in rest:
        folder = path.parent / word
        path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    if not path.is_file() or path.suffix != ".py":
        return ""
    for statement in ast.parse(path.read_bytes()).body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef) and statement.name == attribute:
            return (ast.get_docstring(statement) or "").partition("\n")[0]
    return ""


def check(cards: Cards = None, checkpoints: Names = None, force: Force = False) -> None:
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

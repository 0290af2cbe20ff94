"""`bench list` and `bench check`: what there is, and whether cards hold what they say."""

from __future__ import annotations

import sys
from pathlib import Path

from bench import __version__
from bench.cli.flags import Cards, Force, Names, Out
from bench.core import extensions
from bench.core.denoiser import Denoiser
from bench.core.printable import say
from bench.evaluation import fits
from bench.models.cards import card_file, load_cards, select, verify
from bench.system.runs import run_folders


def list_all(cards: Cards = None, out: Out = Path("reports")) -> None:
    """List checkpoints, recipes, extensions and runs."""
    from bench.models.training.recipes import RECIPES

    known = load_cards(card_file(cards))
    print("checkpoints")
    for card in known:
        say(f"  {card.name:32} {card.method:10} {card.dataset:16} {card.family}")
    for table in extensions.TABLES:
        print(f"{table}\n  {'  '.join(extensions.names(table))}")
    print(f"recipes\n  {'  '.join(RECIPES)}")
    print("runs")
    for folder in run_folders(out):
        say(f"  {folder.name}")


def check(cards: Cards = None, checkpoints: Names = None, force: Force = False) -> None:
    """Validate cards, the hashes of their files, and whether descriptions fit the weights."""
    path = card_file(cards)
    for card in select(load_cards(path), checkpoints.split(",") if checkpoints else ["*"]):
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

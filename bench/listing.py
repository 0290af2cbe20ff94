"""What `bench list` and `bench check` print: what there is, and whether cards hold."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench import __version__, fits, registry, store, tables
from bench.printable import say


def list_all(cards: Path | None, out: Path) -> None:
    """Print checkpoints, recipes, extensions and runs."""
    from bench.training.recipes import RECIPES

    found = registry.load_cards(registry.card_file(cards))
    print("checkpoints")
    for card in found:
        say(f"  {card.name:32} {card.method:10} {card.dataset:16} {card.family}")
    for table in tables.TABLES:
        print(f"{table}\n  {'  '.join(tables.names(table))}")
    print(f"recipes\n  {'  '.join(RECIPES)}")
    print("runs")
    for folder in store.run_folders(out):
        say(f"  {folder.name}")


def check(cards: Path | None, globs: Sequence[str], force: bool = False) -> None:
    """Verify the files of the selected cards, and that they denoise; print one line for each."""
    path = registry.card_file(cards)
    for card in registry.select(registry.load_cards(path), globs):
        verified = registry.verify(card)
        denoiser = tables.lookup("sources", card.source)(verified)
        fit = fits.of(verified, lambda loaded=denoiser: loaded)
        fits.require([fit], [card], force)
        for line in fits.tell([fit], [card]):
            print(line, file=sys.stderr)
        state = "ok" if card.sha256 else "ok, but the card has no sha256; add it"
        say(f"{card.name:32} {verified.sha256} {state}")
    print(f"{path}: valid (bench {__version__})", file=sys.stderr)

"""The check whether the descriptions of checkpoints fit their weights, beside what else goes on.

It takes a second or two for each checkpoint. Where workers of their own compute the cells, they
begin meanwhile: this process would have nothing else to do, and they nothing at all. A checkpoint
that is refused then stops them; what they have sampled stays in the cache, under its own key.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from bench.core.cell import Checkpoint
from bench.core.record import Fit
from bench.evaluation import fits
from bench.system import host, interrupts

if TYPE_CHECKING:
    from bench.core.denoiser import Denoiser

Load = Callable[[Checkpoint], "Denoiser"]


class Checked:
    """The fits of checkpoints.

    Args:
        cards: of the checkpoints, by name.
        load: gives the network of a card; called by nobody else meanwhile.
        force: whether checkpoints are taken that denoise worse than no network.
        tell: called with a line that there is to say of a fit.
        is_beside: whether it goes on in a thread of its own; else all is done here.

    Raises:
        InputError: as for `look`.
    """

    def __init__(
        self,
        cards: Mapping[str, Checkpoint],
        load: Load,
        force: bool,
        tell: Callable[[str], None],
        is_beside: bool = False,
    ) -> None:
        self.cards, self.force, self.tell = cards, force, tell
        # Dropped at the end, with the network that it keeps.
        self._load: Load | None = load
        self._made: list[Fit] = []
        self._error: BaseException | None = None
        self._is_told = False
        self._thread = threading.Thread(target=self._check, daemon=True)
        if is_beside:
            # A Ctrl-C is for the thread that waits for workers.
            with interrupts.held_back():
                self._thread.start()
        else:
            self._check()
            self.look()

    def _check(self) -> None:
        try:
            for card in self.cards.values():
                self._made.append(fits.of(card, functools.partial(self._loaded, card)))
        except BaseException as error:
            # It is raised where somebody looks, who is not in this thread.
            self._error = error
        finally:
            self._load = None

    def _loaded(self, card: Checkpoint) -> Denoiser:
        import torch

        assert self._load is not None

        # Threads of a library are counted for each thread of the process by itself.
        if threading.current_thread() is self._thread:
            torch.set_num_threads(host.threads())
        return self._load(card)

    def look(self) -> None:
        """Say what was found, once all is done; before, nothing.

        Raises:
            InputError: a checkpoint cannot be loaded, or denoises worse than no network and
                nobody forces it.
        """
        if self._thread.is_alive() or self._is_told:
            return
        self._is_told = True
        if self._error is not None:
            raise self._error
        cards = list(self.cards.values())
        fits.require(self._made, cards, self.force)
        for line in fits.tell(self._made, cards):
            self.tell(line)

    def fits(self) -> list[Fit]:
        """Of each checkpoint, once all is done; raises as `look`."""
        if self._thread.ident is not None:
            self._thread.join()
        self.look()
        return self._made

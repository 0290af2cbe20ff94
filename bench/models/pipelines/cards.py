"""What a card of a prompted pipeline names: its folder and its prompts, hashed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.core.cell import Checkpoint
from bench.core.errors import InputError
from bench.models.pipelines import folder, known, prompt_files


def verified(card: Checkpoint) -> tuple[Checkpoint, Path, str]:
    """The card with the hash of its prompts, the folder, and the folder's hash.

    Raises:
        InputError: no such folder or repository, a pipeline that is not known, a bad config, or
            prompts that are missing, empty or not those of the card.
    """
    known.check_config(card.config)
    path = folder.located(card.uri, card.revision)
    place = prompt_files.place(card.prompts)
    digest = prompt_files.digest(prompt_files.read(place))
    if card.prompts_sha256 and digest != card.prompts_sha256.lower():
        raise InputError(
            f"the prompts of {place} have {digest[:12]}..., the card says "
            f"{card.prompts_sha256[:12]}..."
        )
    return replace(card, prompts_sha256=digest), path, folder.digest(path)

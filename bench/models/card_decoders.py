"""The field `decoder` of a card whose weights lie in a file: a folder below that of the weights.

decoder: {folder: vae, sha256: ...}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.core.cell import Checkpoint
from bench.core.errors import InputError
from bench.core.printable import short
from bench.system import hub


def place(weights: Path, name: Any) -> Path:
    """The folder of a decoder.

    Args:
        weights: the file of the network.
        name: of the folder, from the folder of that file.

    Raises:
        InputError: there is none below the folder of the file.
    """
    around = weights.parent.resolve()
    if not isinstance(name, str) or not name:
        raise InputError(f"decoder must name a folder beside the weights, not {name!r}")
    path = (around / name).resolve()
    if not path.is_dir() or not path.is_relative_to(around) or path == around:
        raise InputError(f"decoder: no folder {short(name, 200)} beside {weights.name}")
    return path


def drafted(weights: Path, name: Any) -> dict[str, str]:
    """The field for a folder.

    Raises:
        InputError: as for `place`; or it holds no weights.
    """
    return {"folder": name, "sha256": hub.digest(place(weights, name))}


def verified(weights: Path, field: Any) -> Path:
    """The folder of a decoder, which is that which the card says.

    Args:
        weights: the file of the network.
        field: of the card.

    Raises:
        InputError: the field is incomplete, or there is another folder or none.
    """
    if not isinstance(field, Mapping) or set(field) != {"folder", "sha256"}:
        raise InputError(f"decoder must be a mapping of folder and sha256, not {field!r}")
    folder = place(weights, field["folder"])
    digest = hub.digest(folder)
    if digest != field["sha256"]:
        raise InputError(
            f"decoder: {folder.name} has {digest[:12]}..., the card says "
            f"{str(field['sha256'])[:12]}...: truncated, corrupt or another one"
        )
    return folder


def check(card: Checkpoint) -> None:
    """Hold the decoder of a card, where it has one, against its hash.

    Raises:
        InputError: as for `verified`.
    """
    if "decoder" in card.config:
        try:
            verified(Path(card.uri), card.config["decoder"])
        except InputError as error:
            raise InputError(f"card {card.name!r}, field config: {error}") from None

"""Descriptions beside a file of weights: config.json of diffusers, or of a training itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import InputError

NAME = "config.json"
NETWORK = "UNet2DModel"
# What a description of this network cannot do without; a training's own settings lack them.
NEEDED = {"down_block_types", "up_block_types", "block_out_channels"}


def network(path: Path) -> tuple[dict[str, Any] | None, str]:
    """The U-Net that a config.json beside a file describes, and a line about it.

    Returns:
        (None, "") without one; (None, why) for one that describes no network.

    Raises:
        InputError: it is damaged, or describes another network of diffusers.
    """
    place = path.parent / NAME
    if not place.is_file():
        return None, ""
    try:
        said = json.loads(place.read_text(encoding="utf-8"))
    # Nesting without end makes the parser give up.
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{place} beside the weights cannot be read ({reason}): mend it, or move the weights "
            f"to a folder of their own"
        ) from None
    name = said.get("_class_name") if isinstance(said, Mapping) else None
    if not isinstance(said, Mapping) or (name is None and not set(said) >= NEEDED):
        return None, f"{NAME} beside the file describes no network of diffusers: not used"
    if name not in (None, NETWORK):
        raise InputError(
            f"{place} describes a {name}: one file of weights must be of a {NETWORK}; import the "
            f"whole folder, or move the weights to a folder of their own"
        )
    unet = {k: v for k, v in said.items() if not str(k).startswith("_")}
    return unet, f"the network is that of {NAME} beside the file"

"""Descriptions beside a file of weights: config.json of diffusers, or of a training itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.core import border
from bench.core.errors import InputError
from bench.models.sources import fields, network_config

NAME = "config.json"
NETWORK = "UNet2DModel"
# Fields that every description of this network has; the settings of a training lack them.
NEEDED = {"down_block_types", "up_block_types", "block_out_channels"}


def network(path: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The U-Net that a config.json beside a file describes, and lines about it.

    Returns:
        (None, []) without one; (None, [why]) for one that describes no network.

    Raises:
        InputError: it is damaged, or describes another network of diffusers.
    """
    said, description = _said(path), path.parent / NAME
    if said is None:
        return None, []
    name = said.get("_class_name")
    if name is None and not set(said) >= NEEDED:
        return None, [f"{NAME} beside the file describes no network of diffusers: not used"]
    if name not in (None, NETWORK):
        raise InputError(
            f"{description} describes a {name}: one file of weights must be of a {NETWORK}; "
            f"import the whole folder, or move the weights to a folder of their own"
        )
    full = {**said, "_class_name": NETWORK}
    _, unet = network_config.network(full, str(description))
    # Lists in place of tuples, as YAML reads them.
    unet = json.loads(json.dumps(unet))
    lines = [f"the network is that of {NAME} beside the file"]
    usual = network_config.untold(full)
    if usual:
        lines.append(f"{fields.words(usual)}: {NAME} leaves it to diffusers' defaults")
    return unet, lines


def averaged(path: Path) -> bool:
    """Whether diffusers' EMAModel wrote the config.json beside a file, and so the file."""
    return network_config.averaged(_said(path) or {})


def _said(path: Path) -> Mapping[str, Any] | None:
    """The content of a config.json beside a file; None without one, {} for no mapping.

    Raises:
        InputError: it cannot be read.
    """
    description = path.parent / NAME
    if not description.is_file():
        return None
    try:
        said = border.parse(border.text(description, "a description", fields.BYTES))
    except (InputError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{description} beside the weights cannot be read ({reason}): mend it, or move the "
            f"weights to a folder of their own"
        ) from None
    return said if isinstance(said, dict) else {}

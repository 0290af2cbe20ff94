"""The decoder of a network of latents whose weights lie in one file: a folder beside that file.

decoder: {folder: vae, sha256: ...}    of diffusers' `AutoencoderKL` or `VQModel`, below the
                                       folder of the weights, and the hash of its files
scaling_factor: 0.18215                only where the decoder's config does not say
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.models import card_decoders
from bench.models.sources import described, pretrained
from bench.models.sources.diffusers_folder import Decoder

FIELDS = ("decoder", "scaling_factor")
Made = Callable[[Any, float], Decoder]


def shape_of(
    weights: Path, said: Mapping[str, Any], shape: tuple[int, int, int]
) -> tuple[tuple[int, int, int], tuple[str, ...]]:
    """The shape of an image of latents of some shape, and what is assumed of the decoder.

    Raises:
        InputError: a folder that is none of a decoder for them.
    """
    folder = card_decoders.place(weights, said["decoder"]["folder"])
    _, image, assumed = described.decoder(folder, said, shape)
    return image, assumed


def decoder(
    weights: Path, said: Mapping[str, Any], shape: tuple[int, int, int], make: Made = Decoder
) -> Decoder:
    """The decoder of a card.

    Args:
        weights: the file of the network.
        said: the fields of the card.
        shape: (C, H, W) of the latents.
        make: the decoder of (network, scale of the latents).

    Raises:
        InputError: the field is incomplete, the folder another than the card says, or no decoder
            of such latents.
    """
    folder = card_decoders.verified(weights, said["decoder"])
    (_, name, arguments), _, _ = described.decoder(folder, said, shape)
    network = pretrained.component(folder, name, arguments, None)
    return make(network, arguments["scaling_factor"])
